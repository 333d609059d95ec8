//! When to look for partitions without an owner, and which of them have had no owner for too long.
//!
//! Pure: time is an argument. The invariant: a member looks at least once a minute, however long
//! ago the last assignment was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// The pause between two looks, while an assignment is new…
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// …and afterwards: the group may not have been in a state to be asked until then.
const LOOK_SELDOM: Duration = Duration::from_secs(60);

/// What is remembered from one look to the next.
#[derive(Debug)]
pub(super) struct Looks {
    /// How long a partition may have no owner while it moves.
    max_wait: Duration,
    /// The number of the last assignment.
    epoch: u32,
    /// The assignment is new until then.
    until: Instant,
    /// When the member last looked.
    looked: Instant,
    /// Since when each orphan has been seen without an owner.
    since: BTreeMap<i32, Instant>,
}

impl Looks {
    pub(super) fn new(max_wait: Duration, now: Instant) -> Self {
        let mut looks =
            Self { max_wait, epoch: 0, until: now, looked: now, since: BTreeMap::new() };
        looks.begin(now);
        looks
    }

    /// Looks often from now on: for longer than a rebalance takes, and an orphan is waited for.
    fn begin(&mut self, now: Instant) {
        self.until = now + 2 * self.max_wait + 2 * LOOK_EVERY;
    }

    /// Whether to look now. `epoch` is the number of this member's last assignment.
    pub(super) fn is_due(&mut self, epoch: u32, now: Instant) -> bool {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.begin(now);
        }
        let is_due = now <= self.until
            || !self.since.is_empty()
            || now.saturating_duration_since(self.looked) >= LOOK_SELDOM;
        if is_due {
            self.looked = now;
        }
        is_due
    }

    /// Nobody has these partitions. Returns which of them have had no owner for too long.
    pub(super) fn found(&mut self, orphans: &BTreeSet<i32>, now: Instant) -> Vec<i32> {
        self.since.retain(|number, _| orphans.contains(number));
        for number in orphans {
            self.since.entry(*number).or_insert(now);
        }
        let late = self
            .since
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) > self.max_wait);
        late.map(|(number, _)| *number).collect()
    }

    /// The group was asked to rebalance: forgets what was seen, and looks often again.
    pub(super) fn rescued(&mut self, now: Instant) {
        self.since.clear();
        self.begin(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(15);

    /// When the member looks within the first five minutes of an assignment, in seconds.
    fn looked(looks: &mut Looks, epoch: u32, from: Instant) -> Vec<u64> {
        let at = |second: &u64| from + Duration::from_secs(*second);
        (5..=300).step_by(5).filter(|second| looks.is_due(epoch, at(second))).collect()
    }

    #[test]
    fn a_member_looks_often_after_an_assignment_and_then_once_a_minute() {
        let now = Instant::now();
        let mut looks = Looks::new(MAX_WAIT, now);
        let often: Vec<u64> = (5..=45).step_by(5).collect();
        let seen = looked(&mut looks, 1, now);
        assert_eq!(seen, [&often[..], &[105, 165, 225, 285]].concat());
        let again = now + Duration::from_secs(3_600);
        let seen = looked(&mut looks, 1, again);
        assert_eq!(seen, [5, 65, 125, 185, 245], "an hour later");
        let seen = looked(&mut looks, 2, again + Duration::from_secs(300));
        assert!(seen.starts_with(&often), "another assignment: {seen:?}");
    }

    #[test]
    fn a_partition_that_was_orphaned_long_after_the_assignment_is_found() {
        let now = Instant::now();
        let at = |second: u64| now + Duration::from_secs(second);
        let mut looks = Looks::new(MAX_WAIT, now);
        // The group could not be asked, or said nothing, while the assignment was new.
        for second in (5..600).step_by(5) {
            if looks.is_due(1, at(second)) {
                assert!(looks.found(&BTreeSet::new(), at(second)).is_empty());
            }
        }
        let orphans = BTreeSet::from([3, 7]);
        let mut late = None;
        for second in (600..720).step_by(5) {
            if looks.is_due(1, at(second)) && !looks.found(&orphans, at(second)).is_empty() {
                late.get_or_insert(second);
            }
        }
        let late = late.expect("it is found");
        // A look each minute; then one every five seconds for as long as a partition may move.
        assert!(late <= 600 + 60 + 15 + 5, "found after {late} s");
        assert_eq!(looks.found(&orphans, at(720)), [3, 7]);
        assert_eq!(looks.found(&BTreeSet::from([7]), at(721)), [7], "3 has found an owner");
        looks.rescued(at(722));
        assert!(looks.found(&orphans, at(723)).is_empty(), "the group rebalances");
    }
}
