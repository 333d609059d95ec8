//! Whether offsets may still be committed, and whether they were.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::transactions::Transactions;
use crate::intake::Commit;
use crate::kafka::metadata;

/// A batch whose commit has an unknown result, and what that commit said.
#[derive(Debug, Default)]
pub(super) struct Doubt(Option<(u64, Vec<Commit>)>);

impl Doubt {
    pub(super) fn of(batch: u64, commits: Vec<Commit>) -> Self {
        Self(Some((batch, commits)))
    }

    /// Ends the doubt, and returns what is to be asked before `batch` is tried. Doubt about another
    /// batch is void: all of its records' assignments have ended, so it never comes again, and what
    /// was read at the new ones is known.
    pub(super) fn take(&mut self, batch: u64) -> Option<Vec<Commit>> {
        let (doubtful, commits) = self.0.take()?;
        (doubtful == batch).then_some(commits)
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there is doubt about a batch of which no assignment holds any more: the worker has
    /// dropped it and does not try it again.
    pub(super) fn is_void(&self, holds: impl Fn(&Commit) -> bool) -> bool {
        self.0.as_ref().is_some_and(|(_, commits)| !commits.iter().any(holds))
    }
}

impl Transactions {
    /// Whether the doubtful commit took place: it did if the group has exactly what it said, for
    /// nobody else commits for a partition that was this worker's all the while. Partitions that
    /// were lost since say nothing, even if the worker has not heard of it yet: their new owners
    /// may have committed.
    pub(super) fn took_place(&self, doubt: &[Commit]) -> KafkaResult<bool> {
        let rebalances = self.consumer.context();
        let is_held = |commit: &&Commit| rebalances.holds(std::slice::from_ref(*commit));
        let mut said: Vec<&Commit> = doubt.iter().filter(is_held).collect();
        if said.is_empty() {
            return Ok(false);
        }
        let topic = |commit: &Commit| self.settings.topic(commit.partition.input);
        let mut partitions = TopicPartitionList::new();
        for commit in &said {
            partitions.add_partition(topic(commit), commit.partition.number);
        }
        let committed =
            self.consumer.committed_offsets(partitions, self.settings.request_timeout)?;
        // The answer may be good and deny one partition's offset, as while this principal may not
        // see the topic. Such a partition has no offset, but that says nothing.
        committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
        // What was lost while the group was asked may have been committed by another, too.
        said.retain(is_held);
        let has = |commit: &&Commit| {
            let found = committed.find_partition(topic(commit), commit.partition.number);
            found.is_some_and(|found| {
                found.offset() == Offset::Offset(commit.offset)
                    && metadata(&found) == commit.metadata
            })
        };
        Ok(!said.is_empty() && said.iter().all(has))
    }

    /// A partition may have gone since the commits were planned, and the member may be in its group
    /// again: the group would not refuse them.
    pub(super) fn check_held(&self, commits: &[Commit]) -> KafkaResult<()> {
        if self.consumer.context().holds(commits) {
            return Ok(());
        }
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::CommitMode;

    use super::super::following::tests::{idle, services};
    use super::super::offsets::offsets;
    use super::*;
    use crate::intake::Partition;
    use crate::intake::consumer::alone;

    fn commit(partition: Partition, offset: i64) -> Commit {
        Commit { partition, epoch: 1, offset, metadata: String::new() }
    }

    /// A publisher whose worker has these partitions.
    fn with(held: &[Partition], transactions: Transactions) -> Transactions {
        let held: Vec<(Partition, u32)> = held.iter().map(|partition| (*partition, 1)).collect();
        Transactions { consumer: alone(&transactions.settings, &held), ..transactions }
    }

    #[test]
    fn doubt_ends_with_the_next_batch_whichever_that_is() {
        let (partition, metadata) = (Partition::claims(0), String::new());
        let commits = vec![Commit { partition, epoch: 1, offset: 7, metadata }];
        for (next, asked) in [(3, Some(commits.clone())), (4, None)] {
            let mut doubt = Doubt::of(3, commits.clone());
            assert!(doubt.is_open());
            assert_eq!(doubt.take(next), asked, "batch {next}");
            assert!(!doubt.is_open(), "batch {next}");
        }
    }

    /// It counted as a commit that did not take place, and the batch could be published twice.
    #[test]
    fn an_error_of_one_partition_leaves_the_doubt() {
        let (broker, runtime) = services();
        let transactions = with(&[0, 9].map(Partition::retry), idle(&broker, &runtime));
        let took_place = |number| transactions.took_place(&[commit(Partition::retry(number), 7)]);
        assert_eq!(took_place(0), Ok(false), "nothing was committed");
        // The broker's answer is good, but for this partition, which does not exist.
        let code = RDKafkaErrorCode::UnknownTopicOrPartition;
        assert_eq!(took_place(9), Err(KafkaError::OffsetFetch(code)));
    }

    /// The worker has not heard yet that one of the partitions was lost. What its new owner commits
    /// counted as a commit that did not take place, and the rest of the batch could be published
    /// twice.
    #[test]
    fn what_another_worker_commits_says_nothing_of_a_doubtful_commit() {
        let (broker, runtime) = services();
        let (kept, lost) = (Partition::retry(0), Partition::claims(0));
        let transactions = with(&[kept], idle(&broker, &runtime));
        let settings = &transactions.settings;
        broker.create_topic(&settings.input_topic, 1, 1).expect("it is made");
        let committed = offsets(settings, &[commit(kept, 7), commit(lost, 9)]).expect("offsets");
        transactions.consumer.commit(&committed, CommitMode::Sync).expect("committed");
        let doubt = [commit(kept, 7), commit(lost, 7)];
        assert_eq!(transactions.took_place(&doubt), Ok(true));
        let transactions = with(&[], transactions);
        assert_eq!(transactions.took_place(&doubt), Ok(false), "nothing of it can be published");
    }

    #[test]
    fn doubt_is_void_once_no_assignment_of_its_batch_holds() {
        let commit = |number| {
            let (partition, metadata) = (Partition::claims(number), String::new());
            Commit { partition, epoch: 1, offset: 7, metadata }
        };
        let doubt = Doubt::of(3, vec![commit(0), commit(1)]);
        assert!(!doubt.is_void(|commit| commit.partition == Partition::claims(1)));
        assert!(doubt.is_void(|commit| commit.partition == Partition::claims(2)));
        assert!(!Doubt::default().is_void(|_| false), "there is none");
    }
}
