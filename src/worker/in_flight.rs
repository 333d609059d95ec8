//! Records in flight: every record that was taken on and is neither published nor dropped.
//!
//! Pure bookkeeping. It bounds intake, says when a partition can be given back, and tells metrics
//! how old undecided claims are.

use std::collections::BTreeMap;

use crate::intake::{Partition, Ticket};
use crate::outbox::Received;

/// Records in flight, by partition and offset.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    partitions: BTreeMap<Partition, BTreeMap<i64, Entry>>,
    /// How many were taken on at each time.
    since: BTreeMap<i64, usize>,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    since: i64,
    bytes: usize,
    open: Open,
}

/// Which API is to assess a record in flight, and when the record was first admitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// The number of its API; `None` where it is no claim.
    pub(super) api: Option<usize>,
    /// When it was first admitted, UNIX milliseconds: before now, where it was deferred.
    pub(super) first: i64,
}

impl InFlight {
    /// A record was taken on.
    pub(super) fn add(&mut self, ticket: &Ticket, received: &Received, open: Open) {
        let bytes = received.bytes();
        let entry = Entry { since: received.received_at, bytes, open };
        let partition = self.partitions.entry(ticket.partition()).or_default();
        if let Some(before) = partition.insert(ticket.offset(), entry) {
            // The partition went away and came back: the record was taken on again while its first
            // outcome is still being recorded.
            self.forget(&before);
        }
        *self.since.entry(received.received_at).or_default() += 1;
        self.records += 1;
        self.bytes += bytes;
    }

    /// A record was published or dropped. If it was taken on again since, because its partition
    /// went away and came back, it stays.
    pub(super) fn remove(&mut self, ticket: &Ticket, received: &Received) {
        let Some(partition) = self.partitions.get_mut(&ticket.partition()) else { return };
        let offset = ticket.offset();
        let is_it = partition.get(&offset).is_some_and(|entry| entry.since == received.received_at);
        let entry = if is_it { partition.remove(&offset) } else { None };
        if partition.is_empty() {
            self.partitions.remove(&ticket.partition());
        }
        if let Some(entry) = entry {
            self.forget(&entry);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.records -= 1;
        self.bytes -= entry.bytes;
        if let Some(count) = self.since.get_mut(&entry.since) {
            *count -= 1;
            if *count == 0 {
                self.since.remove(&entry.since);
            }
        }
    }

    /// Records in flight.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Their keys, headers and payloads, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the partition has nothing in flight.
    pub(super) fn is_idle(&self, partition: Partition) -> bool {
        !self.partitions.contains_key(&partition)
    }

    /// All records in flight, with their partitions.
    pub(super) fn open(&self) -> impl Iterator<Item = (Partition, Open)> {
        self.partitions
            .iter()
            .flat_map(|(partition, entries)| entries.values().map(|entry| (*partition, entry.open)))
    }

    /// When the oldest was taken on, UNIX microseconds.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.since.first_key_value().map(|(since, _)| *since)
    }
}
