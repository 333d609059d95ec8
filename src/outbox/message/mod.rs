//! What is published: decisions and dead letters as Kafka messages.
//!
//! Pure. The invariant: a message is never larger than the bound it was made for; one that would be says so and leaves out what
//! Postgres has.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Disposition, Received, Settled};
use crate::claim::Malformed;
use crate::decision::{Reason, Source, Verdict, decision_id};
use crate::intake::Headers;
use crate::intake::parking::Parking;
use crate::trace::{TRACEPARENT, TRACESTATE};

/// The schema that decisions follow, see `schemas/decision.v1.json`.
pub const DECISION_SCHEMA: &str = "decision.v1";
/// What headers and framing may add to a message's key and payload, at most.
const FRAME_MAX_BYTES: usize = 512;

/// Which of the output topics a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `kafka.output_topic`.
    Decisions,
    /// `kafka.dead_letter_topic`.
    DeadLetters,
    /// `kafka.retry_topic`.
    Retry,
}

impl Topic {
    /// Every topic, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Decisions, Self::DeadLetters, Self::Retry];

    /// Where a record's end is published, if it is.
    pub fn of(disposition: &Disposition) -> Self {
        match disposition {
            Disposition::Assessed(_)
            | Disposition::Recalled(_)
            | Disposition::Duplicate(_)
            | Disposition::Repeated => Self::Decisions,
            Disposition::Parked(_) => Self::Retry,
            Disposition::Quarantined(_) => Self::DeadLetters,
        }
    }
}

/// A Kafka message to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// The number of the partition that the record it ends was read from, where the message is to go to that of the same number; the
    /// key decides where it is absent.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

/// The decision event (contract 3.2).
#[derive(Debug, Serialize)]
struct DecisionEvent<'a> {
    decision_id: String,
    claim_id: &'a str,
    kind: &'a str,
    decision: &'static str,
    reasons: &'a [Reason],
    api: &'a str,
    api_schema: &'a str,
    level: Option<u8>,
    risk_types: &'a [i32],
    provider_code: Option<i64>,
    policy_version: &'a str,
    attempts: u32,
    claimed_at: String,
    decided_at: String,
    challenge: Option<&'a str>,
    source: &'a Source,
    trace_id: &'a str,
    /// Present where the challenge was left out for its size; the row in Postgres has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// The message that a record's end calls for, at most `max_bytes` large; `None` where nothing is to be published.
pub fn of(settled: &Settled, republish_duplicates: bool, max_bytes: usize) -> Option<Message> {
    match &settled.disposition {
        Disposition::Assessed(verdict) | Disposition::Recalled(verdict) => {
            Some(decision(verdict, &settled.received, max_bytes))
        }
        Disposition::Duplicate(verdict) => {
            republish_duplicates.then(|| decision(verdict, &settled.received, max_bytes))
        }
        Disposition::Repeated => None,
        Disposition::Parked(parking) => {
            Some(parked(parking, &settled.received, settled.ticket.partition().number))
        }
        Disposition::Quarantined(malformed) => Some(dead_letter(malformed, &settled.received, max_bytes)),
    }
}

fn decision(verdict: &Verdict, received: &Received, max_bytes: usize) -> Message {
    let id = decision_id(&verdict.claim_id).to_string();
    let key = received.key.clone().unwrap_or_else(|| verdict.claim_id.clone().into_bytes());
    let room = max_bytes
        .saturating_sub(FRAME_MAX_BYTES + key.len() + received.trace.state.as_ref().map_or(0, String::len));
    let mut event = DecisionEvent {
        decision_id: id.clone(),
        claim_id: &verdict.claim_id,
        kind: &verdict.kind,
        decision: verdict.decision.as_str(),
        reasons: &verdict.reasons,
        api: &verdict.api,
        api_schema: &verdict.api_schema,
        level: verdict.level,
        risk_types: &verdict.risk_types,
        provider_code: verdict.provider_code,
        policy_version: &verdict.policy_version,
        attempts: verdict.attempts,
        claimed_at: rfc3339(i128::from(verdict.claimed_at) * 1_000_000_000),
        decided_at: rfc3339(i128::from(verdict.decided_at) * 1_000),
        challenge: verdict.challenge.as_deref(),
        source: &verdict.source,
        trace_id: &verdict.trace_id,
        truncated: false,
    };
    let mut payload = serialise(&event);
    if payload.len() > room {
        event = DecisionEvent { challenge: None, reasons: &[], risk_types: &[], truncated: true, ..event };
        payload = serialise(&event);
    }
    let mut headers = vec![
        text("content-type", "application/json"),
        text("claimgate-schema", DECISION_SCHEMA),
        text("claimgate-decision-id", &id),
    ];
    headers.extend(trace_headers(received));
    Message { topic: Topic::Decisions, partition: None, key: Some(key), payload: Some(payload), headers }
}

/// The event as it was received, with its history, for the retry partition of its own number: whoever has the one has the other, see
/// [`crate::intake::kafka`]. [`Parking`] is only for events that fit: see [`fits_parked`].
fn parked(parking: &Parking, received: &Received, partition: i32) -> Message {
    Message {
        topic: Topic::Retry,
        partition: Some(partition),
        key: received.key.clone(),
        payload: received.payload.clone(),
        headers: parking.headers(&received.headers),
    }
}

/// Whether a parked event would be at most `max_bytes` large, its history included.
pub fn fits_parked(received: &Received, max_bytes: usize) -> bool {
    size(received) <= max_bytes.saturating_sub(FRAME_MAX_BYTES)
}

/// The size of an event as it was received, framing aside.
fn size(received: &Received) -> usize {
    let lengths =
        received.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 16);
    lengths.sum::<usize>()
        + received.key.as_ref().map_or(0, Vec::len)
        + received.payload.as_ref().map_or(0, Vec::len)
}

fn dead_letter(malformed: &Malformed, received: &Received, max_bytes: usize) -> Message {
    let ours = |name: &str| {
        ["claimgate-error", "claimgate-error-field", "claimgate-source", "claimgate-content"].contains(&name)
    };
    let mut headers: Headers = received.headers.iter().filter(|(name, _)| !ours(name)).cloned().collect();
    let mut key = received.key.clone();
    let mut payload = received.payload.clone();
    let size = size(received);
    if size > max_bytes.saturating_sub(FRAME_MAX_BYTES) {
        // Postgres has the whole event; this message says where to look.
        headers = vec![text("claimgate-truncated", &size.to_string())];
        key = key.filter(|key| key.len() <= max_bytes / 4);
        payload = None;
    }
    headers.push(text("claimgate-error", malformed.error));
    if let Some(field) = &malformed.field {
        let end = field.char_indices().nth(200).map_or(field.len(), |(index, _)| index);
        headers.push(text("claimgate-error-field", &field[..end]));
    }
    headers.push(text("claimgate-source", &received.source.to_string()));
    headers.push(text("claimgate-content", &received.content()));
    Message { topic: Topic::DeadLetters, partition: None, key, payload, headers }
}

fn trace_headers(received: &Received) -> Headers {
    let mut headers = vec![text(TRACEPARENT, &received.trace.traceparent())];
    headers.extend(received.trace.state.as_ref().map(|state| text(TRACESTATE, state)));
    headers
}

fn text(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

fn serialise(event: &DecisionEvent<'_>) -> Vec<u8> {
    serde_json::to_vec(event).expect("a struct of strings and numbers always serialises")
}

/// A time in nanoseconds since 1970. `Claim` and clock keep it within the years that RFC 3339 can say.
fn rfc3339(nanoseconds: i128) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
