//! Reads everything that is kept about one claim.

use serde::Serialize;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;

use crate::audit::report::shown::{block, counted, instant, optional, reasons, sheet};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{CLAIM_EVENTS, Call, EventRow, RISK_CALLS, VERDICTS, Verdict, utc};

/// Everything that is kept about one claim.
#[derive(Debug, Serialize)]
pub struct ClaimFile {
    /// The claim's id.
    pub claim_id: String,
    /// The verdict; `None` if there is none yet.
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
        events: store.fetch_evidence(events.bind(claim_id)).await?,
    })
}

/// The verdicts that the condition `rest` selects, with the time at which they were written.
pub(in crate::audit) fn verdicts(rest: &str) -> QueryAs<'static, Postgres, Verdict, PgArguments> {
    sqlx::query_as(VERDICTS.select_and(", recorded_at", rest))
}

/// Cuts a list that was fetched with one verdict too many. Returns whether there are more.
pub(super) fn cut(verdicts: &mut Vec<Verdict>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = verdicts.len() > limit;
    verdicts.truncate(limit);
    more
}

/// The condition for verdicts whose `subject` or `trace_id` is in `$1`. It fits the indexes, which
/// are by day.
pub(in crate::audit) fn is_given(column: &str) -> String {
    format!(
        "(decided_at at time zone 'UTC')::date = any (array(
            select generate_series((min(decided_at) at time zone 'UTC')::date,
                (max(decided_at) at time zone 'UTC')::date, '1 day')::date from verdicts))
        and left({column}, 11) = any (array(select left(given, 11) from unnest($1) as given))
        and {column} = any ($1)"
    )
}

/// Every attempt made for a claim, oldest first.
pub(in crate::audit) async fn calls(
    store: &PostgresStore,
    claim_id: &str,
) -> Result<Vec<Call>, StoreError> {
    let calls = RISK_CALLS.select("where claim_id = $1 order by requested_at, id");
    store.fetch_evidence(sqlx::query_as(calls).bind(claim_id)).await
}

impl Verdict {
    /// For a terminal.
    pub(in crate::audit) fn text(&self) -> String {
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
                    "{} {}, code {}, {}",
                    self.api,
                    self.api_schema,
                    optional(self.provider_code),
                    counted(self.attempts, "attempt")
                ),
            ),
            ("Policy", self.policy_version.clone()),
            ("Source", self.source.to_string()),
            ("Subject", self.subject.clone()),
            ("Trace", self.trace_id.clone()),
        ])
    }
}

/// An event's bytes for the terminal.
pub(in crate::audit) fn payload(payload: Option<&[u8]>) -> String {
    payload.map_or_else(|| "no payload".to_owned(), block)
}
