//! Outbox: what became of each record goes to Postgres, then to Kafka, then back to the ledger.
//!
//! [`Sealed`] → [`Recorded`] → [`Published`]: each is the only door to the next, so that nothing
//! can be published that is not recorded, and nothing confirmed that is not published. [`batch`]
//! and [`message`] are pure; [`postgres`] and [`producer`] are the only files here that know an
//! outside system.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::claim::DeadLetterReason;
use crate::decision::{Source, Verdict};
use crate::intake::deferral::Deferral;
use crate::intake::{Headers, Ticket, event_bytes};
use crate::trace::TraceContext;

pub mod batch;
pub mod message;
mod ports;
pub mod postgres;
pub mod producer;
mod stages;

pub use batch::Batch;
pub use ports::{PublishError, Publisher, Store, StoreError};
pub use stages::{Published, Recorded, Sealed};

/// An event as it was received, with what identifies it.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Where it stands in Kafka.
    pub source: Source,
    /// The producer's key.
    pub key: Option<Vec<u8>>,
    /// The producer's headers.
    pub headers: Headers,
    /// The exact bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// When the worker took it on, UNIX microseconds.
    pub received_at: i64,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl Received {
    /// Its key, headers and payload, in bytes.
    pub fn bytes(&self) -> usize {
        event_bytes(self.key.as_deref(), &self.headers, self.payload.as_deref())
    }

    /// What the event is, in 16 hex digits of a hash over key, headers and payload. Kafka's offsets
    /// can begin anew: the place alone does not identify an event, place and content do. The
    /// headers of a deferred claim's history are left out: they are not the event's own.
    pub fn content(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: Option<&[u8]>| {
            // The length goes first, so that no two events are the same text. Nothing is not the
            // empty text.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        };
        add(self.key.as_deref());
        add(self.payload.as_deref());
        for (name, value) in Deferral::strip(self.headers.clone()) {
            add(Some(name.as_bytes()));
            add(value.as_deref());
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// One attempt at a risk API: a row of `risk_calls`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The row's own id, time-ordered: attempt numbers can repeat after a crash.
    pub id: Uuid,
    /// The claim it was made for.
    pub claim_id: String,
    /// 1 for the first attempt since the worker took the claim on.
    pub attempt: u32,
    /// The API's name.
    pub api: &'static str,
    /// When it was sent, UNIX microseconds.
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    pub latency: i64,
    /// The HTTP status, where an answer came.
    pub http_status: Option<u16>,
    /// The API's return code, where it could be read.
    pub provider_code: Option<i64>,
    /// `assessed`, `transient`, `unassessable`, `access_denied` or `unknown` (sent, and no answer
    /// came).
    pub outcome: &'static str,
    /// Why, in a bounded word; empty for a verdict.
    pub reason: &'static str,
    /// Why no usable answer came, in the words of whoever noticed.
    pub cause: Option<String>,
    /// The request, secrets removed.
    pub request: String,
    /// The answer's exact bytes; `None` where none came.
    pub response: Option<Vec<u8>>,
    /// The trace in which it was made, 32 hex digits.
    pub trace_id: String,
}

/// One request for an access token: a row of `token_exchanges`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenExchange {
    /// The row's own id, time-ordered.
    pub id: Uuid,
    /// When it was sent, UNIX microseconds.
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    pub latency: i64,
    /// The HTTP status, where an answer came.
    pub http_status: Option<u16>,
    /// The provider's code, where it could be read.
    pub provider_code: Option<i64>,
    /// `fetched` or `failed`.
    pub outcome: &'static str,
    /// Why, in a bounded word; empty where a token was fetched.
    pub reason: &'static str,
    /// Why no usable answer came, in the words of whoever noticed.
    pub cause: Option<String>,
    /// The request, the secret removed.
    pub request: String,
    /// The first bytes of the answer, the token removed; `None` where none came.
    pub response: Option<Vec<u8>>,
}

/// How a record ends. Every record that was taken on ends in exactly one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordOutcome {
    /// Decided now, by a risk API's answer or by the lack of one.
    Assessed(Box<Verdict>),
    /// Decided before, from this very record: a crash fell between Postgres and Kafka.
    Recalled(Box<Verdict>),
    /// Decided before, from another record with the same content; `worker.on_duplicate` says what
    /// becomes of it.
    Duplicate(Box<Verdict>),
    /// No answer for now: to the retry topic, for later.
    Deferred(Deferral),
    /// No claim: a dead letter.
    DeadLettered(DeadLetterReason),
}

impl RecordOutcome {
    /// The outcome of a record whose claim has a verdict already (`schemas/claim.v1.json`).
    pub fn of_known(verdict: Verdict, source: &Source, fingerprint: &[u8; 32]) -> Self {
        // What is new at a used place is new: a topic that was made anew counts from 0 again.
        if verdict.fingerprint == *fingerprint {
            Self::of_same(verdict, source)
        } else {
            let detail = format!(
                "claim id {:?} was used before, with other content, by {}",
                verdict.claim_id, verdict.source
            );
            Self::DeadLettered(DeadLetterReason::field("claim_id_conflict", "claim_id", detail))
        }
    }

    /// The outcome of a record whose claim has a verdict already, from an event with the same
    /// content.
    pub fn of_same(verdict: Verdict, source: &Source) -> Self {
        if verdict.source == *source {
            Self::Recalled(Box::new(verdict))
        } else {
            Self::Duplicate(Box::new(verdict))
        }
    }
}

/// A record with its end.
#[derive(Debug)]
pub struct Completed {
    /// The record's ticket.
    pub ticket: Ticket,
    /// The record.
    pub received: Received,
    /// The claim's id, where the record is a claim.
    pub claim_id: Option<String>,
    /// How it ended.
    pub outcome: RecordOutcome,
}
