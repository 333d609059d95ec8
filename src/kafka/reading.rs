//! A topic, read from some time on until its end: for commands, not for the worker.

use std::collections::HashSet;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use time::OffsetDateTime;

use super::{Quiet, Settings};

/// Hands every record of a topic to `each`, from `since` on if that is given, until the end of each
/// partition was seen. Blocks.
///
/// # Errors
/// The client's: the topic could not be read.
pub(crate) fn read_to_end(
    settings: &Settings,
    consumer: &BaseConsumer<Quiet>,
    (topic, partitions): (&str, i32),
    since: Option<OffsetDateTime>,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), KafkaError> {
    let milliseconds = |time: OffsetDateTime| time.unix_timestamp().saturating_mul(1_000).max(0);
    let from = since.map_or(Offset::Beginning, |since| Offset::Offset(milliseconds(since)));
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, from)?;
    }
    if since.is_some() {
        assignment = consumer.offsets_for_times(assignment, settings.request_timeout)?;
    }
    consumer.assign(&assignment)?;
    let mut ended = HashSet::new();
    while ended.len() < assignment.count() {
        match consumer.poll(settings.request_timeout) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::Canceled),
        }
    }
    Ok(())
}
