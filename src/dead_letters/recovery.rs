//! Finds out whether the events of replays that were cut short are in the input topic: only Kafka
//! knows.
//!
//! This is done only after [`super::producer::ReplayProducer::start`]: from then on, an event of an
//! earlier command is in the topic or never will be.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use time::OffsetDateTime;

use super::DeadLetterError;
use super::address::parse_letter;
use super::event::{REPLAYED_FROM, REPLAYS};
use crate::decision::Source;
use crate::intake::consumer::headers;
use crate::intake::header;
use crate::kafka::{Settings, read_to_end, wait_for_open_transactions};
use crate::schema::ReplayId;

/// Clocks differ: the topic is read from this long before the announcement.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Finds those events of these replays that are in the input topic. Blocks.
///
/// # Errors
/// One sentence: the topic could not be read.
pub(super) fn find(
    settings: &Settings,
    replays: &HashSet<ReplayId>,
    announced_since: OffsetDateTime,
) -> Result<HashMap<ReplayId, Source>, DeadLetterError> {
    let said = |error: KafkaError| {
        let topic = &settings.input_topic;
        DeadLetterError::Kafka(format!(
            "topic {topic:?} (kafka.input_topic) cannot be read, so whether earlier replays took \
             place is not known: {error}"
        ))
    };
    let topic = &settings.input_topic;
    let consumer = settings.quiet_consumer("read_committed").map_err(DeadLetterError::Kafka)?;
    let partitions = settings
        .check_topic(&consumer, "input_topic", &settings.input_topic)
        .map_err(DeadLetterError::Kafka)?;
    wait_for_open_transactions(settings, &consumer, ("input_topic", topic), partitions)
        .map_err(DeadLetterError::Kafka)?;
    let mut found = HashMap::new();
    let since = Some(announced_since - CLOCK_SKEW);
    let read = read_to_end(settings, &consumer, (topic, partitions), since, |message| {
        if let Some(replay) = replay_of(message).filter(|replay| replays.contains(replay)) {
            let (topic, partition) = (topic.clone(), message.partition());
            found.insert(replay, Source { topic, partition, offset: message.offset() });
        }
    });
    read.map_err(said)?;
    Ok(found)
}

/// The replay that a message belongs to, by its headers.
fn replay_of(message: &BorrowedMessage<'_>) -> Option<ReplayId> {
    let headers = headers(message);
    let text = |name| std::str::from_utf8(header(&headers, name)?).ok();
    let number = text(REPLAYS)?.parse().ok()?;
    Some(ReplayId { letter: parse_letter(text(REPLAYED_FROM)?)?, number })
}
