//! Compares the tables with the decisions in Kafka: the owner of the tables cannot rewrite what was
//! published.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::{BorrowedMessage, Message as _};
use serde::Deserialize;
use sqlx::{FromRow, PgConnection, Row};
use time::OffsetDateTime;

use super::matching::{Fault, SealFinding};
use super::report::SealReport;
use crate::audit::AuditError;
use crate::audit::period::Time;
use crate::decision::{Reason, Source};
use crate::intake::consumer::headers;
use crate::intake::header;
use crate::kafka::{Reading, Settings};
use crate::outbox::StoreError;
use crate::outbox::message::SEAL;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{Seal, VERDICTS, Verdict, utc};

/// A published decision: the fields that are compared (`schemas/decision.v1.json`).
#[derive(Debug, Deserialize)]
struct Decision {
    claim_id: String,
    kind: String,
    decision: String,
    reasons: Vec<Reason>,
    api: String,
    api_schema: String,
    level: Option<i16>,
    risk_types: Vec<i32>,
    provider_code: Option<i64>,
    policy_version: String,
    attempts: u32,
    #[serde(with = "time::serde::rfc3339")]
    claimed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: OffsetDateTime,
    source: Source,
    trace_id: String,
    /// A person decided it.
    revision: Option<i32>,
    /// Reasons and risk types may be left out.
    #[serde(default)]
    truncated: bool,
}

/// A message of the topic.
struct Published {
    place: String,
    /// `None` if it cannot be read.
    decision: Option<Decision>,
    seal: Option<Seal>,
}

/// Reads the decisions of a period, and compares each with the tables.
pub(super) async fn compare(
    store: &PostgresStore,
    settings: &Settings,
    since: Option<Duration>,
    report: &mut SealReport,
) -> Result<(), AuditError> {
    let since = since.map(|since| Time::Ago(since).at(OffsetDateTime::now_utc()));
    let topic = ("output_topic", settings.output_topic.as_str());
    let mut reading = Reading::start(settings, topic, since, |message| Some(published(message)));
    while let Some(some) = reading.next().await.map_err(AuditError::Kafka)? {
        compare_some(store, some, report).await?;
    }
    Ok(())
}

fn published(message: &BorrowedMessage<'_>) -> Published {
    let seal = header(&headers(message), SEAL)
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    let decision = message.payload().and_then(|payload| serde_json::from_slice(payload).ok());
    Published { place: format!("{topic}/{partition}/{offset}"), decision, seal }
}

async fn compare_some(
    store: &PostgresStore,
    published: Vec<Published>,
    report: &mut SealReport,
) -> Result<(), StoreError> {
    let verdicts = verdicts(store, &published).await?;
    let ids: Vec<i64> =
        published.iter().filter_map(|message| message.seal).map(|seal| seal.id).collect();
    let heads = sqlx::query_as("select id, head from seals where id = any($1)").bind(ids);
    let heads: HashMap<i64, Vec<u8>> = store.fetch(heads).await?.into_iter().collect();
    let revisions = revisions(store, &published).await?;
    let recorded = Recorded { verdicts, heads, revisions };
    published.iter().for_each(|message| recorded.compare(message, report));
    Ok(())
}

/// What the tables have about some messages.
#[derive(Default)]
struct Recorded {
    /// The verdicts of their claims; `None` for one that cannot be read.
    verdicts: HashMap<String, Option<Verdict>>,
    /// The hashes of their seals.
    heads: HashMap<i64, Vec<u8>>,
    /// The decisions of revisions, by claim and revision.
    revisions: HashMap<(String, i32), String>,
}

impl Recorded {
    /// Compares a message with it. One that cannot be read as a decision is counted, and its seal
    /// compared.
    fn compare(&self, message: &Published, report: &mut SealReport) {
        let Published { place, decision, seal } = message;
        report.decisions += 1;
        report.unsealed_decisions += usize::from(seal.is_none());
        report.unreadable_decisions += usize::from(decision.is_none());
        let seal = seal.and_then(|seal| witnessed(seal, self.heads.get(&seal.id), place));
        let contradiction = decision.as_ref().and_then(|decision| match decision.revision {
            None => contradiction(decision, self.verdicts.get(&decision.claim_id), place),
            Some(revision) => {
                let revised = self.revisions.get(&(decision.claim_id.clone(), revision));
                unrevised(decision, revised, place)
            }
        });
        seal.into_iter().chain(contradiction).for_each(|finding| report.add(finding));
    }
}

/// The verdicts of the claims of these messages; `None` for one that cannot be read, because it was
/// altered.
async fn verdicts(
    store: &PostgresStore,
    published: &[Published],
) -> Result<HashMap<String, Option<Verdict>>, StoreError> {
    let ids: Vec<&str> = published.iter().filter_map(Published::claim_id).collect();
    let verdicts = sqlx::query(VERDICTS.select("where claim_id = any($1)")).bind(ids);
    let read = async |connection: &mut PgConnection| {
        let mut read = HashMap::new();
        for row in verdicts.fetch_all(connection).await? {
            let claim_id: String = row.try_get("claim_id")?;
            read.insert(claim_id, Verdict::from_row(&row).ok());
        }
        Ok(read)
    };
    store.in_snapshot(read).await
}

/// Whether the seal of a message is the one in the table.
fn witnessed(seal: Seal, head: Option<&Vec<u8>>, place: &str) -> Option<SealFinding> {
    let (fault, detail) = match head {
        None => (Fault::SealRemoved, "has its hash, and it is not there"),
        Some(head) if head.as_slice() != seal.head => {
            (Fault::SealAltered, "has another hash of it")
        }
        Some(_) => return None,
    };
    let detail = format!("the decision at {place} {detail}");
    Some(SealFinding::of_seal(fault, seal.id, detail))
}

/// Whether a claim's verdict equals the published decision.
fn contradiction(
    decision: &Decision,
    verdict: Option<&Option<Verdict>>,
    place: &str,
) -> Option<SealFinding> {
    let detail = match verdict {
        None => "the claim has no verdict".to_owned(),
        Some(None) => "the verdict cannot be read".to_owned(),
        Some(Some(verdict)) => {
            let is_cut = decision.truncated;
            let claimed_at = utc(verdict.claimed_at.saturating_mul(1_000_000));
            let columns = [
                ("kind", verdict.kind == decision.kind),
                ("decision", verdict.decision.as_str() == decision.decision),
                ("reasons", is_cut || verdict.reasons == decision.reasons),
                ("api", verdict.api == decision.api),
                ("api_schema", verdict.api_schema == decision.api_schema),
                ("level", verdict.level == decision.level),
                ("risk_types", is_cut || verdict.risk_types == decision.risk_types),
                ("provider_code", verdict.provider_code == decision.provider_code),
                ("policy_version", verdict.policy_version == decision.policy_version),
                ("attempts", verdict.attempts == decision.attempts),
                ("claimed_at", claimed_at == decision.claimed_at),
                ("decided_at", utc(verdict.decided_at) == decision.decided_at),
                ("source", verdict.source == decision.source),
                ("trace_id", verdict.trace_id == decision.trace_id),
            ];
            let other: Vec<&str> =
                columns.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
            if other.is_empty() {
                return None;
            }
            format!("the verdict says otherwise in {}", other.join(", "))
        }
    };
    Some(contradicted("verdicts", decision, &detail, place))
}

/// The revisions of the claims of these messages, by claim and revision.
async fn revisions(
    store: &PostgresStore,
    published: &[Published],
) -> Result<HashMap<(String, i32), String>, StoreError> {
    let is_revised = |message: &&Published| {
        message.decision.as_ref().is_some_and(|decision| decision.revision.is_some())
    };
    let ids: Vec<&str> =
        published.iter().filter(is_revised).filter_map(Published::claim_id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = "select claim_id, revision, decision from revisions where claim_id = any($1)";
    let rows: Vec<(String, i32, String)> = store.fetch(sqlx::query_as(rows).bind(ids)).await?;
    Ok(rows.into_iter().map(|(claim, revision, decision)| ((claim, revision), decision)).collect())
}

/// Whether a published revision differs from the recorded one.
fn unrevised(decision: &Decision, recorded: Option<&String>, place: &str) -> Option<SealFinding> {
    let detail = match recorded {
        Some(recorded) if *recorded == decision.decision => return None,
        Some(recorded) => format!("the revision says {recorded}"),
        None => "the claim has no such revision".to_owned(),
    };
    Some(contradicted("revisions", decision, &detail, place))
}

fn contradicted(
    table: &'static str,
    decision: &Decision,
    detail: &str,
    place: &str,
) -> SealFinding {
    SealFinding {
        fault: Fault::Contradicted,
        table,
        row: decision.claim_id.clone(),
        seal: None,
        detail: format!("{detail}; its decision is at {place}"),
    }
}

impl Published {
    fn claim_id(&self) -> Option<&str> {
        self.decision.as_ref().map(|decision| decision.claim_id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::report::{End, Report as _};

    #[test]
    fn a_message_that_cannot_be_read_is_counted_and_its_seal_compared() {
        let seal = Seal { id: 7, head: [1; 32] };
        let message = Published { place: "t/0/1".to_owned(), decision: None, seal: Some(seal) };
        let heads = HashMap::from([(7, vec![1; 32])]);
        let mut report = SealReport::new(9);
        report.seals = 1;
        Recorded { heads, ..Recorded::default() }.compare(&message, &mut report);
        assert_eq!((report.unreadable_decisions, report.faults.len()), (1, 0));
        assert_eq!(report.end(), End::Unverifiable, "it may say anything");
        Recorded::default().compare(&message, &mut report);
        assert_eq!(report.faults.get(&Fault::SealRemoved), Some(&1));
        assert_eq!(report.end(), End::Disagrees);
    }

    #[test]
    fn what_is_published_is_compared_with_the_verdict() {
        let reasons = vec![Reason::new("level", Some(0), Some("none"))];
        let verdict = Verdict { reasons, risk_types: vec![101], ..Verdict::ordinary("a") };
        let published = json!({
            "claim_id": "a", "kind": "qr_code", "decision": "review",
            "reasons": [{"code": "level", "value": 0, "name": "none"}],
            "api": "intelligent_qr_code", "api_schema": "2021", "level": 0, "risk_types": [101],
            "provider_code": 0, "policy_version": "sha256:0", "attempts": 1,
            "claimed_at": "2021-09-30T09:34:40Z", "decided_at": "2021-09-30T09:34:41.25Z",
            "source": {"topic": "reward.claims", "partition": 3, "offset": 8812},
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        });
        let verdict = Some(verdict);
        let found = |published: &Value, verdict: &Option<Verdict>| {
            let decision: Decision = Deserialize::deserialize(published).expect("a decision");
            contradiction(&decision, Some(verdict), "t/0/1").map(|finding| finding.detail)
        };
        assert_eq!(found(&published, &verdict), None);
        for (field, other) in [
            ("kind", json!("gift")),
            ("decision", json!("approve")),
            ("reasons", json!([])),
            ("api", json!("wechat_account")),
            ("api_schema", json!("2022")),
            ("level", json!(null)),
            ("risk_types", json!([102])),
            ("provider_code", json!(1)),
            ("policy_version", json!("sha256:1")),
            ("attempts", json!(2)),
            ("claimed_at", json!("2021-09-30T09:34:41Z")),
            ("decided_at", json!("2021-09-30T09:34:41Z")),
            ("source", json!({"topic": "reward.claims", "partition": 3, "offset": 8813})),
            ("trace_id", json!("0bf92f3577b34da6a3ce929d0e0e4736")),
        ] {
            let mut other_one = published.clone();
            other_one[field] = other;
            let found = found(&other_one, &verdict).expect(field);
            assert!(found.contains(&format!("otherwise in {field};")), "{found}");
        }
        let mut cut = published.clone();
        (cut["reasons"], cut["risk_types"], cut["truncated"]) = (json!([]), json!([]), json!(true));
        assert_eq!(found(&cut, &verdict), None, "it says that something is left out");
        let unreadable = found(&published, &None).expect("a finding");
        assert!(unreadable.contains("cannot be read"), "{unreadable}");
    }
}
