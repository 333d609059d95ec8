//! `verdicts`: what was decided about each claim, once and for ever.

use serde::Serialize;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::Seal;
use super::json::{FlatSource, ReasonList, micros_as_json, seconds_as_json};
use super::table::table;
use super::values::{IntegerList, Micros, Seconds, Text, integer};
use crate::claim::EventHashes;
use crate::decision::{Decision, Reason, ShadowRuling, Source};

/// One row of `verdicts`: what was decided about a claim, by which API and policy, and why. The
/// first one recorded for a claim wins. Auditors get it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Verdict {
    /// The claim's idempotency key.
    pub claim_id: String,
    /// The claim's kind.
    pub kind: String,
    /// The risk API that was asked.
    pub api: String,
    /// The schema under which `level` and `risk_types` are to be read.
    pub api_schema: String,
    /// The decision about the claim.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// The risk level, if the API gives one.
    pub level: Option<i16>,
    /// The risk types as the API gave them, also unknown ones.
    pub risk_types: Vec<i32>,
    /// The reasons.
    #[sqlx(json)]
    pub reasons: Vec<Reason>,
    /// The API's return code, if it answered.
    pub provider_code: Option<i64>,
    /// The hash of the policy that decided.
    pub policy_version: String,
    /// The number of attempts.
    #[sqlx(try_from = "i32")]
    pub attempts: u32,
    /// The captcha's script, for `kind = captcha`.
    pub challenge: Option<String>,
    /// When the user claimed, UNIX seconds.
    #[sqlx(try_from = "Seconds")]
    #[serde(serialize_with = "seconds_as_json")]
    pub claimed_at: i64,
    /// When it was decided, UNIX microseconds.
    #[sqlx(try_from = "Micros")]
    #[serde(serialize_with = "micros_as_json")]
    pub decided_at: i64,
    /// When PostgreSQL wrote the row. Only auditors select it.
    #[sqlx(default)]
    #[serde(with = "time::serde::rfc3339::option")]
    pub recorded_at: Option<OffsetDateTime>,
    /// The place of the claim's event.
    #[sqlx(flatten)]
    #[serde(flatten, serialize_with = "FlatSource::serialize")]
    pub source: Source,
    /// The trace in which the claim was assessed, 32 hex digits.
    pub trace_id: String,
    /// The keyed hash of the subject: it can be searched but not read.
    pub subject: String,
    /// [`crate::claim::Claim::fingerprint`].
    #[serde(skip)]
    pub fingerprint: [u8; 32],
    /// The hashes by which its event is found. They are stored in `claim_events` only and never
    /// selected.
    #[sqlx(skip)]
    #[serde(skip)]
    pub event_hashes: EventHashes,
    /// The seal that covers it, once it is recorded. Only code that publishes it selects this.
    #[sqlx(default)]
    #[serde(skip)]
    pub seal: Option<Seal>,
    /// The different decision of the policy in shadow: a row of `shadow_decisions`. Only the code
    /// that decides knows it.
    #[sqlx(skip)]
    #[serde(skip)]
    pub shadow: Option<Box<ShadowRuling>>,
}

/// Selects [`Verdict::seal`].
pub const VERDICT_SEAL: &str = ", (select seals.id || ':' || encode(head, 'hex')
    from seals where seals.id = verdicts.seal) as seal";

table! {
    /// What was decided about each claim.
    VERDICTS: "verdicts", row: &'a Verdict {
        claim_id: "text" = Text(&row.claim_id),
        kind: "text" = Text(&row.kind),
        api: "text" = Text(&row.api),
        api_schema: "text" = Text(&row.api_schema),
        decision: "text" = row.decision.as_str(),
        level: "smallint" = row.level,
        risk_types: "int[]" = IntegerList(&row.risk_types),
        reasons: "jsonb" = Json(ReasonList(&row.reasons)),
        provider_code: "bigint" = row.provider_code,
        policy_version: "text" = Text(&row.policy_version),
        attempts: "int" = integer(row.attempts),
        challenge: "text" = row.challenge.as_deref().map(Text),
        claimed_at: "timestamptz" = Seconds(row.claimed_at),
        decided_at: "timestamptz" = Micros(row.decided_at),
        source_topic: "text" = Text(&row.source.topic),
        source_partition: "int" = row.source.partition,
        source_offset: "bigint" = row.source.offset,
        trace_id: "text" = Text(&row.trace_id),
        subject: "text" = Text(&row.subject),
        fingerprint: "bytea" = row.fingerprint.as_slice(),
    }
}

impl Verdict {
    /// The memory that an answer took in it: the script, the risk types, and the reasons made of
    /// them.
    pub fn bytes(&self) -> usize {
        let reasons: usize = self.reasons.iter().map(Reason::bytes).sum();
        self.challenge.as_ref().map_or(0, String::len)
            + size_of_val(self.risk_types.as_slice())
            + reasons
    }

    /// A typical verdict: a check writes it and rolls it back, and tests vary it.
    pub fn ordinary(claim_id: &str) -> Self {
        Self {
            claim_id: claim_id.to_owned(),
            kind: "qr_code".to_owned(),
            api: "intelligent_qr_code".to_owned(),
            api_schema: "2021".to_owned(),
            decision: Decision::Review,
            level: Some(0),
            risk_types: vec![],
            reasons: vec![],
            provider_code: Some(0),
            policy_version: "sha256:0".to_owned(),
            attempts: 1,
            challenge: None,
            claimed_at: 1_632_994_480,
            decided_at: 1_632_994_481_250_000,
            recorded_at: None,
            source: Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 },
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            subject: "0".repeat(64),
            fingerprint: [0; 32],
            event_hashes: EventHashes::default(),
            seal: None,
            shadow: None,
        }
    }
}

impl TryFrom<String> for Decision {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Self::from_word(&word).ok_or_else(|| format!("{word:?} is not a decision"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auditors_get_a_verdict_by_its_columns_in_their_order() {
        let json = serde_json::to_string(&Verdict::ordinary("a")).expect("serialises");
        let expected = concat!(
            r#"{"claim_id":"a","kind":"qr_code","api":"intelligent_qr_code","api_schema":"2021","#,
            r#""decision":"review","level":0,"risk_types":[],"reasons":[],"provider_code":0,"#,
            r#""policy_version":"sha256:0","attempts":1,"challenge":null,"#,
            r#""claimed_at":"2021-09-30T09:34:40Z","decided_at":"2021-09-30T09:34:41.25Z","#,
            r#""recorded_at":null,"source_topic":"reward.claims","source_partition":3,"#,
            r#""source_offset":8812,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","subject":""#
        );
        assert_eq!(json, format!("{expected}{}\"}}", "0".repeat(64)));
    }
}
