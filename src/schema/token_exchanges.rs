//! `token_exchanges`: every request for an access token.

use uuid::Uuid;

use super::table::table;
use super::values::{Interval, Micros, Text};

/// One request for an access token: a row of `token_exchanges`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenExchange {
    /// The row's own id, time-ordered.
    pub id: Uuid,
    /// When it was sent, UNIX microseconds.
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    pub latency: i64,
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The provider's code, if it could be read.
    pub provider_code: Option<i64>,
    /// `fetched` or `failed`.
    pub outcome: &'static str,
    /// Why, in a bounded word; empty if a token was fetched.
    pub reason: &'static str,
    /// Why no usable answer came, as a sentence.
    pub cause: Option<String>,
    /// The request without the secret.
    pub request: String,
    /// The first bytes of the answer without the token; `None` if none came.
    pub response: Option<Vec<u8>>,
}

table! {
    /// Every request for an access token.
    TOKEN_EXCHANGES: "token_exchanges", row: &'a TokenExchange {
        id: "uuid" = row.id,
        requested_at: "timestamptz" = Micros(row.requested_at),
        latency: "interval" = Interval(row.latency),
        http_status: "int" = row.http_status.map(i32::from),
        provider_code: "bigint" = row.provider_code,
        outcome: "text" = row.outcome,
        reason: "text" = row.reason,
        cause: "text" = row.cause.as_deref().map(Text),
        request: "text" = Text(&row.request),
        response: "bytea" = row.response.as_deref(),
    }
}
