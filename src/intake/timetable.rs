//! Entries in the order in which they are due, and a helper that takes some entries out of a queue.
//! Pure.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

/// Entries in the order in which they are due; those of the same time in the order in which they
/// came.
#[derive(Debug)]
pub struct Timetable<T> {
    entries: BTreeMap<(Instant, u64), T>,
    sequence: u64,
}

impl<T> Default for Timetable<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), sequence: 0 }
    }
}

impl<T> Timetable<T> {
    /// Adds an entry that is due at this time.
    pub fn enter(&mut self, due: Instant, entry: T) {
        self.sequence += 1;
        self.entries.insert((due, self.sequence), entry);
    }

    /// When the first entry is due.
    pub fn due(&self) -> Option<Instant> {
        self.first().map(|(due, _)| due)
    }

    /// The first entry, and when it is due.
    pub fn first(&self) -> Option<(Instant, &T)> {
        self.entries.first_key_value().map(|((due, _), entry)| (*due, entry))
    }

    /// When the first entry that is not due yet becomes due.
    pub fn due_after(&self, now: Instant) -> Option<Instant> {
        self.entries.range((now, u64::MAX)..).next().map(|((due, _), _)| *due)
    }

    /// Takes out the first entry, if it is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        self.entries.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// Makes all entries due at this time; they keep their order.
    pub fn make_due(&mut self, at: Instant) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            self.enter(at, entry);
        }
    }

    /// Takes out the entries that match.
    pub fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> impl Iterator<Item = T> {
        self.entries.extract_if(.., move |_, entry| matches(entry)).map(|(_, entry)| entry)
    }

    /// All entries, in the order in which they are due.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Takes out of a queue the entries that match; the others stay in their order.
pub fn take_matching<T>(
    queue: &mut VecDeque<T>,
    mut matches: impl FnMut(&T) -> bool,
) -> VecDeque<T> {
    let (taken, left) = std::mem::take(queue).into_iter().partition(|entry| matches(entry));
    *queue = left;
    taken
}
