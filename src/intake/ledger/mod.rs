//! The ledger: which records are done, and what may be committed.
//!
//! Owns, per assigned partition, the offsets that are not done. Everything else below [`Ledger`]'s
//! end is done: records that were confirmed, and offsets that no record has (compaction,
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

/// The right and the duty to finish one record. Not `Clone`: a record ends once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(TicketId);

/// The name of a [`Ticket`]. Who has it knows which record is meant, and has no right to finish it.
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

    /// What tells this ticket from all others, that of the same record in another assignment
    /// included.
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
    /// The assignment under which its records were read: nothing may be committed under it once it
    /// has ended.
    pub epoch: u32,
    /// The watermark: the offset of the first record that is not done.
    pub offset: i64,
    /// What is done beyond the watermark, see [`offset_map`].
    pub metadata: String,
}

/// Every assigned partition's state.
#[derive(Debug)]
pub struct Ledger {
    partitions: BTreeMap<Partition, State>,
    /// No commit's metadata is longer, in bytes.
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
    /// How often the log began anew under this assignment. Tickets of before are void: the same
    /// offsets are other records now.
    restarts: u32,
    /// Offsets taken on and not confirmed, and those that the restored map left open and that were
    /// not read yet.
    open: BTreeSet<i64>,
    /// The offset after the last one read; `None` before the first, where nothing was committed.
    position: Option<i64>,
    /// The offset after the last one known, which the restored map may put beyond `position`.
    end: i64,
}

impl Ledger {
    /// A ledger without partitions, whose commits carry at most so many bytes of metadata.
    pub fn with_metadata_max(metadata_max: usize) -> Self {
        Self { partitions: BTreeMap::new(), metadata_max }
    }

    /// Takes a partition on, from what the group had committed.
    ///
    /// Metadata that is foreign, old, garbled or reaches beyond the log reads as "nothing done
    /// beyond the watermark"; the returned text says why, for the log.
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

    /// Takes a record on that was read when `epoch` was the latest assignment. Records of a
    /// partition come in the order of their offsets; one that was read before its partition's
    /// present assignment is stale.
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

    /// What a commit would say if these records were done as well. Tickets of ended assignments are
    /// passed over.
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

    /// Makes records done: Kafka has acknowledged the commit that [`Ledger::plan`] said.
    pub fn confirm(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for Ticket(id) in tickets {
            if let Some(state) =
                self.partitions.get_mut(&id.partition).filter(|state| state.gave(&id))
            {
                state.open.remove(&id.offset);
            }
        }
    }

    /// Whether the partition's next record, which has this offset, may be taken on: with it, the
    /// map is certain to fit into the commit's metadata, whatever is finished in whatever order.
    ///
    /// A record within the restored map always may: it adds nothing to the map, and only its end
    /// can make room.
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

    /// How many records of a partition are not done, where its log reaches so far: those that were
    /// taken on, and those behind them. `nothing_waits` says that every record that was read before
    /// was taken on. Then offsets without a record, such as transaction markers, are passed over;
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
    /// Whether a ticket is of this assignment, and of this beginning of the log.
    fn gave(&self, id: &TicketId) -> bool {
        self.epoch == id.epoch && self.restarts == id.restarts
    }

    /// How many offsets would be open, within what span, if `offset` at or beyond the end were read
    /// next.
    fn after_reading(&self, offset: i64) -> (usize, i64) {
        let skipped = self.position.unwrap_or(offset)..offset;
        let gone = if skipped.is_empty() { 0 } else { self.open.range(skipped.clone()).count() };
        let first =
            self.open.iter().find(|open| !skipped.contains(open)).copied().unwrap_or(offset);
        (self.open.len() - gone + 1, offset.saturating_add(1).saturating_sub(first))
    }

    /// Notes that `offset` was read; says whether it is to be worked on.
    fn read(&mut self, offset: i64) -> bool {
        let position = self.position.unwrap_or(offset);
        if offset < position {
            // Kafka went back because the log was cut or made anew: what was known about it is
            // worth nothing.
            self.open.clear();
            self.restarts = self.restarts.wrapping_add(1);
            self.end = offset;
        } else if self.position.is_none() {
            self.end = offset;
        } else if !self.open.is_empty() && position < self.end {
            // Open offsets of the restored map that were skipped have no record any more
            // (compaction).
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
