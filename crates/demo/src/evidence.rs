//! What there is to judge by when all is done: what was sent, what the tables say, what a consumer
//! saw, what the simulator was asked.
//!
//! Reads the tables with SQL of its own: an auditor does not use the code of the worker that he
//! audits.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;

use super::observer::Messages;
use super::traffic::Sent;
use claimgate_simulator::Call;

/// How long PostgreSQL may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) sent: Vec<Sent>,
    pub(super) tables: Tables,
    pub(super) messages: Messages,
    /// The simulator's log.
    pub(super) asked: Vec<Call>,
    /// Flushes that Kafka did not take: each may have left messages behind that were sent again.
    pub(super) aborts: usize,
}

/// What Postgres says.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) verdicts: Vec<VerdictRow>,
    pub(super) events: Vec<EventRow>,
    pub(super) dead_letters: Vec<DeadLetterRow>,
    pub(super) calls: Vec<CallRow>,
}

/// A row of `verdicts`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct VerdictRow {
    pub(super) claim_id: String,
    pub(super) kind: String,
    pub(super) decision: String,
    pub(super) reasons: Value,
    pub(super) api: String,
    pub(super) api_schema: String,
    pub(super) level: Option<i16>,
    pub(super) risk_types: Vec<i32>,
    pub(super) provider_code: Option<i64>,
    pub(super) policy_version: String,
    pub(super) attempts: i32,
    pub(super) challenge: Option<String>,
    pub(super) claimed_at: OffsetDateTime,
    pub(super) decided_at: OffsetDateTime,
    pub(super) source_topic: String,
    pub(super) source_partition: i32,
    pub(super) source_offset: i64,
    pub(super) trace_id: String,
}

/// A row of `claim_events`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) claim_id: String,
    pub(super) source_partition: i32,
    pub(super) source_offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
}

/// A row of `dead_letters`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct DeadLetterRow {
    pub(super) source_partition: i32,
    pub(super) source_offset: i64,
    pub(super) error: String,
    pub(super) error_field: Option<String>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
}

/// A row of `risk_calls`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct CallRow {
    pub(super) claim_id: String,
    pub(super) attempt: i32,
    pub(super) api: String,
    pub(super) requested_at: OffsetDateTime,
    pub(super) http_status: Option<i32>,
    pub(super) outcome: String,
    pub(super) request: String,
}

impl Tables {
    /// Reads them whole.
    pub(super) async fn read(url: &str) -> Result<Self, String> {
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).connect(url);
        let pool = pool.await.map_err(|error| format!("the demo cannot reach {url}: {error}"))?;
        let tables = Self::fetch(&pool).await;
        pool.close().await;
        tables.map_err(|error| format!("the demo cannot read what the worker wrote: {error}"))
    }

    async fn fetch(pool: &PgPool) -> sqlx::Result<Self> {
        let verdicts = sqlx::query_as(
            "select claim_id, kind, decision, reasons, api, api_schema, level, risk_types, provider_code, policy_version, attempts,
                challenge, claimed_at, decided_at, source_topic, source_partition, source_offset, trace_id
            from verdicts order by claim_id",
        );
        let events = sqlx::query_as(
            "select claim_id, source_partition, source_offset, key, payload from claim_events
            order by source_partition, source_offset",
        );
        let dead_letters = sqlx::query_as(
            "select source_partition, source_offset, error, error_field, key, payload from dead_letters
            order by source_partition, source_offset",
        );
        let calls = sqlx::query_as(
            "select claim_id, attempt, api, requested_at, http_status, outcome, request from risk_calls order by id",
        );
        Ok(Self {
            verdicts: verdicts.fetch_all(pool).await?,
            events: events.fetch_all(pool).await?,
            dead_letters: dead_letters.fetch_all(pool).await?,
            calls: calls.fetch_all(pool).await?,
        })
    }
}
