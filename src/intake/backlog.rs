//! The backlog: records that were read and not taken on yet, because there was no room.
//!
//! Pure. Partitions take turns, so that a busy one does not delay the others. Pauses bound it:
//! [`Backlog::paused`] says which partitions the consumer is to pause. A partition is resumed only
//! when much of its backlog is gone, because a pause makes Kafka's client drop what it has fetched.
//!
//! ```
//! use claimgate::intake::backlog::Backlog;
//! use claimgate::intake::{Partition, Record};
//!
//! let record = |number, offset| Record {
//!     partition: Partition::claims(number), offset, epoch: 1, key: None, headers: vec![],
//!     payload: None, written_at: 0,
//! };
//! let mut backlog = Backlog::default();
//! for record in [record(0, 7), record(0, 8), record(1, 3)] {
//!     backlog.push(record);
//! }
//! let mut pop = || backlog.pop(|_| true).map(|record| (record.partition.number, record.offset));
//! assert_eq!([pop(), pop(), pop(), pop()], [Some((0, 7)), Some((1, 3)), Some((0, 8)), None]);
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Partition, Record};

/// A partition with this many waiting records is paused…
const HIGH: usize = 1_000;
/// …until only this many are left.
const LOW: usize = 250;
/// While this many bytes wait in all, each partition with more than its share of them is paused…
const HIGH_BYTES: usize = 32 << 20;
/// …until it has only its share divided by this.
const LOW_PART: usize = 4;

/// Records that wait, by partition.
#[derive(Debug, Default)]
pub struct Backlog {
    queues: BTreeMap<Partition, Queue>,
    paused: BTreeSet<Partition>,
    bytes: usize,
    /// The partition whose record was taken last.
    turn: Option<Partition>,
}

/// A partition's records.
#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Backlog {
    /// Adds a record behind those of its partition.
    pub fn push(&mut self, record: Record) {
        let queue = self.queues.entry(record.partition).or_default();
        queue.bytes += record.bytes();
        self.bytes += record.bytes();
        queue.records.push_back(record);
    }

    /// Takes the next record for which there is room; partitions take turns.
    pub fn pop(&mut self, mut has_room_for: impl FnMut(&Record) -> bool) -> Option<Record> {
        let behind = self
            .queues
            .iter()
            .filter(|(partition, _)| self.turn.is_some_and(|turn| **partition > turn));
        let mut heads = behind
            .chain(&self.queues)
            .filter_map(|(partition, queue)| Some((*partition, queue.records.front()?)));
        let (partition, _) = heads.find(|(_, record)| has_room_for(record))?;
        let queue = self.queues.get_mut(&partition)?;
        let record = queue.records.pop_front()?;
        queue.bytes -= record.bytes();
        self.bytes -= record.bytes();
        if queue.records.is_empty() {
            self.queues.remove(&partition);
        }
        self.turn = Some(partition);
        Some(record)
    }

    /// The next record of each partition.
    pub fn heads(&self) -> impl Iterator<Item = &Record> {
        self.queues.values().filter_map(|queue| queue.records.front())
    }

    /// Forgets a partition that is given back: another worker will read its records.
    pub fn forget(&mut self, partition: Partition) {
        self.bytes -= self.queues.remove(&partition).unwrap_or_default().bytes;
        // It stays in the set of paused partitions until [`Backlog::paused`] has returned a set
        // without it: otherwise the consumer would pause it again when it comes back.
    }

    /// The partitions that are to be paused now; `None` if these are the same as before. A
    /// partition whose records find room is never paused for the bytes of others.
    pub fn paused(
        &mut self,
        assigned: impl Iterator<Item = Partition> + Clone,
    ) -> Option<BTreeSet<Partition>> {
        let share = HIGH_BYTES / assigned.clone().count().max(1);
        let full = self.bytes >= HIGH_BYTES;
        let is_paused = |partition: &Partition| {
            let Some(Queue { records, bytes }) = self.queues.get(partition) else { return false };
            if self.paused.contains(partition) {
                records.len() > LOW || *bytes > share / LOW_PART
            } else {
                records.len() >= HIGH || full && *bytes >= share
            }
        };
        let paused: BTreeSet<Partition> = assigned.filter(is_paused).collect();
        (paused != self.paused).then(|| {
            self.paused.clone_from(&paused);
            paused
        })
    }

    /// Whether any partition is paused.
    pub fn is_pausing(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Whether no record of a partition waits.
    pub fn has_none_of(&self, partition: Partition) -> bool {
        !self.queues.contains_key(&partition)
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.records.len()).sum()
    }

    /// Whether no record waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: i32, offset: i64) -> Record {
        Record {
            partition: Partition::claims(number),
            offset,
            epoch: 1,
            key: None,
            headers: Vec::new(),
            payload: Some(vec![0; 10]),
            written_at: 0,
        }
    }

    #[test]
    fn keys_and_headers_count_towards_the_backlogs_bytes() {
        let one = || std::iter::once(Partition::claims(1));
        let large = || vec![0; HIGH_BYTES];
        let of_key = Record { key: Some(large()), ..record(1, 0) };
        let of_header = Record { headers: vec![("a".to_owned(), Some(large()))], ..record(1, 0) };
        let of_name = Record { headers: vec![("a".repeat(HIGH_BYTES), None)], ..record(1, 0) };
        for record in [of_key, of_header, of_name] {
            let mut backlog = Backlog::default();
            backlog.push(record);
            assert_eq!(backlog.paused(one()), Some(one().collect()));
            assert!(backlog.pop(|_| true).is_some());
            assert_eq!(backlog.paused(one()), Some(BTreeSet::new()), "its weight goes with it");
        }
    }

    #[test]
    fn a_paused_partition_that_goes_is_told_to_be_paused_no_more() {
        let mut backlog = Backlog::default();
        (0..1_000).for_each(|offset| backlog.push(record(1, offset)));
        let one = || std::iter::once(Partition::claims(1));
        assert_eq!(backlog.paused(one()), Some(one().collect()));
        backlog.forget(Partition::claims(1));
        assert_eq!(
            backlog.paused(std::iter::empty()),
            Some(BTreeSet::new()),
            "or it comes back paused"
        );
        assert_eq!(backlog.paused(one()), None);
    }

    #[test]
    fn partitions_take_turns_and_keep_their_order() {
        let mut backlog = Backlog::default();
        for offset in 0..3 {
            backlog.push(record(1, offset));
            backlog.push(record(2, offset));
        }
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop(|_| true))
            .map(|record| (record.partition.number, record.offset))
            .collect();
        assert_eq!(order, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_partition_without_room_does_not_hold_up_the_others() {
        let mut backlog = Backlog::default();
        backlog.push(record(1, 0));
        backlog.push(record(2, 0));
        assert_eq!(
            backlog
                .pop(|record| record.partition.number == 2)
                .map(|record| record.partition.number),
            Some(2)
        );
        assert_eq!(backlog.pop(|record| record.partition.number == 2), None);
        assert_eq!(backlog.len(), 1);
    }

    #[test]
    fn a_full_partition_is_paused_until_little_is_left() {
        let mut backlog = Backlog::default();
        for offset in 0..i64::try_from(HIGH).expect("small") {
            backlog.push(record(1, offset));
        }
        assert_eq!(
            backlog.paused([1, 2].map(Partition::claims).into_iter()),
            Some(BTreeSet::from([Partition::claims(1)]))
        );
        assert_eq!(backlog.paused([1, 2].map(Partition::claims).into_iter()), None, "said once");
        while backlog.len() > LOW + 1 {
            backlog.pop(|_| true);
        }
        assert_eq!(backlog.paused([1, 2].map(Partition::claims).into_iter()), None, "hysteresis");
        backlog.pop(|_| true);
        assert_eq!(
            backlog.paused([1, 2].map(Partition::claims).into_iter()),
            Some(BTreeSet::new())
        );
    }

    #[test]
    fn a_partition_with_room_is_not_paused_for_others_bytes() {
        let assigned = || [1, 2, 3].map(Partition::claims).into_iter();
        let heavy = |number, offset| Record {
            payload: Some(vec![0; HIGH_BYTES / 2]),
            ..record(number, offset)
        };
        let mut backlog = Backlog::default();
        backlog.push(heavy(1, 0));
        backlog.push(record(2, 0));
        assert_eq!(backlog.paused(assigned()), None, "all together are not too many");
        backlog.push(heavy(1, 1));
        let first = BTreeSet::from([Partition::claims(1)]);
        assert_eq!(backlog.paused(assigned()), Some(first), "neither a light one nor an empty one");
        let mut of_first = || backlog.pop(|record| record.partition == Partition::claims(1));
        assert!(of_first().is_some());
        assert_eq!(backlog.paused(assigned()), None, "it has more than its share still");
        assert!(backlog.pop(|record| record.partition == Partition::claims(1)).is_some());
        assert_eq!(backlog.paused(assigned()), Some(BTreeSet::new()));
    }

    #[test]
    fn a_forgotten_partition_leaves_nothing_behind() {
        let mut backlog = Backlog::default();
        backlog.push(record(1, 0));
        backlog.forget(Partition::claims(1));
        assert_eq!((backlog.len(), backlog.bytes), (0, 0));
    }
}
