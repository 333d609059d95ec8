//! What the page shows from Postgres: the last decisions, and the story of a claim. It reads only
//! the masked views, which hold no identity.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use tokio::task::AbortHandle;

use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::clean;

/// The time limit of a statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The connection is closed after this time without a question.
const REST_AFTER: Duration = Duration::from_secs(30);

/// The columns of a [`Decided`]. None comes from the event, so PostgreSQL does not read the events.
macro_rules! decided {
    ($rest:literal) => {
        concat!(
            "select claim_id, kind, api, decision, decision_in_force, level, reasons, \
             provider_code, attempts, decided_at",
            $rest
        )
    };
}

const LAST: &str = decided!(" from masked_claims order by decided_at desc limit 50");
const CLAIM: &str = decided!(
    ", claimed_at, policy_version, trace_id, account_type, account_id, network::text, merchant, \
     goods from masked_claims where claim_id = $1"
);
/// A claim has a few steps; a claim that was retried for a day has more. The newest ones say how it
/// ended. One more than is shown is read, to know whether there are more.
const STEPS: &str = "select at, step, source, api, attempt, outcome, reason, http_status, \
    provider_code, (extract(epoch from latency) * 1000)::float8 as latency_ms, decision, seal \
    from masked_steps where claim_id = $1 order by at desc limit 501";
/// The most steps that are shown of a claim.
const STEPS_SHOWN: usize = 500;

/// A decision.
#[derive(Debug, Serialize, FromRow)]
pub(super) struct Decided {
    claim_id: String,
    kind: String,
    api: String,
    decision: String,
    decision_in_force: String,
    level: Option<i16>,
    reasons: Value,
    provider_code: Option<i64>,
    attempts: i32,
    #[serde(with = "time::serde::rfc3339")]
    decided_at: OffsetDateTime,
}

/// A claim that was decided.
#[derive(Debug, Serialize, FromRow)]
struct Claim {
    #[serde(flatten)]
    #[sqlx(flatten)]
    decided: Decided,
    #[serde(with = "time::serde::rfc3339")]
    claimed_at: OffsetDateTime,
    policy_version: String,
    trace_id: String,
    account_type: Option<String>,
    account_id: Option<String>,
    network: Option<String>,
    merchant: Option<String>,
    goods: Option<String>,
}

/// Something that happened to a claim.
#[derive(Debug, Serialize, FromRow)]
struct Step {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    step: String,
    source: Option<String>,
    api: Option<String>,
    attempt: Option<i32>,
    outcome: Option<String>,
    reason: Option<String>,
    http_status: Option<i32>,
    provider_code: Option<i64>,
    latency_ms: Option<f64>,
    decision: Option<String>,
    seal: Option<i64>,
}

/// A claim's story.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    claim_id: String,
    /// `None` if it is not decided.
    claim: Option<Claim>,
    /// In order of time.
    steps: Vec<Step>,
    /// Whether there are older steps, which are left out.
    cut: bool,
}

/// The tables, for viewers: one question at a time, over a connection of their own.
pub(super) struct Records {
    store: PostgresStore,
    /// Closes the connection after a while. The next question aborts it.
    rest: Mutex<Option<AbortHandle>>,
}

impl Records {
    /// The tables of this store. It connects at the first question.
    pub(super) fn new(store: &PostgresStore) -> Self {
        Self { store: store.for_viewers(STATEMENT_TIMEOUT), rest: Mutex::default() }
    }

    /// The last decisions, newest first, of every worker that writes to this database.
    pub(super) async fn last_decisions(&self) -> Result<Vec<Decided>, StoreError> {
        self.rest_later();
        self.store.fetch(sqlx::query_as(LAST)).await
    }

    /// What happened to a claim; `None` if nothing is known about it.
    pub(super) async fn story(&self, claim_id: &str) -> Result<Option<Story>, StoreError> {
        self.rest_later();
        let claim_id = clean(claim_id).into_owned();
        let steps: Vec<Step> = self.store.fetch(sqlx::query_as(STEPS).bind(&claim_id)).await?;
        if steps.is_empty() {
            return Ok(None);
        }
        let claim = self.store.fetch(sqlx::query_as(CLAIM).bind(&claim_id)).await?;
        let (steps, cut) = in_order(steps);
        Ok(Some(Story { claim: claim.into_iter().next(), steps, cut, claim_id }))
    }

    fn rest_later(&self) {
        let store = self.store.clone();
        let later = tokio::spawn(async move {
            tokio::time::sleep(REST_AFTER).await;
            store.close().await;
        });
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = rest.replace(later.abort_handle()) {
            earlier.abort();
        }
    }
}

/// The steps that are shown, in order of time, and whether older ones are left out. The input
/// begins with the newest.
fn in_order<T>(mut steps: Vec<T>) -> (Vec<T>, bool) {
    let cut = steps.len() > STEPS_SHOWN;
    steps.truncate(STEPS_SHOWN);
    steps.reverse();
    (steps, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_story_shows_its_end_and_says_that_it_is_cut() {
        assert_eq!(in_order(vec![3, 2, 1]), (vec![1, 2, 3], false));
        let newest_first = |steps: usize| (1..=steps).rev().collect();
        assert_eq!(in_order(newest_first(STEPS_SHOWN)), ((1..=500).collect(), false));
        assert_eq!(in_order(newest_first(STEPS_SHOWN + 1)), ((2..=501).collect(), true));
    }
}
