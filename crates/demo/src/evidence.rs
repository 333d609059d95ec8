//! The evidence at the end: what was sent, the rows of the tables, the messages that a consumer
//! saw, and the calls of the simulator.
//!
//! The row types are claimgate's own, so that a column is declared once; the checks of their
//! content are not.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::observer::Messages;
use super::traffic::Sent;
use claimgate::schema::{
    CLAIM_EVENTS, Call as CallRow, DEAD_LETTERS, DeadLetterRow, EventRow, RISK_CALLS, VERDICTS,
    Verdict,
};
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
    /// Flushes that Kafka did not accept: each may have left messages behind that were sent again.
    pub(super) aborts: usize,
}

/// The rows of Postgres.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) events: Vec<EventRow>,
    pub(super) dead_letters: Vec<DeadLetterRow>,
    pub(super) calls: Vec<CallRow>,
}

impl Tables {
    /// Reads all rows.
    pub(super) async fn read(url: &str) -> Result<Self, String> {
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).connect(url);
        let pool = pool.await.map_err(|error| format!("the demo cannot reach {url}: {error}"))?;
        let tables = Self::fetch(&pool).await;
        pool.close().await;
        tables.map_err(|error| format!("the demo cannot read what the worker wrote: {error}"))
    }

    async fn fetch(pool: &PgPool) -> sqlx::Result<Self> {
        let by_place = "order by source_partition, source_offset";
        let verdicts = sqlx::query_as(VERDICTS.select("order by claim_id"));
        let events = sqlx::query_as(CLAIM_EVENTS.select(by_place));
        let dead_letters = sqlx::query_as(DEAD_LETTERS.select(by_place));
        let calls = sqlx::query_as(RISK_CALLS.select("order by id"));
        Ok(Self {
            verdicts: verdicts.fetch_all(pool).await?,
            events: events.fetch_all(pool).await?,
            dead_letters: dead_letters.fetch_all(pool).await?,
            calls: calls.fetch_all(pool).await?,
        })
    }
}
