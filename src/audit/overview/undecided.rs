//! "Which claims were sent to a risk API and are not decided, since when, and why?"

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::interval;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::{instant, table};
use crate::audit::report::{Report, there_are_more, with_note};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// Claims without a verdict.
#[derive(Debug, Serialize)]
pub struct UndecidedClaims {
    /// The number of claims by the result of the last attempt, most frequent first.
    pub counts: Vec<UndecidedCount>,
    /// The claims that have waited longest.
    pub claims: Vec<UndecidedClaim>,
}

/// The number of claims that wait for one reason.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct UndecidedCount {
    /// The API.
    pub api: String,
    /// The result of the last attempt; empty while its answer is being recorded.
    pub reason: String,
    /// Claims.
    pub claims: i64,
    /// When the first attempt for one of them was made.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// A claim that was sent to an API and has no verdict.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct UndecidedClaim {
    /// The claim.
    pub claim_id: String,
    /// The API.
    pub api: String,
    /// The result of the last attempt.
    pub reason: String,
    /// The number of all attempts, also those before the period.
    pub attempts: i64,
    /// The first attempt.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The last attempt.
    #[serde(with = "time::serde::rfc3339")]
    pub last: OffsetDateTime,
}

/// The claims with an attempt in a period and no verdict, with all their attempts, so that the
/// beginning of the wait does not depend on the period. `lateral` makes PostgreSQL look up the
/// attempts by claim.
const WAITING: &str = "with asked as (
        select distinct claim_id from risk_calls
        where requested_at >= now() - $1
            and not exists (select from verdicts where verdicts.claim_id = risk_calls.claim_id)
    ), waiting as (
        select attempts.* from asked cross join lateral (
            select
                claim_id, api, (array_agg(reason order by requested_at desc, id desc))[1] as reason,
                count(*) as attempts, min(requested_at) as since, max(requested_at) as last
            from risk_calls where risk_calls.claim_id = asked.claim_id
            group by claim_id, api
        ) as attempts
    )";

/// Finds the claims with an attempt in the latest period and no verdict.
///
/// # Errors
/// [`StoreError`].
pub async fn undecided_claims(
    store: &PostgresStore,
    since: Duration,
    limit: u32,
) -> Result<UndecidedClaims, StoreError> {
    let counts = format!(
        "{WAITING} select api, reason, count(*) as claims, min(since) as since from waiting
        group by api, reason order by claims desc, api, reason"
    );
    let claims = format!("{WAITING} select * from waiting order by since, claim_id limit $2");
    let [counts, claims] = [counts, claims].map(sqlx::AssertSqlSafe);
    let claims = sqlx::query_as(claims).bind(interval(since)).bind(i64::from(limit));
    Ok(UndecidedClaims {
        counts: store.fetch(sqlx::query_as(counts).bind(interval(since))).await?,
        claims: store.fetch(claims).await?,
    })
}

impl Report for UndecidedClaims {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if self.counts.is_empty() {
            return "every claim that was asked about in that time is decided\n".to_owned();
        }
        let counts = self.counts.iter().map(|count| {
            let UndecidedCount { api, reason, claims, since } = count;
            [api.clone(), reason.clone(), claims.to_string(), instant(*since)]
        });
        let counts = table(["api", "reason", "claims", "since"], counts);
        with_note(format!("{counts}\n{}", self.rows().table()), self.note())
    }

    fn note(&self) -> Option<String> {
        let all: i64 = self.counts.iter().map(|count| count.claims).sum();
        let brought = self.claims.len();
        (all.unsigned_abs() > brought as u64).then(|| there_are_more("longest waiting", brought))
    }
}

impl Tabular for UndecidedClaims {
    fn rows(&self) -> RowSet {
        let columns = ["claim_id", "api", "reason", "attempts", "since", "last"];
        let cells = |claim: &UndecidedClaim| {
            let UndecidedClaim { claim_id, api, reason, attempts, since, last } = claim;
            let [since, last] = [since, last].map(|time| Cell::time(*time));
            [Cell::of(claim_id), Cell::of(api), Cell::of(reason), Cell::of(attempts), since, last]
        };
        RowSet::new(columns, self.claims.iter().map(cells))
    }
}
