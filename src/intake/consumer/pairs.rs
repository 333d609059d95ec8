//! Which partition of the input topic each retry partition belongs to.
//!
//! Pure. The group assigns only the partitions of the input topic. A member that has `claims/p`
//! also has every `retry/r` with `r mod (partitions of the input topic) = p`. The invariant: while
//! every partition of the input topic has an owner, every retry partition has exactly one. A
//! deferred claim goes to `retry/(p mod partitions of the retry topic)`; if both topics have the
//! same number of partitions, that is the retry partition with the number of its own.

use std::collections::BTreeSet;

use crate::intake::{Input, Partition};

/// How many partitions each topic has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) claims: i32,
    pub(super) retry: i32,
}

impl Counts {
    /// The retry partitions that belong to these partitions of the input topic. Partitions of other
    /// topics are ignored.
    pub(super) fn beside(self, held: impl IntoIterator<Item = Partition>) -> BTreeSet<Partition> {
        let held: BTreeSet<i32> = held
            .into_iter()
            .filter(|partition| partition.input == Input::Claims)
            .map(|partition| partition.number)
            .collect();
        let goes_with = |number: &i32| {
            number.checked_rem(self.claims).is_some_and(|beside| held.contains(&beside))
        };
        (0..self.retry).filter(goes_with).map(Partition::retry).collect()
    }

    /// Whether one of the topics has more partitions here than there.
    pub(super) fn exceeds(self, other: Self) -> bool {
        self.claims > other.claims || self.retry > other.retry
    }

    /// The retry partition for records that were read from the partition with this number, of
    /// either topic.
    pub(super) fn retry_of(self, number: i32) -> Option<i32> {
        number.checked_rem(self.retry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn partitions_of_the_same_number_go_together() {
        let counts = Counts { claims: 3, retry: 3 };
        let beside =
            counts.beside([Partition::claims(0), Partition::claims(2), Partition::retry(1)]);
        assert_eq!(beside, [Partition::retry(0), Partition::retry(2)].into());
        assert_eq!(Counts::default().beside([Partition::claims(0)]), [].into());
        assert_eq!(Counts::default().retry_of(0), None);
    }

    proptest! {
        #[test]
        fn every_retry_partition_has_one_owner(claims in 1..20_i32, retry in 0..40_i32, members in 1..6_i32) {
            let counts = Counts { claims, retry };
            let dealt = |member| (0..claims).filter(move |number| number % members == member).map(Partition::claims);
            let mut all: Vec<Partition> = (0..members).flat_map(|member| counts.beside(dealt(member))).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..retry).map(Partition::retry).collect::<Vec<_>>());
        }

        #[test]
        fn a_deferred_claim_stays_with_its_worker(
            claims in 1..20_i32, more in 0..20_i32, number in 0..20_i32,
        ) {
            let (counts, number) = (Counts { claims, retry: claims + more }, number % claims);
            let to = counts.retry_of(number).map(Partition::retry).expect("there are partitions");
            prop_assert!(counts.beside([Partition::claims(number)]).contains(&to));
            // Also when it is deferred again.
            prop_assert_eq!(counts.retry_of(to.number), Some(to.number));
        }
    }
}
