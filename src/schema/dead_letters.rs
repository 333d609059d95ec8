//! `dead_letters`: events that led to no decision.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::claim_events::exact_headers;
use super::digest::RowDigest;
use super::json::{FlatSource, HeaderList, bytes_as_json};
use super::table::{NewRow, table};
use super::values::{Micros, Text, TraceId, micros};
use crate::claim::{DeadLetterReason, EventError};
use crate::decision::Source;
use crate::intake::Received;
use crate::trace::{TraceContext, parse_trace_id};

/// What identifies a dead letter: `topic/partition/offset@content`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, sqlx::FromRow)]
pub struct LetterId {
    /// The place of its event.
    #[sqlx(flatten)]
    #[serde(flatten, serialize_with = "FlatSource::serialize")]
    pub source: Source,
    /// [`Received::content`].
    pub content: String,
}

impl LetterId {
    /// An id that sorts before every other one.
    pub fn first() -> Self {
        let source = Source { topic: String::new(), partition: i32::MIN, offset: i64::MIN };
        Self { source, content: String::new() }
    }
}

/// The columns of [`LetterId`], the key of the table.
pub const LETTER_KEY: &str = "source_topic, source_partition, source_offset, content";

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.source, self.content)
    }
}

/// An event that is no claim, before it is written into `dead_letters`.
#[derive(Debug, Clone)]
pub struct NewDeadLetter<'a> {
    /// The event.
    pub received: &'a Received,
    /// [`Received::content`]: with the place it identifies the row.
    pub content: String,
    /// Its payload as it is stored: perhaps encrypted.
    pub payload: Option<Cow<'a, [u8]>>,
    /// What is wrong with it.
    pub reason: &'a DeadLetterReason,
}

impl<'a> NewDeadLetter<'a> {
    /// The dead letter of this event.
    pub fn new(received: &'a Received, reason: &'a DeadLetterReason) -> Self {
        let payload = received.payload.as_deref().map(Cow::Borrowed);
        Self { received, content: received.content(), payload, reason }
    }
}

table! {
    /// Events that led to no decision.
    DEAD_LETTERS: "dead_letters", row: &'a NewDeadLetter<'a> {
        source_topic: "text" = Text(&row.received.source.topic),
        source_partition: "int" = row.received.source.partition,
        source_offset: "bigint" = row.received.source.offset,
        error: "text" = row.reason.error.as_str(),
        error_field: "text" = row.reason.field.as_deref().map(Text),
        detail: "text" = Text(&row.reason.detail),
        key: "bytea" = row.received.key.as_deref(),
        payload: "bytea" = row.payload.as_deref(),
        headers: "jsonb" = Json(HeaderList(&row.received.headers)),
        received_at: "timestamptz" = Micros(row.received.received_at),
        trace_id: "text" = TraceId(row.received.trace.trace_id),
        content: "text" = row.content.as_str(),
    }
}

/// A row of `dead_letters`, for auditors and operators.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct DeadLetterRow {
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub id: LetterId,
    pub error: String,
    pub error_field: Option<String>,
    pub detail: String,
    #[serde(serialize_with = "bytes_as_json")]
    pub key: Option<Vec<u8>>,
    #[serde(serialize_with = "bytes_as_json")]
    pub payload: Option<Vec<u8>>,
    pub headers: Value,
    #[sqlx(try_from = "Micros")]
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub trace_id: String,
}

impl DeadLetterRow {
    /// [`NewRow::digest`] of the row as it was sent; `None` if that cannot be computed any more.
    pub fn digest(&self) -> Option<RowDigest> {
        let received = Received {
            source: self.id.source.clone(),
            key: self.key.clone(),
            headers: exact_headers(&self.headers)?,
            payload: None,
            received_at: micros(self.received_at),
            trace: TraceContext {
                trace_id: parse_trace_id(&self.trace_id)?,
                ..TraceContext::fresh(0)
            },
        };
        let error = EventError::from_word(&self.error)?;
        let (field, detail) = (self.error_field.clone(), self.detail.clone());
        let reason = DeadLetterReason { error, field, detail };
        let content = self.id.content.clone();
        let payload = self.payload.as_deref().map(Cow::Borrowed);
        (&NewDeadLetter { received: &received, content, payload, reason: &reason }).digest().ok()
    }
}
