//! Whether offsets may still be committed, and whether they were.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::transactions::Transactions;
use crate::intake::Commit;
use crate::kafka::metadata;

impl Transactions {
    /// Whether the doubtful commit took place: it did if the group has exactly what it said, for
    /// nobody else commits for a partition that was this worker's all the while. Partitions that
    /// are not in `live` were lost since, and say nothing.
    pub(super) fn took_place(&self, doubt: &[Commit], live: &[Commit]) -> KafkaResult<bool> {
        let live = |commit: &&Commit| live.iter().any(|live| live.partition == commit.partition);
        let said: Vec<&Commit> = doubt.iter().filter(live).collect();
        let topic = |commit: &Commit| self.settings.topic(commit.partition.input);
        let mut partitions = TopicPartitionList::new();
        for commit in &said {
            partitions.add_partition(topic(commit), commit.partition.number);
        }
        let committed =
            self.consumer.committed_offsets(partitions, self.settings.request_timeout)?;
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
