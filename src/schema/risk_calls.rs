//! `risk_calls`: every attempt at a risk API.

use std::borrow::Cow;

use serde::Serialize;
use uuid::Uuid;

use super::json::{bytes_as_json, micros_as_json, milliseconds_as_json};
use super::table::table;
use super::values::{Interval, Micros, Text, integer};

/// A word of a bounded list: borrowed in the worker, owned after a query.
pub type Word = Cow<'static, str>;

/// One attempt at a risk API: a row of `risk_calls`. Auditors get it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Call {
    /// The row's own id, time-ordered: attempt numbers can repeat after a crash.
    pub id: Uuid,
    /// The claim it was made for.
    #[serde(skip)]
    pub claim_id: String,
    /// 1 for the first attempt since the worker took the claim on.
    #[sqlx(try_from = "i32")]
    pub attempt: u32,
    /// The API's name.
    pub api: Word,
    /// When it was sent, UNIX microseconds.
    #[sqlx(try_from = "Micros")]
    #[serde(serialize_with = "micros_as_json")]
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    #[sqlx(try_from = "Interval")]
    #[serde(rename = "latency_ms", serialize_with = "milliseconds_as_json")]
    pub latency: i64,
    /// The HTTP status, if an answer came.
    pub http_status: Option<i32>,
    /// The API's return code, if it could be read.
    pub provider_code: Option<i64>,
    /// `assessed`, `transient`, `unassessable`, `access_denied` or `unknown` (sent, and no answer
    /// came).
    pub outcome: Word,
    /// Why, in a bounded word; empty for a verdict.
    pub reason: Word,
    /// The request, secrets removed.
    pub request: String,
    /// The exact bytes of the answer; `None` if none came.
    #[serde(serialize_with = "bytes_as_json")]
    pub response: Option<Vec<u8>>,
    /// The trace in which it was made, 32 hex digits.
    pub trace_id: String,
    /// Why no usable answer came, as a sentence.
    #[serde(skip)]
    pub cause: Option<String>,
}

table! {
    /// Every attempt at a risk API.
    RISK_CALLS: "risk_calls", row: &'a Call {
        id: "uuid" = row.id,
        claim_id: "text" = Text(&row.claim_id),
        attempt: "int" = integer(row.attempt),
        api: "text" = row.api.as_ref(),
        requested_at: "timestamptz" = Micros(row.requested_at),
        latency: "interval" = Interval(row.latency),
        http_status: "int" = row.http_status,
        provider_code: "bigint" = row.provider_code,
        outcome: "text" = row.outcome.as_ref(),
        reason: "text" = row.reason.as_ref(),
        request: "text" = Text(&row.request),
        response: "bytea" = row.response.as_deref(),
        trace_id: "text" = Text(&row.trace_id),
        cause: "text" = row.cause.as_deref().map(Text),
    }
}

impl Call {
    /// The size of its request and its answer in bytes.
    pub fn bytes(&self) -> usize {
        self.request.len() + self.response.as_ref().map_or(0, Vec::len)
    }

    /// An attempt as every claim could have it; see [`super::Verdict::ordinary`].
    pub fn ordinary(claim_id: &str) -> Self {
        Self {
            id: Uuid::nil(),
            claim_id: claim_id.to_owned(),
            attempt: 1,
            api: "intelligent_qr_code".into(),
            requested_at: 1_632_994_480_500_000,
            latency: 1,
            http_status: Some(200),
            provider_code: Some(0),
            outcome: "assessed".into(),
            reason: "".into(),
            request: "GET /".to_owned(),
            response: Some(b"{}".to_vec()),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            cause: None,
        }
    }
}
