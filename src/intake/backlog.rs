//! The backlog: records that were read and are not taken on yet, for want of room.
//!
//! Pure. Partitions take turns, so that a full one does not hold up the others. It is bounded by
//! pausing: [`Backlog::paused`] says which partitions to pause, with hysteresis, for a pause costs
//! Kafka's client its prefetched records.
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

/// A partition with so many records waiting is paused…
const HIGH: usize = 1_000;
/// …until so few are left.
const LOW: usize = 250;
/// With so many bytes waiting, every partition is paused.
const HIGH_BYTES: usize = 32 << 20;

/// Records that wait, by partition.
#[derive(Debug, Default)]
pub struct Backlog {
    queues: BTreeMap<Partition, VecDeque<Record>>,
    paused: BTreeSet<Partition>,
    bytes: usize,
    /// Whose record was taken last.
    turn: Option<Partition>,
}

impl Backlog {
    /// Adds a record behind those of its partition.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.queues.entry(record.partition).or_default().push_back(record);
    }

    /// Takes the next record of a partition that has room for it, each partition in its turn.
    pub fn pop(&mut self, mut has_room_for: impl FnMut(&Record) -> bool) -> Option<Record> {
        let behind = self
            .queues
            .iter()
            .filter(|(partition, _)| self.turn.is_some_and(|turn| **partition > turn));
        let mut heads = behind
            .chain(&self.queues)
            .filter_map(|(partition, queue)| Some((*partition, queue.front()?)));
        let (partition, _) = heads.find(|(_, record)| has_room_for(record))?;
        let queue = self.queues.get_mut(&partition)?;
        let record = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&partition);
        }
        self.turn = Some(partition);
        self.bytes -= record.bytes();
        Some(record)
    }

    /// The next record of each partition.
    pub fn heads(&self) -> impl Iterator<Item = &Record> {
        self.queues.values().filter_map(VecDeque::front)
    }

    /// Forgets a partition that is given back: somebody else will read its records.
    pub fn forget(&mut self, partition: Partition) {
        for record in self.queues.remove(&partition).unwrap_or_default() {
            self.bytes -= record.bytes();
        }
        // It stays among the paused until [`Backlog::paused`] has told so: whoever pauses for us
        // would pause it again when it comes back.
    }

    /// The partitions that are to be paused now; `None` where that is as it was.
    pub fn paused(
        &mut self,
        assigned: impl Iterator<Item = Partition>,
    ) -> Option<BTreeSet<Partition>> {
        let waiting = |partition: &Partition| self.queues.get(partition).map_or(0, VecDeque::len);
        let full = self.bytes >= HIGH_BYTES;
        let is_paused = |partition: &Partition| {
            full || waiting(partition) >= HIGH
                || (waiting(partition) > LOW && self.paused.contains(partition))
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

    /// Whether a partition has no record that waits.
    pub fn has_none_of(&self, partition: Partition) -> bool {
        !self.queues.contains_key(&partition)
    }

    /// Records that wait.
    pub fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Whether none waits.
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
    fn review_09_keys_and_headers_weigh_as_much_as_payloads() {
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
    fn a_forgotten_partition_leaves_nothing_behind() {
        let mut backlog = Backlog::default();
        backlog.push(record(1, 0));
        backlog.forget(Partition::claims(1));
        assert_eq!((backlog.len(), backlog.bytes), (0, 0));
    }
}
