//! "What became of this claim, and why?"

use serde::Serialize;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use super::report::Report;
use super::rows::{Cell, RowSet, Tabular};
use super::shown::{instant, optional, printable, printable_bytes, reasons, sheet};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{
    CLAIM_EVENTS, Call, EventRow, RISK_CALLS, VERDICTS, Verdict, milliseconds, utc,
};

/// Everything that is kept about one claim.
#[derive(Debug, Serialize)]
pub struct ClaimFile {
    /// The claim's id.
    pub claim_id: String,
    /// What was decided; `None` where nothing was yet.
    pub verdict: Option<Verdict>,
    /// Every attempt at a risk API, oldest first.
    pub calls: Vec<Call>,
    /// The event behind the verdict, unless its retention is over.
    pub events: Vec<EventRow>,
}

/// Looks a claim up.
///
/// # Errors
/// [`StoreError`].
pub async fn claim_file(store: &PostgresStore, claim_id: &str) -> Result<ClaimFile, StoreError> {
    let events = sqlx::query_as(CLAIM_EVENTS.select("where claim_id = $1 order by received_at"));
    Ok(ClaimFile {
        claim_id: claim_id.to_owned(),
        verdict: store
            .fetch(verdicts("where claim_id = $1").bind(claim_id))
            .await?
            .into_iter()
            .next(),
        calls: calls(store, claim_id).await?,
        events: store.fetch(events.bind(claim_id)).await?,
    })
}

/// The verdicts that `rest` says, with the time at which they were written.
pub(super) fn verdicts(rest: &str) -> QueryAs<'static, Postgres, Verdict, PgArguments> {
    sqlx::query_as(VERDICTS.select_and(", recorded_at", rest))
}

/// Every attempt made for a claim, oldest first.
pub(super) async fn calls(store: &PostgresStore, claim_id: &str) -> Result<Vec<Call>, StoreError> {
    let calls = RISK_CALLS.select("where claim_id = $1 order by requested_at, id");
    store.fetch(sqlx::query_as(calls).bind(claim_id)).await
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
            text += &format!("\n{}", self.rows().table_of(&SHORT));
        }
        for call in &self.calls {
            let answer =
                call.response.as_deref().map_or_else(|| "no answer".to_owned(), printable_bytes);
            text += &format!(
                "\nCall {}, {}\n{}\n{answer}\n",
                call.id,
                instant(utc(call.requested_at)),
                printable(&call.request)
            );
        }
        text
    }
}

impl Verdict {
    fn text(&self) -> String {
        let claimed_at = utc(self.claimed_at.saturating_mul(1_000_000));
        sheet([
            (
                "Claim",
                format!("{} ({}), claimed {}", self.claim_id, self.kind, instant(claimed_at)),
            ),
            (
                "Decision",
                format!(
                    "{}, decided {}, recorded {}",
                    self.decision.as_str(),
                    instant(utc(self.decided_at)),
                    optional(self.recorded_at.map(instant))
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
            ("Source", self.source.to_string()),
            ("Subject", self.subject.clone()),
            ("Trace", self.trace_id.clone()),
        ])
    }
}

/// The columns of a call that fit a line of a terminal.
const SHORT: [&str; 8] = [
    "requested_at",
    "attempt",
    "api",
    "latency_ms",
    "http_status",
    "provider_code",
    "outcome",
    "reason",
];

impl Tabular for ClaimFile {
    fn rows(&self) -> RowSet {
        let columns = [
            "claim_id",
            "requested_at",
            "attempt",
            "api",
            "latency_ms",
            "http_status",
            "provider_code",
            "outcome",
            "reason",
            "trace_id",
            "id",
            "request",
            "response",
            "response_base64",
        ];
        RowSet::new(columns, self.calls.iter().map(call_cells))
    }
}

fn call_cells(call: &Call) -> [Cell; 14] {
    let latency = milliseconds(call.latency);
    let [text, base64] = Cell::bytes(call.response.as_deref());
    [
        Cell::of(&call.claim_id),
        Cell::time(utc(call.requested_at)),
        Cell::of(call.attempt),
        Cell::of(&call.api),
        Cell::shown(latency, format!("{latency:.1}")),
        Cell::optional(call.http_status),
        Cell::optional(call.provider_code),
        Cell::of(&call.outcome),
        Cell::of(&call.reason),
        Cell::of(&call.trace_id),
        Cell::of(call.id),
        Cell::of(&call.request),
        text,
        base64,
    ]
}

/// An event's bytes for the terminal.
pub(super) fn payload(payload: Option<&[u8]>) -> String {
    payload.map_or_else(|| "no payload".to_owned(), printable_bytes)
}
