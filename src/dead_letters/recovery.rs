//! Replays that were cut short: whether their events are in the input topic, for Kafka alone knows.
//!
//! Only looked for after [`super::producer::ReplayProducer::start`]: from then on, what an earlier
//! command sent is there or never will be.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::DeadLetterError;
use super::address::parse_letter;
use super::event::{REPLAYED_FROM, REPLAYS};
use crate::decision::Source;
use crate::kafka::{Quiet, Settings, read_to_end};
use crate::schema::ReplayId;

/// Clocks differ: the topic is read from so long before the announcement.
const CLOCK_SKEW: Duration = Duration::from_secs(600);
/// The pause before another look at how far the topic is committed.
const LOOK: Duration = Duration::from_millis(200);
/// Another producer's open transaction hides what stands behind it; brokers end one after a minute
/// by default.
const OPEN_TRANSACTION: Duration = Duration::from_secs(90);

/// Finds the events of these replays in the input topic, where they are. Blocks.
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
            "topic {topic:?} (kafka.input_topic) cannot be read, so whether earlier replays took place is not known: {error}"
        ))
    };
    let consumer = settings.quiet_consumer("read_committed").map_err(DeadLetterError::Kafka)?;
    let partitions = settings
        .check_topic(&consumer, "input_topic", &settings.input_topic)
        .map_err(DeadLetterError::Kafka)?;
    wait_for_open_transactions(settings, &consumer, partitions)?;
    let mut found = HashMap::new();
    let topic = &settings.input_topic;
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

/// Waits until all that is in the topic now can be read by a `read_committed` consumer.
fn wait_for_open_transactions(
    settings: &Settings,
    committed: &BaseConsumer<Quiet>,
    partitions: i32,
) -> Result<(), DeadLetterError> {
    let everything = settings.quiet_consumer("read_uncommitted").map_err(DeadLetterError::Kafka)?;
    let deadline = Instant::now() + OPEN_TRANSACTION;
    let end = |consumer: &BaseConsumer<Quiet>, partition| {
        let ends =
            consumer.fetch_watermarks(&settings.input_topic, partition, settings.request_timeout);
        ends.map(|(_, end)| end).map_err(|error| {
            DeadLetterError::Kafka(format!(
                "the end of topic {:?} (kafka.input_topic) cannot be read: {error}",
                settings.input_topic
            ))
        })
    };
    for partition in 0..partitions {
        let written = end(&everything, partition)?;
        while end(committed, partition)? < written {
            if Instant::now() > deadline {
                return Err(DeadLetterError::Kafka(format!(
                    "somebody's transaction has been open in {}/{partition} for long: whether earlier replays took place cannot be \
                     known before it ends; run the command again then",
                    settings.input_topic
                )));
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// The replay that a message says it is.
fn replay_of(message: &BorrowedMessage<'_>) -> Option<ReplayId> {
    let headers = message.headers()?;
    let text = |name| {
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let number = text(REPLAYS)?.parse().ok()?;
    Some(ReplayId { letter: parse_letter(text(REPLAYED_FROM)?)?, number })
}
