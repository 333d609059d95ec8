//! A database for one test: made for it, migrated, dropped afterwards.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::{Source, Verdict};
use claimgate::intake::Headers;
use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Call, Received, RecordOutcome, Sealed, Store, StoreError};
use claimgate::risk::{AttemptOutcome, FaultReason};
use claimgate::testing::DeadLetter;
use claimgate::trace::TraceContext;
use futures::FutureExt;
use serde::Deserialize;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Inspect;

/// Where PostgreSQL is.
const URL: &str = "CLAIMGATE_TEST_POSTGRES_URL";

/// A migrated database.
pub(crate) struct TestDatabase {
    /// Its URL.
    pub(crate) url: String,
    /// A pool on it, of the test's own.
    pub(crate) pool: PgPool,
}

/// Runs a test on a migrated database of its own, and drops that whatever comes of the test. Says
/// so where there is no PostgreSQL.
pub(crate) async fn with_database(test: impl AsyncFnOnce(&TestDatabase)) {
    let migrated = async |database: &TestDatabase| {
        assert_eq!(database.store().await.store.migrate().await.expect("the migrations"), 6);
        test(database).await;
    };
    with_empty_database(migrated).await;
}

/// Runs a test on a database of its own with nothing in it.
pub(crate) async fn with_empty_database(test: impl AsyncFnOnce(&TestDatabase)) {
    let Ok(server) = std::env::var(URL) else {
        println!("NOT TESTED: {URL} is unset");
        return;
    };
    let options: PgConnectOptions = server.parse().expect("a URL of PostgreSQL");
    let name = format!("claimgate_test_{}", Uuid::new_v4().simple());
    administer(&options, format!("create database {name} encoding 'UTF8' template template0"))
        .await;
    let url = options.clone().database(&name).to_url_lossy().to_string();
    let pool =
        PgPoolOptions::new().max_connections(2).connect(&url).await.expect("the new database");
    let database = TestDatabase { url, pool };
    let result = AssertUnwindSafe(test(&database)).catch_unwind().await;
    database.pool.close().await;
    administer(&options, format!("drop database {name} with (force)")).await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn administer(options: &PgConnectOptions, sql: String) {
    let mut connection = options.connect().await.expect("PostgreSQL answers");
    execute(&mut connection, sql).await;
    connection.close().await.expect("closed");
}

/// Executes SQL of the test's own making.
pub(crate) async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.expect("the test's SQL");
}

impl TestDatabase {
    /// Executes SQL of the test's own making.
    pub(crate) async fn execute(&self, sql: impl Into<String>) {
        execute(&mut self.pool.acquire().await.expect("a connection"), sql).await;
    }

    /// A number from the database.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("a number")
    }

    /// A store over it.
    pub(crate) async fn store(&self) -> RealStore {
        self.store_with(Settings::at(self.url.clone())).await
    }

    /// A store over it, with settings of the test's own.
    pub(crate) async fn store_with(&self, settings: Settings) -> RealStore {
        let store = PostgresStore::connect(&settings).await.expect("the new database");
        RealStore { store, pool: self.pool.clone() }
    }
}

/// The store over PostgreSQL, and a way to look behind it.
#[derive(Clone)]
pub(crate) struct RealStore {
    pub(crate) store: PostgresStore,
    pool: PgPool,
}

impl Store for RealStore {
    async fn recall(&self, claim_ids: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
        self.store.recall(claim_ids).await
    }
    async fn record(&self, batch: &Sealed) -> Result<Vec<(usize, RecordOutcome)>, StoreError> {
        self.store.record(batch).await
    }
}

#[derive(sqlx::FromRow)]
struct CallRow {
    id: Uuid,
    claim_id: String,
    attempt: i32,
    api: String,
    requested_at: OffsetDateTime,
    latency: PgInterval,
    http_status: Option<i32>,
    provider_code: Option<i64>,
    outcome: String,
    reason: String,
    request: String,
    response: Option<Vec<u8>>,
    trace_id: String,
    cause: Option<String>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    source_topic: String,
    source_partition: i32,
    source_offset: i64,
    key: Option<Vec<u8>>,
    headers: Json<Vec<HeaderRow>>,
    payload: Option<Vec<u8>>,
    received_at: OffsetDateTime,
    trace_id: String,
    error: String,
    error_field: Option<String>,
    detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRow {
    name: String,
    text: Option<String>,
    base64: Option<String>,
}

impl Inspect for RealStore {
    async fn all_calls(&self) -> Vec<Call> {
        let rows: Vec<CallRow> = sqlx::query_as(
            "select id, claim_id, attempt, api, requested_at, latency, http_status, provider_code, outcome, reason, request, response,
                trace_id, cause
            from risk_calls order by id",
        )
        .fetch_all(&self.pool)
        .await
        .expect("risk_calls");
        rows.into_iter().map(CallRow::into_call).collect()
    }

    async fn all_events(&self) -> Vec<Received> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "select source_topic, source_partition, source_offset, key, headers, payload, received_at, trace_id,
                '' as error, null as error_field, '' as detail
            from claim_events order by source_topic, source_partition, source_offset",
        )
        .fetch_all(&self.pool)
        .await
        .expect("claim_events");
        rows.into_iter().map(|row| row.into_letter().received).collect()
    }

    async fn all_dead_letters(&self) -> Vec<DeadLetter> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "select source_topic, source_partition, source_offset, key, headers, payload, received_at, trace_id, error, error_field,
                detail
            from dead_letters order by source_topic, source_partition, source_offset",
        )
        .fetch_all(&self.pool)
        .await
        .expect("dead_letters");
        rows.into_iter().map(EventRow::into_letter).collect()
    }
}

impl CallRow {
    fn into_call(self) -> Call {
        assert_eq!((self.latency.months, self.latency.days), (0, 0));
        Call {
            id: self.id,
            claim_id: self.claim_id,
            attempt: self.attempt.try_into().expect("a count"),
            api: self.api.leak(),
            requested_at: micros(self.requested_at),
            latency: self.latency.microseconds,
            http_status: self.http_status.map(|status| status.try_into().expect("a status")),
            provider_code: self.provider_code,
            outcome: AttemptOutcome::from_word(&self.outcome).expect("an outcome"),
            reason: FaultReason::from_word(&self.reason),
            cause: self.cause,
            request: self.request,
            response: self.response,
            trace_id: self.trace_id,
        }
    }
}

impl EventRow {
    fn into_letter(self) -> DeadLetter {
        let source = Source {
            topic: self.source_topic,
            partition: self.source_partition,
            offset: self.source_offset,
        };
        // The span id is not kept: the suite's events have the one that follows from their offset.
        let trace = TraceContext::fresh(u128::from(source.offset.unsigned_abs()) << 7);
        assert_eq!(trace.trace_id(), self.trace_id);
        let received = Received {
            source,
            key: self.key,
            headers: headers(self.headers.0),
            payload: self.payload,
            received_at: micros(self.received_at),
            trace,
        };
        let malformed = DeadLetterReason {
            error: EventError::from_word(&self.error).expect("an error"),
            field: self.error_field,
            detail: self.detail,
        };
        DeadLetter { received, malformed }
    }
}

fn headers(rows: Vec<HeaderRow>) -> Headers {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let value = |row: &HeaderRow| match (&row.text, &row.base64) {
        (Some(text), None) => Some(text.clone().into_bytes()),
        (None, Some(base64)) => Some(BASE64_STANDARD.decode(base64).expect("base64")),
        (None, None) => None,
        (Some(_), Some(_)) => panic!("a header has one value"),
    };
    rows.into_iter().map(|row| (row.name.clone(), value(&row))).collect()
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).expect("a time of this age")
}
