//! `claim_events`: the event behind each verdict.

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::json::{FlatSource, HeaderList, bytes_as_json};
use super::table::table;
use super::values::{Micros, Text, TraceId};
use crate::decision::Source;
use crate::intake::Received;

/// The event of a claim, on its way into `claim_events`.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// The claim that it carries.
    pub claim_id: &'a str,
    /// The event.
    pub received: &'a Received,
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
        payload: "bytea" = row.received.payload.as_deref(),
        received_at: "timestamptz" = Micros(row.received.received_at),
        trace_id: "text" = TraceId(row.received.trace.trace_id),
    }
}

/// A row of `claim_events`, as auditors see it.
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
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub trace_id: String,
}
