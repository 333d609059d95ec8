//! The offsets of a batch, as librdkafka takes them.

use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::intake::Commit;
use crate::kafka::Settings;

/// Commits as librdkafka takes them.
pub(super) fn offsets<'a>(
    settings: &Settings,
    commits: impl IntoIterator<Item = &'a Commit>,
) -> KafkaResult<TopicPartitionList> {
    let mut offsets = TopicPartitionList::new();
    for commit in commits {
        let mut element =
            offsets.add_partition(settings.topic(commit.partition.input), commit.partition.number);
        element.set_offset(Offset::Offset(commit.offset))?;
        element.set_metadata(&commit.metadata);
    }
    Ok(offsets)
}
