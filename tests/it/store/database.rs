//! A database for one test: made for it, migrated, dropped afterwards.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::{Decision, ShadowRuling, Source};
use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Call, Closed, Received, Recording, Store, StoreError};
use claimgate::schema::{
    CLAIM_EVENTS, DEAD_LETTERS, DeadLetterRow, EventRow, RISK_CALLS, Verdict, headers_from_json,
};
use claimgate::testing::DeadLetter;
use claimgate::trace::TraceContext;
use futures::FutureExt;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Inspect;

/// Where PostgreSQL is.
const URL: &str = "CLAIMGATE_TEST_POSTGRES_URL";

/// The order in which the suite looks at events.
const BY_SOURCE: &str = "order by source_topic, source_partition, source_offset";

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
        assert_ne!(database.store().await.store.migrate().await.expect("the migrations"), 0);
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

    /// Deletes what retention would delete one day.
    pub(crate) async fn expire(&self, sql: &str) {
        self.execute(format!("begin; set local claimgate.removal = 'retention'; {sql}; commit"))
            .await;
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
    async fn record(&self, batch: &Closed) -> Result<Recording, StoreError> {
        self.store.record(batch).await
    }
}

impl Inspect for RealStore {
    async fn all_calls(&self) -> Vec<Call> {
        let calls = sqlx::query_as(RISK_CALLS.select("order by id"));
        calls.fetch_all(&self.pool).await.expect("risk_calls")
    }

    async fn all_events(&self) -> Vec<Received> {
        let rows = sqlx::query_as(CLAIM_EVENTS.select(BY_SOURCE)).fetch_all(&self.pool);
        let rows: Vec<EventRow> = rows.await.expect("claim_events");
        let received = |row: EventRow| {
            let EventRow { source, key, headers, payload, received_at, trace_id, .. } = row;
            received(source, key, headers, payload, received_at, &trace_id)
        };
        rows.into_iter().map(received).collect()
    }

    async fn all_shadows(&self) -> BTreeMap<String, ShadowRuling> {
        self.store.finish().await;
        let rows = "select claim_id, shadow_version, shadow_decision from shadow_decisions";
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(rows).fetch_all(&self.pool).await.expect("shadow_decisions");
        let shadow = |(claim_id, version, decision): (String, String, String)| {
            let decision = Decision::from_word(&decision).expect("a decision");
            (claim_id, ShadowRuling { version, decision })
        };
        rows.into_iter().map(shadow).collect()
    }

    async fn all_dead_letters(&self) -> Vec<DeadLetter> {
        let rows = sqlx::query_as(DEAD_LETTERS.select(BY_SOURCE)).fetch_all(&self.pool);
        let rows: Vec<DeadLetterRow> = rows.await.expect("dead_letters");
        let letter = |row: DeadLetterRow| {
            let DeadLetterRow { id, key, headers, payload, received_at, trace_id, .. } = row;
            let error = EventError::from_word(&row.error).expect("a word of the list");
            DeadLetter {
                received: received(id.source, key, headers, payload, received_at, &trace_id),
                reason: DeadLetterReason { error, field: row.error_field, detail: row.detail },
            }
        };
        rows.into_iter().map(letter).collect()
    }
}

fn received(
    source: Source,
    key: Option<Vec<u8>>,
    headers: Value,
    payload: Option<Vec<u8>>,
    received_at: OffsetDateTime,
    trace_id: &str,
) -> Received {
    // The span id is not kept: the suite's events have the one that follows from their offset.
    let trace = TraceContext::fresh(u128::from(source.offset.unsigned_abs()) << 7);
    assert_eq!(trace.trace_id(), trace_id);
    let headers = headers_from_json(headers).expect("headers");
    Received { source, key, headers, payload, received_at: micros(received_at), trace }
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).expect("a time of this age")
}
