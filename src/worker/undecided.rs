//! Counts the claims that have no published decision, by API, with the age of the oldest. Pure.

use std::collections::BTreeMap;

use super::in_flight::Open;
use crate::intake::Partition;

/// One API's claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many claims.
    pub(super) claims: usize,
    /// How many of them are deferred and not due yet.
    pub(super) deferred: usize,
    /// When the oldest was first admitted, UNIX milliseconds.
    pub(super) first: Option<i64>,
}

/// A count of everything that is undecided.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By the number of the API; `None` for records that name none.
    apis: BTreeMap<Option<usize>, Count>,
    /// When the oldest of a partition was first admitted, UNIX milliseconds.
    partitions: BTreeMap<Partition, i64>,
}

impl Census {
    /// Counts the records in flight and the deferred claims in the waiting room.
    pub(super) fn of(
        in_flight: impl Iterator<Item = (Partition, Open)>,
        waiting: impl Iterator<Item = (Option<usize>, Partition, i64)>,
    ) -> Self {
        let mut census = Self::default();
        for (partition, Open { api, first }) in in_flight {
            census.add(api, partition, first, 0);
        }
        for (api, partition, first) in waiting {
            census.add(api, partition, first, 1);
        }
        census
    }

    fn add(&mut self, api: Option<usize>, partition: Partition, first: i64, deferred: usize) {
        let count = self.apis.entry(api).or_default();
        count.claims += 1;
        count.deferred += deferred;
        count.first = Some(count.first.map_or(first, |oldest| oldest.min(first)));
        let oldest = self.partitions.entry(partition).or_insert(first);
        *oldest = first.min(*oldest);
    }

    /// The claims of an API.
    pub(super) fn of_api(&self, api: Option<usize>) -> Count {
        self.apis.get(&api).copied().unwrap_or_default()
    }

    /// When the oldest record of a partition was first admitted, UNIX milliseconds.
    pub(super) fn of_partition(&self, partition: Partition) -> Option<i64> {
        self.partitions.get(&partition).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_counted_by_api_and_the_oldest_by_partition() {
        let (claims, retry) = (Partition::claims(3), Partition::retry(3));
        let in_flight = [(Some(0), 700), (Some(1), 900), (None, 100)];
        let in_flight = in_flight.map(|(api, first)| (claims, Open { api, first }));
        let waiting = [(Some(0), retry, 500), (None, retry, 400)];
        let census = Census::of(in_flight.into_iter(), waiting.into_iter());
        let count = |claims, deferred, first| Count { claims, deferred, first: Some(first) };
        assert_eq!(census.of_api(Some(0)), count(2, 1, 500));
        assert_eq!(census.of_api(Some(1)), count(1, 0, 900));
        assert_eq!(census.of_api(None), count(2, 1, 100));
        assert_eq!(census.of_api(Some(2)), Count::default());
        assert_eq!(census.of_partition(claims), Some(100));
        assert_eq!(census.of_partition(retry), Some(400));
        assert_eq!(census.of_partition(Partition::claims(0)), None);
    }
}
