//! Makes Kafka messages of decisions, dead letters and deferred claims.
//!
//! Pure. The invariant: a message is larger than the limit it was made for only if it cannot be
//! made smaller. A message that was made smaller says so, and leaves out only what Postgres has.
//!
//! ```
//! use claimgate::outbox::message::Message;
//! use claimgate::kafka::Topic;
//!
//! let message = Message {
//!     topic: Topic::Decisions, partition: None, key: Some(b"clm-1".to_vec()),
//!     payload: Some(b"{}".to_vec()), headers: vec![],
//! };
//! assert!(message.weight() >= b"clm-1{}".len(), "framing is counted, too");
//! ```

use super::{Completed, Received, RecordOutcome};
use crate::claim::DeadLetterReason;
use crate::intake::Headers;
use crate::intake::deferral::Deferral;
use crate::schema::Verdict;

mod decision;
mod drafts;

pub use decision::{DECISION_ID, DECISION_SCHEMA, REPUBLISHED, REVISION, SEAL};
pub use drafts::{Drafts, Lesson, Limits, Parcel, Refusal};

pub use crate::kafka::Topic;

/// The most bytes that the framing of a batch with one record adds to its key, value and headers.
const FRAME_MAX_BYTES: usize = 128;
/// The most bytes that a header's framing adds to its name and value.
const HEADER_FRAME_MAX_BYTES: usize = 10;
/// The most bytes that deferral adds to an event: the names of its headers, a topic's name, some
/// numbers, and a `traceparent`.
const HISTORY_MAX_BYTES: usize = 1_024;

/// The headers of a dead letter (`schemas/dead-letter.v1.json`). They replace headers of the event
/// that have the same names.
const OWN_HEADERS: [&str; 5] = [
    "claimgate-error",
    "claimgate-error-field",
    "claimgate-source",
    "claimgate-content",
    "claimgate-truncated",
];

/// The topic in which an outcome is published.
fn topic_of(outcome: &RecordOutcome) -> Topic {
    match outcome {
        RecordOutcome::Decided(_) | RecordOutcome::Recalled(_) | RecordOutcome::Duplicate(_) => {
            Topic::Decisions
        }
        RecordOutcome::Deferred(_) => Topic::Retry,
        RecordOutcome::DeadLettered(_) => Topic::DeadLetters,
    }
}

/// A message that is to be sent to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// The partition that it has to go to: for deferred claims, the one with the number of the
    /// partition that the record was read from. `None`: the key decides.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

impl Message {
    /// Its size with framing. A broker measures the batch that a message comes in, so a topic's
    /// `max.message.bytes` has to be at least this.
    pub fn weight(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        weight_of_headers(&self.headers)
            + length(&self.key)
            + length(&self.payload)
            + FRAME_MAX_BYTES
    }
}

fn weight_of_headers(headers: &Headers) -> usize {
    let weight = |(name, value): &(String, Option<Vec<u8>>)| {
        name.len() + value.as_ref().map_or(0, Vec::len) + HEADER_FRAME_MAX_BYTES
    };
    headers.iter().map(weight).sum()
}

/// The message for the outcome of a record, of at most `max_bytes` if it can be made so small;
/// `None` where nothing is to be published.
pub fn of(completed: &Completed, republish_duplicates: bool, max_bytes: usize) -> Option<Message> {
    match &completed.outcome {
        RecordOutcome::Decided(verdict) | RecordOutcome::Recalled(verdict) => {
            Some(decision::message(verdict, &completed.received, max_bytes))
        }
        RecordOutcome::Duplicate(verdict) => {
            republish_duplicates.then(|| decision::message(verdict, &completed.received, max_bytes))
        }
        RecordOutcome::Deferred(deferral) => {
            Some(deferred(deferral, &completed.received, completed.ticket.partition().number))
        }
        RecordOutcome::DeadLettered(reason) => {
            Some(dead_letter(reason, &completed.received, max_bytes))
        }
    }
}

/// The decision of a worker as it was published before, of at most `max_bytes` if it can be made so
/// small.
pub fn decided(verdict: &Verdict, received: &Received, max_bytes: usize) -> Message {
    decision::message(verdict, received, max_bytes)
}

/// The decision of a person that replaces a worker's, of at most `max_bytes` if it can be made so
/// small.
pub fn revised(verdict: &Verdict, revision: i32, received: &Received, max_bytes: usize) -> Message {
    decision::revised(verdict, revision, received, max_bytes)
}

/// The event as it was received, with its history in the headers, for the retry partition with the
/// number of its own partition: one worker has both, see [`crate::intake::consumer`]. It cannot be
/// made smaller, see [`fits_deferred`].
fn deferred(deferral: &Deferral, received: &Received, partition: i32) -> Message {
    Message {
        topic: Topic::Retry,
        partition: Some(partition),
        key: received.key.clone(),
        payload: received.payload.clone(),
        headers: deferral.headers(&received.headers),
    }
}

/// Whether a deferred event has at most `max_bytes`, including its history.
pub fn fits_deferred(received: &Received, max_bytes: usize) -> bool {
    size(received) + FRAME_MAX_BYTES + HISTORY_MAX_BYTES <= max_bytes
}

/// The size of an event as it was received, without the framing of the record.
fn size(received: &Received) -> usize {
    weight_of_headers(&received.headers)
        + received.key.as_ref().map_or(0, Vec::len)
        + received.payload.as_ref().map_or(0, Vec::len)
}

/// The whole event; or, if that is too large, a message that refers to the row in Postgres; or, if
/// the event's key is too large as well, one whose key is the event's position.
fn dead_letter(reason: &DeadLetterReason, received: &Received, max_bytes: usize) -> Message {
    let ours = |name: &str| OWN_HEADERS.contains(&name);
    let letter = |mut headers: Headers, key: Option<Vec<u8>>, payload: Option<Vec<u8>>| {
        headers.push(text("claimgate-error", reason.error.as_str()));
        if let Some(field) = &reason.field {
            let end = field.char_indices().nth(200).map_or(field.len(), |(index, _)| index);
            headers.push(text("claimgate-error-field", &field[..end]));
        }
        headers.push(text("claimgate-source", &received.source.to_string()));
        headers.push(text("claimgate-content", &received.content()));
        Message { topic: Topic::DeadLetters, partition: None, key, payload, headers }
    };
    let size = size(received);
    if size <= max_bytes {
        let own = received.headers.iter().filter(|(name, _)| !ours(name)).cloned().collect();
        let whole = letter(own, received.key.clone(), received.payload.clone());
        if whole.weight() <= max_bytes {
            return whole;
        }
    }
    // Postgres has the whole event; this message says where to look.
    let cut = vec![text("claimgate-truncated", &size.to_string())];
    if received.key.as_ref().is_none_or(|key| key.len() <= max_bytes / 4) {
        let reference = letter(cut.clone(), received.key.clone(), None);
        if reference.weight() <= max_bytes {
            return reference;
        }
    }
    let mut least = letter(cut, Some(received.source.to_string().into_bytes()), None);
    least.headers.retain(|(name, _)| name != "claimgate-error-field");
    least
}

fn text(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests;
