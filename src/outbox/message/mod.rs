//! What is published: decisions and dead letters as Kafka messages.
//!
//! Pure. The invariant: a message is only larger than the bound it was made for if it cannot be
//! made smaller; one that was made smaller says so and leaves out what Postgres has.
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

/// What the framing of a batch with one record adds to the record's key, value and headers, at
/// most.
const FRAME_MAX_BYTES: usize = 128;
/// What a header's framing adds to its name and value, at most.
const HEADER_FRAME_MAX_BYTES: usize = 10;
/// What deferral adds to an event, at most: the names of its headers, a topic's name, some numbers,
/// and a trace.
const HISTORY_MAX_BYTES: usize = 1_024;

/// The headers that a dead letter gets, in place of the event's own by these names
/// (`schemas/dead-letter.v1.json`).
const OWN_HEADERS: [&str; 5] = [
    "claimgate-error",
    "claimgate-error-field",
    "claimgate-source",
    "claimgate-content",
    "claimgate-truncated",
];

/// Where a record's end is published, if it is.
fn topic_of(outcome: &RecordOutcome) -> Topic {
    match outcome {
        RecordOutcome::Decided(_) | RecordOutcome::Recalled(_) | RecordOutcome::Duplicate(_) => {
            Topic::Decisions
        }
        RecordOutcome::Deferred(_) => Topic::Retry,
        RecordOutcome::DeadLettered(_) => Topic::DeadLetters,
    }
}

/// A Kafka message to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// The number of the partition that the record it ends was read from, where the message is to
    /// go to that of the same number; the key decides where it is absent.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

impl Message {
    /// Its size on its way, framing included. A topic weighs the batch that a message comes in, so
    /// this is the least that its `max.message.bytes` has to be.
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

/// The message that a record's end calls for, at most `max_bytes` large if it can be made so;
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

/// The decision of a worker, as it was published once, at most `max_bytes` large if it can be made
/// so.
pub fn decided(verdict: &Verdict, received: &Received, max_bytes: usize) -> Message {
    decision::message(verdict, received, max_bytes)
}

/// The decision of a person in place of a worker's, at most `max_bytes` large if it can be made so.
pub fn revised(verdict: &Verdict, revision: i32, received: &Received, max_bytes: usize) -> Message {
    decision::revised(verdict, revision, received, max_bytes)
}

/// The event as it was received, with its history, for the retry partition of its own number:
/// whoever has the one has the other, see [`crate::intake::consumer`]. It cannot be made smaller:
/// see [`fits_deferred`].
fn deferred(deferral: &Deferral, received: &Received, partition: i32) -> Message {
    Message {
        topic: Topic::Retry,
        partition: Some(partition),
        key: received.key.clone(),
        payload: received.payload.clone(),
        headers: deferral.headers(&received.headers),
    }
}

/// Whether a deferred event would be at most `max_bytes` large, its history included.
pub fn fits_deferred(received: &Received, max_bytes: usize) -> bool {
    size(received) + FRAME_MAX_BYTES + HISTORY_MAX_BYTES <= max_bytes
}

/// The size of an event as it was received, a record's own framing aside.
fn size(received: &Received) -> usize {
    weight_of_headers(&received.headers)
        + received.key.as_ref().map_or(0, Vec::len)
        + received.payload.as_ref().map_or(0, Vec::len)
}

/// The whole event; or a message that refers to the row in Postgres; or, where the event's key
/// would not fit either, one that has its place for a key.
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
