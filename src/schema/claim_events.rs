//! `claim_events`: the event behind each verdict.

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::digest::RowDigest;
use super::json::{FlatSource, HeaderList, bytes_as_json, headers_from_json};
use super::table::{NewRow, table};
use super::values::{Micros, Text, TraceId, micros};
use crate::claim::EventHashes;
use crate::decision::Source;
use crate::intake::{Headers, Received};
use crate::trace::{TraceContext, parse_trace_id};

/// The event of a claim, before it is written into `claim_events`.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// The claim that it carries.
    pub claim_id: &'a str,
    /// The event.
    pub received: &'a Received,
    /// Its payload as it is stored: without secrets, perhaps encrypted.
    pub payload: Option<&'a [u8]>,
    /// The hashes by which it is found.
    pub hashes: EventHashes,
}

table! {
    /// The event behind each verdict.
    CLAIM_EVENTS: "claim_events", row: NewEvent<'a> {
        source_topic: "text" = Text(&row.received.source.topic),
        source_partition: "int" = row.received.source.partition,
        source_offset: "bigint" = row.received.source.offset,
        claim_id: "text" = Text(row.claim_id),
        key: "bytea" = row.received.key.as_deref(),
        headers: "jsonb" = Json(HeaderList(&row.received.headers)),
        payload: "bytea" = row.payload,
        received_at: "timestamptz" = Micros(row.received.received_at),
        trace_id: "text" = TraceId(row.received.trace.trace_id),
        phone_hash: "bigint" = row.hashes.phone,
        network_hash: "bigint" = row.hashes.network,
        certificate_hash: "bigint" = row.hashes.certificate,
    }
}

/// A row of `claim_events`, for auditors.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct EventRow {
    pub claim_id: String,
    #[sqlx(flatten)]
    #[serde(flatten, serialize_with = "FlatSource::serialize")]
    pub source: Source,
    #[serde(serialize_with = "bytes_as_json")]
    pub key: Option<Vec<u8>>,
    pub headers: Value,
    #[serde(serialize_with = "bytes_as_json")]
    pub payload: Option<Vec<u8>>,
    #[sqlx(try_from = "Micros")]
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub trace_id: String,
    #[sqlx(flatten)]
    #[serde(skip)]
    pub hashes: EventHashes,
}

impl EventRow {
    /// The event in it; `None` if headers or trace cannot be read.
    pub fn received(&self) -> Option<Received> {
        Some(Received {
            source: self.source.clone(),
            key: self.key.clone(),
            headers: exact_headers(&self.headers)?,
            payload: self.payload.clone(),
            received_at: micros(self.received_at),
            trace: TraceContext {
                trace_id: parse_trace_id(&self.trace_id)?,
                ..TraceContext::fresh(0)
            },
        })
    }

    /// [`NewRow::digest`] of the row as it was sent; `None` if that cannot be computed any more.
    pub fn digest(&self) -> Option<RowDigest> {
        let (claim_id, payload) = (self.claim_id.as_str(), self.payload.as_deref());
        let (received, hashes) = (&self.received()?, self.hashes);
        NewEvent { claim_id, received, payload, hashes }.digest().ok()
    }
}

/// Headers from their JSON; `None` unless it is exactly the form that claimgate writes, with
/// nothing added or spelt differently.
pub(super) fn exact_headers(kept: &Value) -> Option<Headers> {
    let headers = headers_from_json(kept.clone())?;
    (serde_json::to_value(HeaderList(&headers)).ok()? == *kept).then_some(headers)
}
