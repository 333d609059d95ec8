//! "How often was each API called, with which outcomes, how long did it take, and what is billed?"

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::audit::period::Period;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular, json};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The length of the intervals in which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bucket {
    /// The hour (UTC)
    Hour,
    /// The day (UTC)
    Day,
}

/// Counts of calls.
#[derive(Debug, Serialize)]
pub struct Calls {
    /// One for each interval and API, in that order.
    pub counts: Vec<CallCount>,
}

/// The calls of an API in an interval.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct CallCount {
    /// The beginning of the interval: of the hour, of the day, or of the whole period.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The API.
    pub api: String,
    /// Calls, with any outcome.
    pub calls: i64,
    /// Calls that the API assessed.
    pub assessed: i64,
    /// Calls that may be repeated.
    pub transient: i64,
    /// Calls that the API could not assess.
    pub unassessable: i64,
    /// Calls for which the API denied access.
    pub access_denied: i64,
    /// Calls that were sent, but got no complete answer.
    pub unknown: i64,
    /// Calls with a kept answer, whatever it says: an estimate of what is billed.
    pub answered: i64,
    /// The three most frequent return codes.
    pub provider_codes: Json<Vec<CodeCount>>,
    /// The time that half of all calls did not exceed, in milliseconds; calls without an answer
    /// count, too.
    pub p50_ms: f64,
    /// The same for 95 of 100 calls.
    pub p95_ms: f64,
    /// The same for 99 of 100 calls.
    pub p99_ms: f64,
}

/// How often an API gave a return code.
#[derive(Debug, Serialize, Deserialize)]
pub struct CodeCount {
    /// The code.
    pub provider_code: i64,
    /// Calls.
    pub calls: i64,
}

/// Reads the period once, without the answers: they are large.
const COUNTS: &str = "
    ), ranked as (
        select
            since, api, provider_code, count(*) as calls,
            row_number() over (
                partition by since, api order by count(*) desc, provider_code
            ) as rank
        from chosen where provider_code is not null group by since, api, provider_code
    ), codes as (
        select
            since, api,
            jsonb_agg(
                jsonb_build_object('provider_code', provider_code, 'calls', calls) order by rank
            ) as provider_codes
        from ranked where rank <= 3 group by since, api
    ), counted as (
        select
            since, api, count(*) as calls,
            count(*) filter (where outcome = 'assessed') as assessed,
            count(*) filter (where outcome = 'transient') as transient,
            count(*) filter (where outcome = 'unassessable') as unassessable,
            count(*) filter (where outcome = 'access_denied') as access_denied,
            count(*) filter (where outcome = 'unknown') as unknown,
            count(*) filter (where is_answered) as answered,
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by ms) as percentiles
        from chosen group by since, api
    )
    select
        counted.*, coalesce(provider_codes, '[]') as provider_codes,
        percentiles[1] as p50_ms, percentiles[2] as p95_ms, percentiles[3] as p99_ms
    from counted left join codes using (since, api) order by since, api";

/// Counts the calls that were sent in a period.
///
/// # Errors
/// [`StoreError`].
pub async fn calls(
    store: &PostgresStore,
    period: Period,
    by: Option<Bucket>,
) -> Result<Calls, StoreError> {
    let since = match by {
        None => "$1",
        Some(Bucket::Hour) => "date_trunc('hour', requested_at)",
        Some(Bucket::Day) => "date_trunc('day', requested_at)",
    };
    let query = format!(
        "with chosen as (
            select
                {since}::timestamptz as since, api, outcome, provider_code,
                response is not null and outcome <> 'unknown' as is_answered,
                (extract(epoch from latency) * 1000)::float8 as ms
            from risk_calls where requested_at >= $1 and requested_at < $2 {COUNTS}"
    );
    let query = sqlx::query_as(AssertSqlSafe(query)).bind(period.from).bind(period.to);
    Ok(Calls { counts: store.fetch(query).await? })
}

impl Report for Calls {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if self.counts.is_empty() {
            return "no API was asked in that time\n".to_owned();
        }
        self.rows().table()
    }
}

impl Tabular for Calls {
    fn rows(&self) -> RowSet {
        let columns = [
            "since",
            "api",
            "calls",
            "assessed",
            "transient",
            "unassessable",
            "access_denied",
            "unknown",
            "answered",
            "provider_codes",
            "p50_ms",
            "p95_ms",
            "p99_ms",
        ];
        RowSet::new(columns, self.counts.iter().map(cells))
    }
}

fn cells(count: &CallCount) -> [Cell; 13] {
    let codes = count.provider_codes.iter();
    let codes: Vec<String> =
        codes.map(|each| format!("{} ({})", each.provider_code, each.calls)).collect();
    let ms = |value: f64| Cell::shown(value, format!("{value:.1}"));
    [
        Cell::time(count.since),
        Cell::of(&count.api),
        Cell::of(count.calls),
        Cell::of(count.assessed),
        Cell::of(count.transient),
        Cell::of(count.unassessable),
        Cell::of(count.access_denied),
        Cell::of(count.unknown),
        Cell::of(count.answered),
        Cell::shown(json(&count.provider_codes.0), codes.join("; ")),
        ms(count.p50_ms),
        ms(count.p95_ms),
        ms(count.p99_ms),
    ]
}
