//! Assigns and revokes partitions, on the consumer's thread.
//!
//! The invariants: a member has a retry partition if and only if it has the partition of the input
//! topic that it belongs to, see [`pairs`](super::pairs); a revocation waits for the worker, but
//! for a bounded time.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Rebalances;
use crate::intake::{Event, Input, Partition};

impl Rebalances {
    /// Takes on the partitions of the input topic that the group assigns, and the retry partitions
    /// that belong to them, which the group does not assign. It is called at every rebalance, even
    /// without a partition, so it also finds retry partitions that were added meanwhile.
    pub(super) fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        given: &TopicPartitionList,
    ) -> Result<(), String> {
        let take = |partitions: &TopicPartitionList| {
            consumer
                .incremental_assign(partitions)
                .map_err(|error| format!("cannot take partitions on: {error}"))
        };
        if self.events.is_closed() {
            // The worker has ended, and the consumer is about to leave: it only has to answer the
            // group.
            return take(given);
        }
        self.troubles().group = None;
        let counts = self.count_partitions(consumer)?;
        let given: Vec<Partition> = self.partitions(given);
        let held: Vec<Partition> = self.held().keys().copied().collect();
        let beside = counts.beside(held.iter().chain(&given).copied());
        let is_foreign = |partition: &&Partition| {
            partition.input == Input::Retry && !beside.contains(*partition)
        };
        let foreign: Vec<Partition> = held.iter().filter(is_foreign).copied().collect();
        if !foreign.is_empty() {
            // Partitions were added to the input topic, so some retry partitions belong to other
            // members now. This worker wrote nothing to those: they are empty.
            self.give_back(consumer, &foreign)?;
        }
        *self.counts() = counts;
        let new = given
            .into_iter()
            .chain(beside.into_iter().filter(|partition| !held.contains(partition)));
        let (list, assigned) = self.starts(consumer, &new.collect::<Vec<_>>())?;
        let partitions = labels(assigned.iter().map(|assigned| assigned.partition));
        info!(%partitions, "partitions assigned");
        self.held().extend(assigned.iter().map(|assigned| (assigned.partition, assigned.epoch)));
        let now = Instant::now();
        assigned.iter().for_each(|assigned| self.progress().assigned(assigned, now));
        let of = u32::try_from(counts.claims).unwrap_or(0);
        if self.events.blocking_send(Event::Assigned { partitions: assigned, of }).is_err() {
            return Ok(());
        }
        take(&list)
    }

    /// Gives back the partitions that the group takes away, and the retry partitions that belong to
    /// them.
    pub(super) fn revoke(
        &self,
        consumer: &BaseConsumer<Self>,
        taken: &TopicPartitionList,
    ) -> Result<(), String> {
        let mut taken = self.partitions(taken);
        let held: Vec<Partition> = self.held().keys().copied().collect();
        let beside = self
            .counts()
            .beside(held.iter().filter(|partition| !taken.contains(partition)).copied());
        taken
            .extend(held.iter().filter(|partition| {
                partition.input == Input::Retry && !beside.contains(partition)
            }));
        self.give_back(consumer, &taken)
    }

    /// Waits until the worker has released the partitions, at most for `drain_timeout`.
    fn give_back(
        &self,
        consumer: &BaseConsumer<Self>,
        revoked: &[Partition],
    ) -> Result<(), String> {
        let lost = consumer.assignment_lost();
        info!(partitions = %labels(revoked.iter().copied()), lost, "partitions revoked");
        if consumer.assignment_lost() {
            self.let_go(revoked);
            drop(self.events.blocking_send(Event::Lost(revoked.to_vec())));
        } else {
            let (done, is_done) = sync_channel(1);
            let told =
                self.events.blocking_send(Event::Revoked { partitions: revoked.to_vec(), done });
            if told.is_ok()
                && is_done.recv_timeout(self.drain_timeout) == Err(RecvTimeoutError::Timeout)
            {
                warn!(partitions = %labels(revoked.iter().copied()), "the worker did not release \
                     its partitions in time; unfinished records are redelivered");
                drop(self.events.blocking_send(Event::Lost(revoked.to_vec())));
            } else {
                self.commits.wait();
            }
        }
        self.let_go(revoked);
        consumer
            .incremental_unassign(&self.list(revoked))
            .map_err(|error| format!("cannot give partitions back: {error}"))
    }

    fn let_go(&self, partitions: &[Partition]) {
        self.held().retain(|partition, _| !partitions.contains(partition));
        partitions.iter().for_each(|partition| self.progress().revoked(*partition));
    }
}

pub(super) fn labels(partitions: impl Iterator<Item = Partition>) -> String {
    partitions.map(Partition::label).collect::<Vec<_>>().join(" ")
}
