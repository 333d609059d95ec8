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
/// [`StoreError`], also if some of its evidence cannot be decrypted.
pub async fn claim_file(store: &PostgresStore, claim_id: &str) -> Result<ClaimFile, StoreError> {
    let (file, undecryptable) = decryptable_file(store, claim_id).await?;
    undecryptable.first().map_or(Ok(file), |why| Err(store.not_decrypted(why)))
}

/// The same without what cannot be decrypted, and why each row of that cannot be.
pub(in crate::audit) async fn decryptable_file(
    store: &PostgresStore,
    claim_id: &str,
) -> Result<(ClaimFile, Vec<String>), StoreError> {
    let verdict = store.fetch(verdicts("where claim_id = $1").bind(claim_id)).await?;
    let calls = RISK_CALLS.select("where claim_id = $1 order by requested_at, id");
    let calls = store.fetch_decryptable(sqlx::query_as::<_, Call>(calls).bind(claim_id)).await?;
    let events = CLAIM_EVENTS.select("where claim_id = $1 order by received_at");
    let events =
        store.fetch_decryptable(sqlx::query_as::<_, EventRow>(events).bind(claim_id)).await?;
    let (calls, of_calls): (Vec<Call>, Vec<Option<String>>) = calls.into_iter().unzip();
    let (events, of_events): (Vec<EventRow>, Vec<Option<String>>) = events.into_iter().unzip();
    let undecryptable = of_calls.into_iter().chain(of_events).flatten().collect();
    let (claim_id, verdict) = (claim_id.to_owned(), verdict.into_iter().next());
    Ok((ClaimFile { claim_id, verdict, calls, events }, undecryptable))
}

/// The verdicts that the condition `rest` selects, with the time at which they were written, unless
/// it was altered to one that no clock gives.
pub(in crate::audit) fn verdicts(rest: &str) -> QueryAs<'static, Postgres, Verdict, PgArguments> {
    let recorded_at = ", case when recorded_at between '0001-01-01' and '9999-12-31'
        then recorded_at end as recorded_at";
    sqlx::query_as(VERDICTS.select_and(recorded_at, rest))
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
