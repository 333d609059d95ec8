//! One statement per table, for any number of rows.
//!
//! Every insert takes its rows from `unnest` of one array a column and does nothing where the row
//! is there already, so that a batch whose commit went unanswered can simply be written again.
//! Knows no transaction and decides nothing.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;
use sqlx::types::Json;

use super::encode::{HeaderList, IntegerList, Micros, ReasonList, Text, TraceId, interval};
use crate::claim::DeadLetterReason;
use crate::decision::{Decision, Reason, Source, Verdict};
use crate::outbox::{Call, Received};
use crate::risk::FaultReason;

/// A claim that was decided, on its way into `verdicts` and `claim_events`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) verdict: &'a Verdict,
    pub(super) received: &'a Received,
}

/// An event that is no claim, on its way into `dead_letters`.
#[derive(Debug, Clone)]
pub(super) struct Dead<'a> {
    pub(super) received: &'a Received,
    /// [`Received::content`]: with the place it identifies the row.
    pub(super) content: String,
    pub(super) malformed: &'a DeadLetterReason,
}

impl<'a> Dead<'a> {
    pub(super) fn new(received: &'a Received, malformed: &'a DeadLetterReason) -> Self {
        Self { received, content: received.content(), malformed }
    }
}

/// Writes the verdicts of claims that have none and returns the ids of those that had one. `rows`
/// are sorted by claim id, each id once: two workers with the same claims then take their locks in
/// the same order.
pub(super) async fn insert_verdicts(
    connection: &mut PgConnection,
    rows: &[Decided<'_>],
) -> sqlx::Result<Vec<String>> {
    let verdicts = || rows.iter().map(|row| row.verdict);
    sqlx::query_scalar(
        "with given as (
            select * from unnest(
                $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::text[], $8::jsonb[], $9::bigint[],
                $10::text[], $11::int[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::text[], $16::int[], $17::bigint[],
                $18::text[], $19::text[], $20::bytea[]
            ) as given (
                claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code,
                policy_version, attempts, challenge, claimed_at, decided_at, source_topic, source_partition, source_offset,
                trace_id, subject, fingerprint
            )
        ), inserted as (
            insert into verdicts (
                claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code,
                policy_version, attempts, challenge, claimed_at, decided_at, source_topic, source_partition, source_offset,
                trace_id, subject, fingerprint
            )
            select
                claim_id, kind, api, api_schema, decision, level, risk_types::int[], reasons, provider_code,
                policy_version, attempts, challenge, claimed_at, decided_at, source_topic, source_partition, source_offset,
                trace_id, subject, fingerprint
            from given
            on conflict (claim_id) do nothing
            returning claim_id
        )
        select claim_id from given where claim_id not in (select claim_id from inserted)",
    )
    .bind(verdicts().map(|verdict| Text(&verdict.claim_id)).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.kind)).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.api)).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.api_schema)).bind_iter())
    .bind(verdicts().map(|verdict| verdict.decision.as_str()).bind_iter())
    .bind(verdicts().map(|verdict| verdict.level.map(i16::from)).bind_iter())
    .bind(verdicts().map(|verdict| IntegerList(&verdict.risk_types)).bind_iter())
    .bind(verdicts().map(|verdict| Json(ReasonList(&verdict.reasons))).bind_iter())
    .bind(verdicts().map(|verdict| verdict.provider_code).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.policy_version)).bind_iter())
    .bind(verdicts().map(|verdict| integer(verdict.attempts)).bind_iter())
    .bind(verdicts().map(|verdict| verdict.challenge.as_deref().map(Text)).bind_iter())
    .bind(verdicts().map(|verdict| Micros(verdict.claimed_at.saturating_mul(1_000_000))).bind_iter())
    .bind(verdicts().map(|verdict| Micros(verdict.decided_at)).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.source.topic)).bind_iter())
    .bind(verdicts().map(|verdict| verdict.source.partition).bind_iter())
    .bind(verdicts().map(|verdict| verdict.source.offset).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.trace_id)).bind_iter())
    .bind(verdicts().map(|verdict| Text(&verdict.subject)).bind_iter())
    .bind(verdicts().map(|verdict| verdict.fingerprint.as_slice()).bind_iter())
    .fetch_all(connection)
    .await
}

/// Keeps the events behind verdicts.
pub(super) async fn insert_events(
    connection: &mut PgConnection,
    rows: &[Decided<'_>],
) -> sqlx::Result<()> {
    let events = || rows.iter().map(|row| row.received);
    sqlx::query(
        "insert into claim_events
            (source_topic, source_partition, source_offset, claim_id, key, headers, payload, received_at, trace_id)
        select * from unnest(
            $1::text[], $2::int[], $3::bigint[], $4::text[], $5::bytea[], $6::jsonb[], $7::bytea[], $8::timestamptz[], $9::text[]
        )
        on conflict do nothing",
    )
    .bind(events().map(|event| Text(&event.source.topic)).bind_iter())
    .bind(events().map(|event| event.source.partition).bind_iter())
    .bind(events().map(|event| event.source.offset).bind_iter())
    .bind(rows.iter().map(|row| Text(&row.verdict.claim_id)).bind_iter())
    .bind(events().map(|event| event.key.as_deref()).bind_iter())
    .bind(events().map(|event| Json(HeaderList(&event.headers))).bind_iter())
    .bind(events().map(|event| event.payload.as_deref()).bind_iter())
    .bind(events().map(|event| Micros(event.received_at)).bind_iter())
    .bind(events().map(|event| TraceId(event.trace.trace_id)).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps attempts at a risk API.
pub(super) async fn insert_calls(
    connection: &mut PgConnection,
    calls: &[Call],
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into risk_calls (
            id, claim_id, attempt, api, requested_at, latency, http_status, provider_code, outcome, reason, request, response, trace_id,
            cause
        )
        select * from unnest(
            $1::uuid[], $2::text[], $3::int[], $4::text[], $5::timestamptz[], $6::interval[], $7::int[], $8::bigint[], $9::text[],
            $10::text[], $11::text[], $12::bytea[], $13::text[], $14::text[]
        )
        on conflict do nothing",
    )
    .bind(calls.iter().map(|call| call.id).bind_iter())
    .bind(calls.iter().map(|call| Text(&call.claim_id)).bind_iter())
    .bind(calls.iter().map(|call| integer(call.attempt)).bind_iter())
    .bind(calls.iter().map(|call| call.api).bind_iter())
    .bind(calls.iter().map(|call| Micros(call.requested_at)).bind_iter())
    .bind(calls.iter().map(|call| interval(call.latency)).bind_iter())
    .bind(calls.iter().map(|call| call.http_status.map(i32::from)).bind_iter())
    .bind(calls.iter().map(|call| call.provider_code).bind_iter())
    .bind(calls.iter().map(|call| call.outcome.as_str()).bind_iter())
    .bind(calls.iter().map(|call| call.reason.map_or("", FaultReason::as_str)).bind_iter())
    .bind(calls.iter().map(|call| Text(&call.request)).bind_iter())
    .bind(calls.iter().map(|call| call.response.as_deref()).bind_iter())
    .bind(calls.iter().map(|call| Text(&call.trace_id)).bind_iter())
    .bind(calls.iter().map(|call| call.cause.as_deref().map(Text)).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps events that are no claims. `rows` are sorted by source and content.
pub(super) async fn insert_dead_letters(
    connection: &mut PgConnection,
    rows: &[Dead<'_>],
) -> sqlx::Result<()> {
    let events = || rows.iter().map(|row| row.received);
    sqlx::query(
        "insert into dead_letters (
            source_topic, source_partition, source_offset, error, error_field, detail, key, payload, headers, received_at, trace_id,
            content
        )
        select * from unnest(
            $1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::jsonb[],
            $10::timestamptz[], $11::text[], $12::text[]
        )
        on conflict do nothing",
    )
    .bind(events().map(|event| Text(&event.source.topic)).bind_iter())
    .bind(events().map(|event| event.source.partition).bind_iter())
    .bind(events().map(|event| event.source.offset).bind_iter())
    .bind(rows.iter().map(|row| row.malformed.error.as_str()).bind_iter())
    .bind(rows.iter().map(|row| row.malformed.field.as_deref().map(Text)).bind_iter())
    .bind(rows.iter().map(|row| Text(&row.malformed.detail)).bind_iter())
    .bind(events().map(|event| event.key.as_deref()).bind_iter())
    .bind(events().map(|event| event.payload.as_deref()).bind_iter())
    .bind(events().map(|event| Json(HeaderList(&event.headers))).bind_iter())
    .bind(events().map(|event| Micros(event.received_at)).bind_iter())
    .bind(events().map(|event| TraceId(event.trace.trace_id)).bind_iter())
    .bind(rows.iter().map(|row| row.content.as_str()).bind_iter())
    .execute(connection)
    .await?;
    Ok(())
}

/// The verdicts of these claims, by claim id.
pub(super) async fn select_verdicts(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<HashMap<String, Verdict>> {
    let rows: Vec<VerdictRow> = sqlx::query_as(
        "select
            claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code, policy_version, attempts, challenge,
            claimed_at, decided_at, source_topic, source_partition, source_offset, trace_id, subject, fingerprint
        from verdicts where claim_id = any($1)",
    )
    .bind(claim_ids)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((row.claim_id.clone(), row.into_verdict()?))).collect()
}

/// The payloads of the events behind these claims' verdicts, by claim id, as far as they are kept.
pub(super) async fn select_first_events(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "select claim_id, payload
        from claim_events join verdicts using (claim_id, source_topic, source_partition, source_offset)
        where claim_id = any($1) and payload is not null",
    )
    .bind(claim_ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}

#[derive(sqlx::FromRow)]
struct VerdictRow {
    claim_id: String,
    kind: String,
    api: String,
    api_schema: String,
    decision: String,
    level: Option<i16>,
    risk_types: Vec<i32>,
    reasons: Json<Vec<Reason>>,
    provider_code: Option<i64>,
    policy_version: String,
    attempts: i32,
    challenge: Option<String>,
    claimed_at: Micros,
    decided_at: Micros,
    source_topic: String,
    source_partition: i32,
    source_offset: i64,
    trace_id: String,
    subject: String,
    fingerprint: Vec<u8>,
}

impl VerdictRow {
    fn into_verdict(self) -> sqlx::Result<Verdict> {
        let unreadable = |column: &str| {
            sqlx::Error::Decode(format!("verdicts.{column} of claim {:?}", self.claim_id).into())
        };
        Ok(Verdict {
            decision: Decision::from_word(&self.decision).ok_or_else(|| unreadable("decision"))?,
            level: self.level.map(u8::try_from).transpose().map_err(|_| unreadable("level"))?,
            attempts: u32::try_from(self.attempts).map_err(|_| unreadable("attempts"))?,
            fingerprint: self
                .fingerprint
                .as_slice()
                .try_into()
                .map_err(|_| unreadable("fingerprint"))?,
            claim_id: self.claim_id,
            kind: self.kind,
            api: self.api,
            api_schema: self.api_schema,
            reasons: self.reasons.0,
            risk_types: self.risk_types,
            provider_code: self.provider_code,
            policy_version: self.policy_version,
            challenge: self.challenge,
            claimed_at: self.claimed_at.0.div_euclid(1_000_000),
            decided_at: self.decided_at.0,
            source: Source {
                topic: self.source_topic,
                partition: self.source_partition,
                offset: self.source_offset,
            },
            trace_id: self.trace_id,
            subject: self.subject,
        })
    }
}

/// A counter as PostgreSQL's `int`, which has no unsigned kin.
fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
