//! What the worker has in flight: every record that was taken on and neither published nor dropped.
//!
//! Pure bookkeeping, for the bounds on intake, for knowing when a partition can be given back, and for the age of the oldest.

use std::collections::BTreeMap;

use crate::intake::{Partition, Ticket};
use crate::outbox::Received;

/// Records in flight, by partition and offset.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    partitions: BTreeMap<Partition, BTreeMap<i64, Entry>>,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    since: i64,
    bytes: usize,
}

impl InFlight {
    /// A record was taken on.
    pub(super) fn add(&mut self, ticket: &Ticket, received: &Received) {
        let bytes = received.bytes();
        let entry = Entry { since: received.received_at, bytes };
        let partition = self.partitions.entry(ticket.partition()).or_default();
        if let Some(before) = partition.insert(ticket.offset(), entry) {
            // Taken on again after its partition went and came back, while the first is still on its way out.
            self.records -= 1;
            self.bytes -= before.bytes;
        }
        self.records += 1;
        self.bytes += bytes;
    }

    /// A record was published or dropped. One that was taken on again since, after its partition went and came back, stays.
    pub(super) fn remove(&mut self, ticket: &Ticket, received: &Received) {
        let Some(partition) = self.partitions.get_mut(&ticket.partition()) else { return };
        let offset = ticket.offset();
        if partition.get(&offset).is_some_and(|entry| entry.since == received.received_at)
            && let Some(entry) = partition.remove(&offset)
        {
            self.records -= 1;
            self.bytes -= entry.bytes;
        }
        if partition.is_empty() {
            self.partitions.remove(&ticket.partition());
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

    /// When the oldest was taken on, UNIX microseconds: of each partition the first is looked at.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.partitions.values().filter_map(|records| records.values().next()).map(|entry| entry.since).min()
    }
}
