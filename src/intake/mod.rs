//! Intake: reads records from Kafka, and keeps account of which are done.
//!
//! [`consumer`] reads the topics and is the only module here that knows Kafka. It tells the worker
//! [`Event`]s. The worker takes records on and holds a [`Ticket`] for each; the [`ledger`] says
//! what a commit of their offsets may contain ([`offset_map`]). [`backlog`] holds records that are
//! not taken on yet, [`waiting`] deferred claims that are not due yet, and [`lanes`] keeps the
//! claims of one subject in order. Ledger, offset map and lanes are pure.

pub mod backlog;
pub mod consumer;
pub mod deferral;
pub mod flood;
pub mod lanes;
pub mod ledger;
pub mod offset_map;
mod received;
pub mod timetable;
pub mod waiting;

use std::collections::BTreeSet;
use std::future::Future;

pub use ledger::{Admission, Commit, Ledger, Ticket, TicketId};
pub use received::Received;

pub use crate::kafka::{Input, Partition};

/// The worker's source of records.
pub trait Intake: Send {
    /// The next event; `None` once the consumer has ended.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
    /// From now on these partitions, and no others, are paused.
    fn pause(&mut self, partitions: BTreeSet<Partition>);
}

/// Headers of a record, in order. A value may be absent (Kafka's null) and be any bytes.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// The value of the first header with this name.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref())
}

/// The memory of a header beside its name and value. Kafka sends an empty header in two bytes, and
/// compresses a million of them into a few: if they counted nothing, they would pass every bound.
const HEADER_BYTES: usize = 48;

/// The size of an event in bytes: key, headers and payload.
pub fn event_bytes(key: Option<&[u8]>, headers: &Headers, payload: Option<&[u8]>) -> usize {
    let header = |(name, value): &(String, Option<Vec<u8>>)| {
        HEADER_BYTES + name.len() + value.as_ref().map_or(0, Vec::len)
    };
    let headers = headers.iter().map(header).sum::<usize>();
    key.map_or(0, <[u8]>::len) + headers + payload.map_or(0, <[u8]>::len)
}

/// A record as Kafka delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition it was read from.
    pub partition: Partition,
    /// Its offset there.
    pub offset: i64,
    /// The number of the worker's latest assignment when it was read. The record is void if its
    /// partition was assigned again since.
    pub epoch: u32,
    /// The producer's key.
    pub key: Option<Vec<u8>>,
    /// The producer's headers.
    pub headers: Headers,
    /// The event; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// When it was written to the topic, UNIX milliseconds; 0 if Kafka does not say.
    pub written_at: i64,
}

impl Record {
    /// Its key, headers and payload, in bytes.
    pub fn bytes(&self) -> usize {
        event_bytes(self.key.as_deref(), &self.headers, self.payload.as_deref())
    }
}

/// A partition that was assigned to this worker, with what the group has committed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub partition: Partition,
    /// The number of this assignment. The partition's records carry it, or that of a later one of
    /// this worker.
    pub epoch: u32,
    /// The committed offset; `None` where nothing was ever committed.
    pub offset: Option<i64>,
    /// The commit's metadata: the offsets done beyond the committed one, see [`offset_map`].
    pub metadata: String,
    /// The offset after the partition's last record at the time of the assignment: no map reaches
    /// beyond it.
    pub log_end: i64,
}

/// How far the log of a partition reaches, by the answer of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogReach {
    /// The partition.
    pub partition: Partition,
    /// The log's first offset.
    pub start: i64,
    /// The offset after its last record.
    pub end: i64,
    /// The offset before which the worker has got every record; `None` while records are on their
    /// way.
    pub read: Option<i64>,
}

/// What the consumer tells the worker, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// Partitions were assigned to this worker.
    Assigned {
        /// The partitions.
        partitions: Vec<Assigned>,
        /// How many partitions the input topic has.
        of: u32,
    },
    /// Records were read.
    Records(Vec<Record>),
    /// Partitions are to be given back. The worker finishes what is in flight, then drops `done`;
    /// the consumer waits for that.
    Revoked {
        /// The partitions.
        partitions: Vec<Partition>,
        /// Dropped when nothing of these partitions is in flight any more.
        done: std::sync::mpsc::SyncSender<()>,
    },
    /// Partitions were lost: another worker may have them already.
    Lost(Vec<Partition>),
    /// How far some of the logs reach; sent every few seconds, after all records read so far.
    Logs(Vec<LogReach>),
    /// Whether any broker answers; sent every few seconds. If none does, one sentence says why.
    Brokers(Result<(), String>),
    /// The consumer cannot continue.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_header_weighs_what_it_takes() {
        assert_eq!(HEADER_BYTES, size_of::<(String, Option<Vec<u8>>)>());
        let headers = vec![(String::new(), None); 30_000];
        assert!(event_bytes(None, &headers, None) > 1 << 20, "too large by default");
        let headers = vec![("name".to_owned(), Some(b"value".to_vec()))];
        assert_eq!(event_bytes(Some(b"key"), &headers, Some(b"{}")), HEADER_BYTES + 14);
    }
}
