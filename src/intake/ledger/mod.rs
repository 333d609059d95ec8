//! The ledger: which records are done, and what may be committed.
//!
//! For each assigned partition it holds the offsets that are open: not done. All others up to the
//! end of what was read are done: confirmed records, and offsets without a record (compaction,
//! transaction markers). Knows no Kafka.
//!
//! The invariants:
//! - A watermark never passes a record whose [`Ticket`] was not confirmed.
//! - Only [`Ledger::confirm`] makes a record done; [`Ledger::plan`] merely says what a commit would
//!   say.
//! - A ticket of an assignment that has ended changes nothing.
//!
//! ```
//! use claimgate::intake::{Admission, Ledger, Partition};
//! use claimgate::intake::Assigned;
//!
//! let (partition, epoch) = (Partition::claims(3), 1);
//! let mut ledger = Ledger::default();
//! let offset = Some(10);
//! ledger.assign(&Assigned { partition, epoch, offset, metadata: String::new(), log_end: 12 });
//! let mut ticket = |offset| match ledger.admit(partition, offset, epoch) {
//!     Admission::Ticket(ticket) => ticket,
//!     other => panic!("{other:?}"),
//! };
//! let (tenth, eleventh) = (ticket(10), ticket(11));
//! let commit = &ledger.plan([&eleventh].into_iter())[0];
//! assert_eq!(commit.offset, 10, "the watermark stays before what is open");
//! assert!(!commit.metadata.is_empty(), "the offset map says that 11 is done");
//! ledger.confirm([eleventh]);
//! assert_eq!(ledger.plan([&tenth].into_iter())[0].offset, 12);
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::offset_map::{self, OffsetMap};
use super::{Assigned, LogReach, Partition};

/// The duty to finish one record, and the right to. Not `Clone`: a record is finished once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(TicketId);

/// The name of a [`Ticket`]: it says which record is meant, and gives no right to finish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId {
    partition: Partition,
    offset: i64,
    epoch: u32,
    restarts: u32,
}

impl Ticket {
    /// The record's partition.
    pub fn partition(&self) -> Partition {
        self.0.partition
    }

    /// The record's offset.
    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// Its name. The ticket of the same record in another assignment has another one.
    pub fn id(&self) -> TicketId {
        self.0
    }
}

/// What happens to a record that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take it on.
    Ticket(Ticket),
    /// It was done before this assignment: the commit metadata said so.
    AlreadyDone,
    /// Its partition's assignment has ended: drop it.
    Stale,
}

/// What is to be committed for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: Partition,
    /// The assignment under which the records were read. Once it has ended, nothing may be
    /// committed.
    pub epoch: u32,
    /// The watermark: the offset of the first record that is not done.
    pub offset: i64,
    /// Which records beyond the watermark are done, see [`offset_map`].
    pub metadata: String,
}

/// Every assigned partition's state.
#[derive(Debug)]
pub struct Ledger {
    partitions: BTreeMap<Partition, State>,
    /// The most bytes of a commit's metadata.
    metadata_max: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::with_metadata_max(offset_map::METADATA_MAX_BYTES)
    }
}

#[derive(Debug)]
struct State {
    epoch: u32,
    /// How often the log began again under this assignment. Earlier tickets are void: the same
    /// offsets are other records now.
    restarts: u32,
    /// Open offsets: records that were taken on and are not confirmed, and those that the restored
    /// map has open and that were not read yet.
    open: BTreeSet<i64>,
    /// The offset after the last one read; `None` before the first, where nothing was committed.
    position: Option<i64>,
    /// The offset after the last known one. The restored map may reach beyond `position`.
    end: i64,
}

impl Ledger {
    /// A ledger without partitions. Its commits have at most `metadata_max` bytes of metadata.
    pub fn with_metadata_max(metadata_max: usize) -> Self {
        Self { partitions: BTreeMap::new(), metadata_max }
    }

    /// Takes a partition on, from what the group has committed.
    ///
    /// Metadata that is foreign, old, garbled or reaches beyond the log counts as "nothing is done
    /// beyond the watermark". The returned text says why, for the log.
    pub fn assign(&mut self, assigned: &Assigned) -> Option<String> {
        let restored = assigned
            .offset
            .map(|offset| OffsetMap::decode(offset, &assigned.metadata, assigned.log_end));
        let (map, warning) = match restored {
            Some(Ok(map)) => (Some(map), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let state = State {
            epoch: assigned.epoch,
            restarts: 0,
            end: map.as_ref().map_or_else(|| assigned.offset.unwrap_or(0), OffsetMap::end),
            open: map.map(OffsetMap::into_open).unwrap_or_default(),
            position: assigned.offset,
        };
        self.partitions.insert(assigned.partition, state);
        warning
    }

    /// Gives a partition back; its tickets are void from now on.
    pub fn revoke(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// Takes on a record that was read when `epoch` was the latest assignment. The records of a
    /// partition come in the order of their offsets. A record that was read before the present
    /// assignment of its partition is stale.
    pub fn admit(&mut self, partition: Partition, offset: i64, epoch: u32) -> Admission {
        let Some(state) = self.partitions.get_mut(&partition).filter(|state| state.epoch <= epoch)
        else {
            return Admission::Stale;
        };
        if !state.read(offset) {
            return Admission::AlreadyDone;
        }
        let (epoch, restarts) = (state.epoch, state.restarts);
        Admission::Ticket(Ticket(TicketId { partition, offset, epoch, restarts }))
    }

    /// Whether a ticket's assignment still holds.
    pub fn is_live(&self, Ticket(id): &Ticket) -> bool {
        self.partitions.get(&id.partition).is_some_and(|state| state.gave(id))
    }

    /// The commits that there would be if these records were done too. Tickets of ended assignments
    /// are ignored.
    pub fn plan<'a>(&self, done: impl Iterator<Item = &'a Ticket>) -> Vec<Commit> {
        let mut by_partition: BTreeMap<Partition, BTreeSet<i64>> = BTreeMap::new();
        for Ticket(id) in done.filter(|ticket| self.is_live(ticket)) {
            by_partition.entry(id.partition).or_default().insert(id.offset);
        }
        let commit = |(partition, done): (Partition, BTreeSet<i64>)| {
            let state = self.partitions.get(&partition)?;
            let open: Vec<i64> = state.open.difference(&done).copied().collect();
            let offset = open.first().copied().unwrap_or(state.end);
            let metadata = offset_map::encode(offset, &open, state.end);
            Some(Commit { partition, epoch: state.epoch, offset, metadata })
        };
        by_partition.into_iter().filter_map(commit).collect()
    }

    /// Marks records as done, after Kafka has acknowledged the commits that [`Ledger::plan`]
    /// returned.
    pub fn confirm(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for Ticket(id) in tickets {
            if let Some(state) =
                self.partitions.get_mut(&id.partition).filter(|state| state.gave(&id))
            {
                state.open.remove(&id.offset);
            }
        }
    }

    /// Whether the partition's next record, at this offset, may be taken on: the map will fit into
    /// the commit's metadata, in whatever order the records are finished.
    ///
    /// A record within the restored map always may be: it adds nothing to the map, and the map only
    /// shrinks when it is done.
    pub fn has_room_for(&self, partition: Partition, offset: i64) -> bool {
        self.partitions.get(&partition).is_none_or(|state| {
            let (open, span) = state.after_reading(offset);
            offset < state.end || offset_map::always_fits(open, span, self.metadata_max)
        })
    }

    /// The partitions that are assigned.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + Clone + '_ {
        self.partitions.keys().copied()
    }

    /// How many records of a partition are not done, if its log reaches this far: those that were
    /// taken on, and those behind them. `nothing_waits` says that every record that was read was
    /// taken on. Then offsets without a record, such as transaction markers, are left out;
    /// otherwise they count.
    pub fn lag(&self, log: &LogReach, nothing_waits: bool) -> u64 {
        let Some(state) = self.partitions.get(&log.partition) else { return 0 };
        let read = log.read.filter(|_| nothing_waits).unwrap_or(log.start);
        let unread = log.end.saturating_sub(state.end.max(log.start).max(read));
        let open = u64::try_from(state.open.len()).unwrap_or(u64::MAX);
        open.saturating_add(u64::try_from(unread).unwrap_or(0))
    }
}

impl State {
    /// Whether a ticket belongs to this assignment, and to the log since it last began again.
    fn gave(&self, id: &TicketId) -> bool {
        self.epoch == id.epoch && self.restarts == id.restarts
    }

    /// How many offsets would be open, and within what span, if `offset` were read next.
    fn after_reading(&self, offset: i64) -> (usize, i64) {
        let skipped = self.position.unwrap_or(offset)..offset;
        let gone = if skipped.is_empty() { 0 } else { self.open.range(skipped.clone()).count() };
        let first =
            self.open.iter().find(|open| !skipped.contains(open)).copied().unwrap_or(offset);
        (self.open.len() - gone + 1, offset.saturating_add(1).saturating_sub(first))
    }

    /// Notes that `offset` was read. Returns whether the record is to be taken on.
    fn read(&mut self, offset: i64) -> bool {
        let position = self.position.unwrap_or(offset);
        if offset < position {
            // Kafka went back: the log was cut or created again. What was known of it is void.
            self.open.clear();
            self.restarts = self.restarts.wrapping_add(1);
            self.end = offset;
        } else if self.position.is_none() {
            self.end = offset;
        } else if !self.open.is_empty() && position < self.end {
            // Kafka skipped open offsets of the restored map: compaction has removed their records.
            let skipped: Vec<i64> = self.open.range(position..offset).copied().collect();
            for gone in skipped {
                self.open.remove(&gone);
            }
        }
        self.position = Some(offset + 1);
        if offset < self.end {
            return self.open.contains(&offset);
        }
        self.end = offset + 1;
        self.open.insert(offset)
    }
}

#[cfg(test)]
mod tests;
