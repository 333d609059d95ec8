//! The output of the raw loop: rows in Postgres, many at once, then decisions in Kafka.

use std::time::Duration;

use claimgate::decision::{Reason, decision_id};
use claimgate::schema;
use futures::future::try_join_all;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Serialize;
use sqlx::PgPool;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use super::Row;
use crate::Outcome;

/// Rows of one statement.
pub(super) const CHUNK: usize = 500;
/// How long a statement waits until it has this many.
const CHUNK_WITHIN: Duration = Duration::from_millis(20);

/// The output.
pub(super) struct Sink {
    pub(super) database: PgPool,
    pub(super) producer: FutureProducer,
    pub(super) output_topic: String,
}

#[derive(Serialize)]
struct Decision<'a> {
    decision_id: Uuid,
    claim_id: &'a str,
    kind: &'a str,
    decision: &'static str,
    reasons: &'a [Reason],
    level: Option<i16>,
    risk_types: &'a [i32],
    provider_code: Option<i64>,
    policy_version: &'a str,
    decided_at: String,
}

impl Sink {
    /// Writes and publishes the claims, chunk by chunk.
    pub(super) async fn run(&self, mut rows: Receiver<Row>) -> Outcome<()> {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            if rows.recv_many(&mut chunk, CHUNK).await == 0 {
                return Ok(());
            }
            let full = async {
                let mut room = CHUNK - chunk.len();
                while room > 0 && rows.recv_many(&mut chunk, room).await > 0 {
                    room = CHUNK - chunk.len();
                }
            };
            // A full chunk, or the rows that came in time.
            tokio::time::timeout(CHUNK_WITHIN, full).await.ok();
            self.insert(&chunk).await?;
            self.publish(&chunk).await?;
        }
    }

    /// The worker's statements, without its transaction.
    async fn insert(&self, rows: &[Row]) -> Outcome<()> {
        let mut connection = self.database.acquire().await?;
        schema::insert(&mut connection, rows.iter().map(|row| &row.verdict)).await?;
        schema::insert(&mut connection, rows.iter().map(|row| &row.call)).await?;
        Ok(())
    }

    async fn publish(&self, rows: &[Row]) -> Outcome<()> {
        let send = async |row: &Row| {
            let verdict = &row.verdict;
            let decision = Decision {
                decision_id: decision_id(&verdict.claim_id),
                claim_id: &verdict.claim_id,
                kind: &verdict.kind,
                decision: verdict.decision.as_str(),
                reasons: &verdict.reasons,
                level: verdict.level,
                risk_types: &verdict.risk_types,
                provider_code: verdict.provider_code,
                policy_version: &verdict.policy_version,
                decided_at: schema::utc(verdict.decided_at).format(&Rfc3339)?,
            };
            let payload = serde_json::to_vec(&decision)?;
            let record = FutureRecord::to(&self.output_topic).key(&row.key).payload(&payload);
            self.producer
                .send(record, Duration::from_secs(10))
                .await
                .map_err(|(error, _)| error)?;
            Outcome::Ok(())
        };
        try_join_all(rows.iter().map(send)).await?;
        Ok(())
    }
}
