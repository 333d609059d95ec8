//! "Which claims did no risk API assess, and what did the APIs answer?"

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::interval;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::{optional, table};
use crate::audit::report::{Report, there_are_more, with_note};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// Claims that were decided without an assessment.
#[derive(Debug, Serialize)]
pub struct UnassessedClaims {
    /// The number of claims by cause, most frequent first.
    pub counts: Vec<UnassessedCount>,
    /// The latest claims.
    pub claims: Vec<UnassessedClaim>,
}

/// The number of claims that were not assessed for one cause.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct UnassessedCount {
    /// The API.
    pub api: String,
    /// `unassessable`: the API cannot assess it; `unassessed`: no usable answer came.
    pub code: String,
    /// The result of the last attempt.
    pub name: Option<String>,
    /// The API's return code.
    pub provider_code: Option<i64>,
    /// Claims.
    pub claims: i64,
}

/// A claim that was decided without an assessment.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct UnassessedClaim {
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
    /// The claim.
    pub claim_id: String,
    /// The API.
    pub api: String,
    /// The decision.
    pub decision: String,
    /// `unassessable` or `unassessed`.
    pub code: String,
    /// The result of the last attempt.
    pub name: Option<String>,
    /// The API's return code.
    pub provider_code: Option<i64>,
    /// The number of attempts.
    pub attempts: i32,
}

/// The number of claims by API and reason.
const COUNTS: &str = "select
        api, reason->>'code' as code, reason->>'name' as name,
        (reason->>'value')::bigint as provider_code, count(*) as claims
    from verdicts cross join jsonb_array_elements(reasons) as reason
    where decided_at >= now() - $1 and reason->>'code' in ('unassessable', 'unassessed')
    group by 1, 2, 3, 4 order by claims desc, api, code, name, provider_code";
/// The latest of them.
const CLAIMS: &str = "select
        decided_at, claim_id, api, decision, reason->>'code' as code, reason->>'name' as name,
        (reason->>'value')::bigint as provider_code, attempts
    from verdicts cross join jsonb_array_elements(reasons) as reason
    where decided_at >= now() - $1 and reason->>'code' in ('unassessable', 'unassessed')
    order by decided_at desc, claim_id limit $2";

/// Finds the claims of the latest period that no API assessed.
///
/// # Errors
/// [`StoreError`].
pub async fn unassessed_claims(
    store: &PostgresStore,
    since: Duration,
    limit: u32,
) -> Result<UnassessedClaims, StoreError> {
    let (counts, claims) = (sqlx::query_as(COUNTS), sqlx::query_as(CLAIMS));
    Ok(UnassessedClaims {
        counts: store.fetch(counts.bind(interval(since))).await?,
        claims: store.fetch(claims.bind(interval(since)).bind(i64::from(limit))).await?,
    })
}

impl Report for UnassessedClaims {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if self.counts.is_empty() {
            return "every claim of that time was assessed\n".to_owned();
        }
        let counts = self.counts.iter().map(|count| {
            let UnassessedCount { api, code, name, provider_code, claims } = count;
            [
                api.clone(),
                code.clone(),
                optional(name.as_ref()),
                optional(*provider_code),
                claims.to_string(),
            ]
        });
        let counts = table(["api", "outcome", "reason", "provider code", "claims"], counts);
        with_note(format!("{counts}\n{}", self.rows().table()), self.note())
    }

    fn note(&self) -> Option<String> {
        let all: i64 = self.counts.iter().map(|count| count.claims).sum();
        let brought = self.claims.len();
        (all.unsigned_abs() > brought as u64).then(|| there_are_more("latest", brought))
    }
}

impl Tabular for UnassessedClaims {
    fn rows(&self) -> RowSet {
        let columns = [
            "decided_at",
            "claim_id",
            "api",
            "decision",
            "outcome",
            "reason",
            "provider_code",
            "attempts",
        ];
        RowSet::new(columns, self.claims.iter().map(cells))
    }
}

fn cells(claim: &UnassessedClaim) -> [Cell; 8] {
    [
        Cell::time(claim.decided_at),
        Cell::of(&claim.claim_id),
        Cell::of(&claim.api),
        Cell::of(&claim.decision),
        Cell::of(&claim.code),
        Cell::optional(claim.name.as_ref()),
        Cell::optional(claim.provider_code),
        Cell::of(claim.attempts),
    ]
}
