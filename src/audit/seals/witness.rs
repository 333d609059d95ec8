//! Compares the tables with the decisions in Kafka: the owner of the tables cannot rewrite what was
//! published.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::{BorrowedMessage, Message as _};
use serde::Deserialize;
use time::OffsetDateTime;

use super::matching::{Fault, SealFinding};
use super::report::SealReport;
use crate::audit::AuditError;
use crate::audit::period::Time;
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
    decision: String,
    level: Option<i16>,
    provider_code: Option<i64>,
    policy_version: String,
    attempts: u32,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: OffsetDateTime,
    /// A person decided it.
    revision: Option<i32>,
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
    let ids: Vec<&str> = published.iter().filter_map(Published::claim_id).collect();
    let verdicts = VERDICTS.select("where claim_id = any($1)");
    let verdicts: Vec<Verdict> = store.fetch(sqlx::query_as(verdicts).bind(ids)).await?;
    let verdicts: HashMap<&str, &Verdict> =
        verdicts.iter().map(|verdict| (verdict.claim_id.as_str(), verdict)).collect();
    let ids: Vec<i64> =
        published.iter().filter_map(|message| message.seal).map(|seal| seal.id).collect();
    let heads = sqlx::query_as("select id, head from seals where id = any($1)").bind(ids);
    let heads: HashMap<i64, Vec<u8>> = store.fetch(heads).await?.into_iter().collect();
    let revisions = revisions(store, &published).await?;
    for message in &published {
        report.decisions += 1;
        let Some(decision) = &message.decision else { continue };
        let finding = match message.seal {
            None => {
                report.unsealed_decisions += 1;
                None
            }
            Some(seal) => witnessed(seal, heads.get(&seal.id), &message.place),
        };
        let verdict = verdicts.get(decision.claim_id.as_str()).copied();
        let contradiction = match decision.revision {
            None => contradiction(decision, verdict, &message.place),
            Some(revision) => {
                let revised = revisions.get(&(decision.claim_id.clone(), revision));
                unrevised(decision, revised, &message.place)
            }
        };
        let found = finding.into_iter().chain(contradiction);
        found.for_each(|finding| report.add(finding));
    }
    Ok(())
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
    verdict: Option<&Verdict>,
    place: &str,
) -> Option<SealFinding> {
    let detail = match verdict {
        None => "the claim has no verdict".to_owned(),
        Some(verdict) => {
            let columns = [
                ("decision", verdict.decision.as_str() == decision.decision),
                ("level", verdict.level == decision.level),
                ("provider_code", verdict.provider_code == decision.provider_code),
                ("policy_version", verdict.policy_version == decision.policy_version),
                ("attempts", verdict.attempts == decision.attempts),
                ("decided_at", utc(verdict.decided_at) == decision.decided_at),
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
