//! Lanes: the claims of one subject are assessed one at a time, in order; claims of different
//! subjects side by side.
//!
//! A lane is the queue behind the head: the one claim of a subject that is being assessed. This
//! module does not know what the head does (a call, a pause before a retry). The invariant: at most
//! one entry of a subject is out (returned, and `leave` not yet called), and entries come out in
//! the order in which they entered.
//!
//! ```
//! use claimgate::intake::lanes::Lanes;
//!
//! let (mut lanes, subject) = (Lanes::default(), 42);
//! assert_eq!(lanes.enter(subject, "first"), Some("first"), "its head: go on with it");
//! assert_eq!(lanes.enter(subject, "second"), None, "it waits behind the first");
//! assert_eq!(lanes.leave(subject), Some("second"));
//! assert_eq!(lanes.leave(subject), None);
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::timetable::take_matching;

/// The most entries that wait behind a head; further ones are to be deferred.
const WAITING_MAX: usize = 64;

/// The queues, by subject. A lane exists while its head is out.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: BTreeMap<u64, VecDeque<T>>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new() }
    }
}

impl<T> Lanes<T> {
    /// Puts an entry at the end of its subject's lane. If the lane was empty, the entry is its head
    /// and is returned at once.
    pub fn enter(&mut self, subject: u64, entry: T) -> Option<T> {
        match self.lanes.get_mut(&subject) {
            Some(queue) => {
                queue.push_back(entry);
                None
            }
            None => {
                self.lanes.insert(subject, VecDeque::new());
                Some(entry)
            }
        }
    }

    /// Whether one more entry may wait behind the subject's head.
    pub fn has_room(&self, subject: u64) -> bool {
        self.lanes.get(&subject).is_none_or(|queue| queue.len() < WAITING_MAX)
    }

    /// The head has ended or was dropped. Returns the next entry of the lane, which is its head
    /// now.
    pub fn leave(&mut self, subject: u64) -> Option<T> {
        let next = self.lanes.get_mut(&subject)?.pop_front();
        if next.is_none() {
            self.lanes.remove(&subject);
        }
        next
    }

    /// Takes out the waiting entries that match. Heads are not among them: the caller drops them
    /// and calls `leave`.
    pub fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let queues = self.lanes.values_mut();
        queues.flat_map(|queue| take_matching(queue, &mut matches)).collect()
    }

    /// Takes the matching entries out of one lane only.
    pub fn take_behind(&mut self, lane: u64, matches: impl FnMut(&T) -> bool) -> VecDeque<T> {
        self.lanes.get_mut(&lane).map(|queue| take_matching(queue, matches)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_subject_has_one_entry_out_and_keeps_its_order(steps in prop::collection::vec((any::<bool>(), 0..4_u64), 1..300)) {
            let mut lanes = Lanes::default();
            let mut out: BTreeMap<u64, usize> = BTreeMap::new();
            let mut seen: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for (index, (enter, subject)) in steps.into_iter().enumerate() {
                let head = if enter {
                    lanes.enter(subject, index)
                } else if out.remove(&subject).is_some() {
                    lanes.leave(subject)
                } else {
                    None
                };
                if let Some(head) = head {
                    prop_assert_eq!(out.insert(subject, head), None, "two entries of one subject are out");
                    seen.entry(subject).or_default().push(head);
                }
            }
            for (subject, order) in seen {
                prop_assert!(order.is_sorted(), "subject {subject} was overtaken: {order:?}");
            }
        }
    }

    #[test]
    fn an_entry_that_is_taken_out_never_becomes_head() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.enter(7, "a"), Some("a"));
        assert_eq!((lanes.enter(7, "b"), lanes.enter(7, "c")), (None, None));
        assert_eq!(lanes.take(|entry| *entry == "b"), ["b"]);
        assert_eq!(lanes.leave(7), Some("c"));
        assert_eq!(lanes.leave(7), None);
        assert_eq!(lanes.enter(7, "d"), Some("d"), "an empty lane is gone");
    }
}
