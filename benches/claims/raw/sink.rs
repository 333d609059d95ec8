//! Where the raw loop's claims end: rows in Postgres, many at once, then decisions in Kafka.

use std::time::Duration;

use claimgate::decision::{Reason, decision_id};
use futures::future::try_join_all;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use super::Row;
use crate::Outcome;

/// Rows of one statement.
pub(super) const CHUNK: usize = 500;
/// How long a statement waits until it has so many.
const CHUNK_WITHIN: Duration = Duration::from_millis(20);

/// The way out.
pub(super) struct Sink {
    pub(super) database: PgPool,
    pub(super) producer: FutureProducer,
    pub(super) input_topic: String,
    pub(super) output_topic: String,
    pub(super) policy_version: String,
}

#[derive(Serialize)]
struct Decision<'a> {
    decision_id: Uuid,
    claim_id: &'a str,
    kind: &'a str,
    decision: &'static str,
    reasons: &'a [Reason],
    level: u8,
    risk_types: &'a [i32],
    provider_code: i64,
    policy_version: &'a str,
    decided_at: String,
}

impl Sink {
    /// Writes and publishes what comes, chunk by chunk.
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
            // Full, or as full as it got.
            tokio::time::timeout(CHUNK_WITHIN, full).await.ok();
            let decided_at = OffsetDateTime::now_utc();
            self.insert_verdicts(&chunk, decided_at).await?;
            self.insert_calls(&chunk).await?;
            self.publish(&chunk, decided_at).await?;
        }
    }

    async fn insert_verdicts(&self, rows: &[Row], decided_at: OffsetDateTime) -> Outcome<()> {
        sqlx::query(
            "insert into verdicts (
                claim_id, level, risk_types, reasons, provider_code, decision, claimed_at, source_partition, source_offset, subject,
                kind, api, api_schema, policy_version, attempts, decided_at, source_topic, trace_id, fingerprint
            )
            select given.*, 'qr_code', 'intelligent_qr_code', '2021', $11, 1, $12, $13, '', sha256('')
            from (
                select claim_id, level, risk_types::int[], reasons, provider_code, decision, to_timestamp(claimed_at), partition, record, subject
                from unnest(
                    $1::text[], $2::smallint[], $3::text[], $4::jsonb[], $5::bigint[], $6::text[], $7::bigint[], $8::int[], $9::bigint[],
                    $10::text[]
                ) as row (claim_id, level, risk_types, reasons, provider_code, decision, claimed_at, partition, record, subject)
            ) as given",
        )
        .bind(column(rows, |row| row.claim.claim_id.as_str()))
        .bind(column(rows, |row| i16::from(row.level)))
        .bind(column(rows, |row| format!("{:?}", row.risk_types).replace('[', "{").replace(']', "}")))
        .bind(column(rows, |row| Json(row.ruling.reasons.as_slice())))
        .bind(column(rows, |row| row.provider_code))
        .bind(column(rows, |row| row.ruling.decision.as_str()))
        .bind(column(rows, |row| row.claim.claimed_at))
        .bind(column(rows, |row| row.partition))
        .bind(column(rows, |row| row.offset))
        .bind(column(rows, |row| row.claim.account.id.as_str()))
        .bind(&self.policy_version)
        .bind(decided_at)
        .bind(&self.input_topic)
        .execute(&self.database)
        .await?;
        Ok(())
    }

    async fn insert_calls(&self, rows: &[Row]) -> Outcome<()> {
        let interval = |latency: Duration| PgInterval {
            months: 0,
            days: 0,
            microseconds: i64::try_from(latency.as_micros()).unwrap_or(i64::MAX),
        };
        sqlx::query(
            "insert into risk_calls (
                id, claim_id, requested_at, latency, http_status, provider_code, request, response, attempt, api, outcome, reason, trace_id
            )
            select given.*, 1, 'intelligent_qr_code', 'assessed', '', ''
            from unnest(
                $1::uuid[], $2::text[], $3::timestamptz[], $4::interval[], $5::int[], $6::bigint[], $7::text[], $8::bytea[]
            ) as given",
        )
        .bind(column(rows, |_| Uuid::now_v7()))
        .bind(column(rows, |row| row.claim.claim_id.as_str()))
        .bind(column(rows, |row| row.requested_at))
        .bind(column(rows, |row| interval(row.latency)))
        .bind(column(rows, |row| i32::from(row.status)))
        .bind(column(rows, |row| row.provider_code))
        .bind(column(rows, |row| row.request.as_str()))
        .bind(column(rows, |row| row.response.as_slice()))
        .execute(&self.database)
        .await?;
        Ok(())
    }

    async fn publish(&self, rows: &[Row], decided_at: OffsetDateTime) -> Outcome<()> {
        let decided_at = decided_at.format(&Rfc3339)?;
        let send = async |row: &Row| {
            let decision = Decision {
                decision_id: decision_id(&row.claim.claim_id),
                claim_id: &row.claim.claim_id,
                kind: &row.claim.kind,
                decision: row.ruling.decision.as_str(),
                reasons: &row.ruling.reasons,
                level: row.level,
                risk_types: &row.risk_types,
                provider_code: row.provider_code,
                policy_version: &self.policy_version,
                decided_at: decided_at.clone(),
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

fn column<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
