//! What the page shows of the record: the last decisions, and a claim's story. Of masked views
//! alone, which hold no identity.

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

/// No statement takes longer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The connection is closed when nobody has asked for so long.
const REST_AFTER: Duration = Duration::from_secs(30);

/// The columns of a [`Decided`], none of which is of the event: it is not read then.
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
/// A claim has a few steps; one that is asked about for a day has some more. The newest say how it
/// ended. One more than is shown tells whether there are more.
const STEPS: &str = "select at, step, source, api, attempt, outcome, reason, http_status, \
    provider_code, (extract(epoch from latency) * 1000)::float8 as latency_ms, decision, seal \
    from masked_steps where claim_id = $1 order by at desc limit 501";
/// The steps that are shown of a claim, at most.
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
    /// `None` where it is not decided.
    claim: Option<Claim>,
    /// In the order of time.
    steps: Vec<Step>,
    /// Whether there are older steps, which are left out.
    cut: bool,
}

/// The record, for viewers: one question at a time, over a connection of its own.
pub(super) struct Records {
    store: PostgresStore,
    /// Closes the connection after a while; aborted by the next question.
    rest: Mutex<Option<AbortHandle>>,
}

impl Records {
    /// The record behind this store. Nothing is connected to until somebody asks.
    pub(super) fn new(store: &PostgresStore) -> Self {
        Self { store: store.for_viewers(STATEMENT_TIMEOUT), rest: Mutex::default() }
    }

    /// The last decisions, newest first, of every worker that writes to this database.
    pub(super) async fn last_decisions(&self) -> Result<Vec<Decided>, StoreError> {
        self.rest_later();
        self.store.fetch(sqlx::query_as(LAST)).await
    }

    /// What happened to a claim; `None` where nothing is known of it.
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

/// What is shown of steps that come newest first, and whether older ones are left out.
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
    fn of_a_long_story_the_end_is_shown_and_it_is_told_that_the_beginning_is_not() {
        assert_eq!(in_order(vec![3, 2, 1]), (vec![1, 2, 3], false));
        let newest_first = |steps: usize| (1..=steps).rev().collect();
        assert_eq!(in_order(newest_first(STEPS_SHOWN)), ((1..=500).collect(), false));
        assert_eq!(in_order(newest_first(STEPS_SHOWN + 1)), ((2..=501).collect(), true));
    }
}
