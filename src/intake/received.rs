//! An event as it was received, and what identifies it.

use sha2::{Digest, Sha256};

use super::deferral::Deferral;
use super::{Headers, event_bytes};
use crate::decision::Source;
use crate::trace::TraceContext;

/// An event as it was received, with what identifies it.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its place in Kafka.
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

    /// Identifies the content of the event: 16 hex digits of a hash over key, headers and payload.
    /// Kafka's offsets can start again from 0, so the place alone does not identify an event; place
    /// and content do. The headers of a deferred claim's history are left out, because they are not
    /// the event's own.
    pub fn content(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: Option<&[u8]>| {
            // The length goes first, so that two events never give the same text. An absent value
            // differs from an empty one.
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
