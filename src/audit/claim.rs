//! "What became of this claim, and why?"

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::command::Report;
use super::shown::{
    bytes_as_json, instant, optional, printable, printable_bytes, reasons, sheet, table,
};
use crate::decision::Reason;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// Everything that is kept about one claim.
#[derive(Debug, Serialize)]
pub struct ClaimFile {
    /// The claim's id.
    pub claim_id: String,
    /// What was decided; `None` where nothing was yet.
    pub verdict: Option<VerdictRow>,
    /// Every attempt at a risk API, oldest first.
    pub calls: Vec<CallRow>,
    /// The event behind the verdict, unless its retention is over.
    pub events: Vec<EventRow>,
}

/// A row of `verdicts`, as auditors see it. The columns' comments say what they are.
#[derive(Debug, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct VerdictRow {
    pub claim_id: String,
    pub kind: String,
    pub api: String,
    pub api_schema: String,
    pub decision: String,
    pub level: Option<i16>,
    pub risk_types: Vec<i32>,
    pub reasons: Json<Vec<Reason>>,
    pub provider_code: Option<i64>,
    pub policy_version: String,
    pub attempts: i32,
    pub challenge: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub claimed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub recorded_at: OffsetDateTime,
    pub source_topic: String,
    pub source_partition: i32,
    pub source_offset: i64,
    pub trace_id: String,
    pub subject: String,
}

/// A row of `risk_calls`.
#[derive(Debug, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct CallRow {
    pub id: Uuid,
    pub attempt: i32,
    pub api: String,
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
    pub latency_ms: f64,
    pub http_status: Option<i32>,
    pub provider_code: Option<i64>,
    pub outcome: String,
    pub reason: String,
    pub request: String,
    #[serde(serialize_with = "bytes_as_json")]
    pub response: Option<Vec<u8>>,
    pub trace_id: String,
}

/// A row of `claim_events`.
#[derive(Debug, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct EventRow {
    pub claim_id: String,
    pub source_topic: String,
    pub source_partition: i32,
    pub source_offset: i64,
    #[serde(serialize_with = "bytes_as_json")]
    pub key: Option<Vec<u8>>,
    pub headers: Value,
    #[serde(serialize_with = "bytes_as_json")]
    pub payload: Option<Vec<u8>>,
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub trace_id: String,
}

/// Looks a claim up.
///
/// # Errors
/// [`StoreError`].
pub async fn claim_file(store: &PostgresStore, claim_id: &str) -> Result<ClaimFile, StoreError> {
    let verdict = sqlx::query_as(
        "select
            claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code, policy_version, attempts, challenge,
            claimed_at, decided_at, recorded_at, source_topic, source_partition, source_offset, trace_id, subject
        from verdicts where claim_id = $1",
    );
    let events = sqlx::query_as(
        "select claim_id, source_topic, source_partition, source_offset, key, headers, payload, received_at, trace_id
        from claim_events where claim_id = $1 order by received_at",
    );
    Ok(ClaimFile {
        claim_id: claim_id.to_owned(),
        verdict: store.fetch(verdict.bind(claim_id)).await?.into_iter().next(),
        calls: calls(store, claim_id).await?,
        events: store.fetch(events.bind(claim_id)).await?,
    })
}

/// Every attempt made for a claim, oldest first.
pub(super) async fn calls(
    store: &PostgresStore,
    claim_id: &str,
) -> Result<Vec<CallRow>, StoreError> {
    let query = sqlx::query_as(
        "select
            id, attempt, api, requested_at, (extract(epoch from latency) * 1000)::float8 as latency_ms, http_status, provider_code,
            outcome, reason, request, response, trace_id
        from risk_calls where claim_id = $1 order by requested_at, id",
    );
    store.fetch(query.bind(claim_id)).await
}

impl Report for ClaimFile {
    fn found(&self) -> bool {
        self.verdict.is_some() || !self.calls.is_empty()
    }

    fn text(&self) -> String {
        let mut text = match &self.verdict {
            Some(verdict) => verdict.text(),
            None => format!("no verdict for claim {:?}\n", self.claim_id),
        };
        for event in &self.events {
            text += &format!(
                "\nEvent, received {}\n{}\n",
                instant(event.received_at),
                payload(event.payload.as_deref())
            );
        }
        if !self.calls.is_empty() {
            let header = ["requested at", "#", "api", "ms", "http", "code", "outcome", "reason"];
            text += &format!("\n{}", table(header, self.calls.iter().map(CallRow::cells)));
        }
        for call in &self.calls {
            let answer =
                call.response.as_deref().map_or_else(|| "no answer".to_owned(), printable_bytes);
            text += &format!(
                "\nCall {}, {}\n{}\n{answer}\n",
                call.id,
                instant(call.requested_at),
                printable(&call.request)
            );
        }
        text
    }
}

impl VerdictRow {
    fn text(&self) -> String {
        let source =
            format!("{}/{}/{}", self.source_topic, self.source_partition, self.source_offset);
        sheet([
            (
                "Claim",
                format!("{} ({}), claimed {}", self.claim_id, self.kind, instant(self.claimed_at)),
            ),
            (
                "Decision",
                format!(
                    "{}, decided {}, recorded {}",
                    self.decision,
                    instant(self.decided_at),
                    instant(self.recorded_at)
                ),
            ),
            ("Why", reasons(&self.reasons)),
            (
                "API",
                format!(
                    "{} {}, code {}, {} attempts",
                    self.api,
                    self.api_schema,
                    optional(self.provider_code),
                    self.attempts
                ),
            ),
            ("Policy", self.policy_version.clone()),
            ("Source", source),
            ("Subject", self.subject.clone()),
            ("Trace", self.trace_id.clone()),
        ])
    }
}

impl CallRow {
    fn cells(&self) -> [String; 8] {
        [
            instant(self.requested_at),
            self.attempt.to_string(),
            self.api.clone(),
            format!("{:.1}", self.latency_ms),
            optional(self.http_status),
            optional(self.provider_code),
            self.outcome.clone(),
            self.reason.clone(),
        ]
    }
}

/// An event's bytes for the terminal.
pub(super) fn payload(payload: Option<&[u8]>) -> String {
    payload.map_or_else(|| "no payload".to_owned(), printable_bytes)
}
