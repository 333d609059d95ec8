//! "What did we decide about this person?", asked without the record holding who the person is.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;

use super::claim::VerdictRow;
use super::command::Report;
use super::shown::{instant, reasons, table};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The key where none is configured. It is in the source for all to read: it makes the column searchable, not secret.
const DEFAULT_KEY: &str = "claimgate";

/// The subject as `verdicts.subject` holds it: hex of HMAC-SHA256 over `type:id`. `account_type` is the word on the wire.
pub fn subject_hash(key: Option<&SecretString>, account_type: &str, id: &str) -> String {
    let key = key.map_or(DEFAULT_KEY, |key| key.expose_secret());
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(account_type.as_bytes());
    mac.update(b":");
    mac.update(id.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// What was decided about one subject.
#[derive(Debug, Serialize)]
pub struct SubjectFile {
    /// The subject's hash.
    pub subject: String,
    /// Its verdicts, latest first.
    pub verdicts: Vec<VerdictRow>,
}

/// Looks a subject up by its hash.
///
/// # Errors
/// [`StoreError`].
pub async fn subject_file(
    store: &PostgresStore,
    subject: String,
    limit: u32,
) -> Result<SubjectFile, StoreError> {
    let query = sqlx::query_as(
        "select
            claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code, policy_version, attempts, challenge,
            claimed_at, decided_at, recorded_at, source_topic, source_partition, source_offset, trace_id, subject
        from verdicts where subject = $1 order by decided_at desc, claim_id limit $2",
    );
    let verdicts = store.fetch(query.bind(&subject).bind(i64::from(limit))).await?;
    Ok(SubjectFile { subject, verdicts })
}

impl Report for SubjectFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn text(&self) -> String {
        if self.verdicts.is_empty() {
            return format!("nothing was decided about subject {}\n", self.subject);
        }
        table(["decided at", "claim", "kind", "decision", "why"], self.verdicts.iter().map(cells))
    }
}

/// A verdict in one line.
pub(super) fn cells(verdict: &VerdictRow) -> [String; 5] {
    [
        instant(verdict.decided_at),
        verdict.claim_id.clone(),
        verdict.kind.clone(),
        verdict.decision.clone(),
        reasons(&verdict.reasons),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_the_type_and_the_id() {
        let own = SecretString::from("own");
        let hashes = [
            subject_hash(None, "phone", "15912345687"),
            subject_hash(Some(&own), "phone", "15912345687"),
            subject_hash(None, "qq", "15912345687"),
            subject_hash(None, "phone", "15912345688"),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert_eq!(hash.len(), 64);
            assert!(!hashes[..index].contains(hash));
        }
    }

    #[test]
    fn a_hash_stays_the_same_for_ever() {
        // echo -n phone:15912345687 | openssl dgst -sha256 -hmac claimgate
        assert_eq!(subject_hash(None, "phone", "15912345687"), EXPECTED);
    }

    const EXPECTED: &str = "22d69dc6adec8755c708ba658de52728488b48aadbfeff7e59edd168cd7e2a23";
}
