//! The messages that the watching thread sees.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::traffic::now_micros;
use claimgate::decision::Source;
use claimgate::intake::Headers;
use claimgate::kafka::Settings;

const POLL: Duration = Duration::from_millis(100);

/// How many partitions the topics have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partitions {
    /// The input topic and the retry topic.
    pub(super) input: i32,
    /// The topics of decisions and of dead letters.
    pub(super) output: i32,
}

/// The messages of each topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages {
    pub(super) decisions: Vec<Message>,
    pub(super) dead_letters: Vec<Message>,
    /// Claims that were deferred in the retry topic.
    pub(super) deferred: Vec<Message>,
}

/// A message of an output topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) place: Source,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Headers,
    /// When it was seen, UNIX microseconds.
    pub(super) seen_at: i64,
}

impl Message {
    /// The payload as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.payload.as_deref().unwrap_or_default()).unwrap_or_default()
    }
}

/// What the thread and its owner share.
pub(super) struct Observer {
    pub(super) consumer: BaseConsumer,
    pub(super) settings: Settings,
    pub(super) partitions: Partitions,
    pub(super) seen: Mutex<Seen>,
    pub(super) stop: AtomicBool,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) messages: Messages,
    /// By topic and partition: the offset after the last message seen.
    next: HashMap<(String, i32), i64>,
}

impl Observer {
    pub(super) fn look(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.consumer.poll(POLL) {
                Some(Ok(read)) => self.keep(message(&read)),
                Some(Err(error)) => tracing::warn!("the demo's own consumer: {error}"),
                None => {}
            }
        }
    }

    fn keep(&self, message: Message) {
        let mut seen = self.seen();
        seen.next.insert(
            (message.place.topic.clone(), message.place.partition),
            message.place.offset + 1,
        );
        let Messages { decisions, dead_letters, deferred } = &mut seen.messages;
        if message.place.topic == self.settings.output_topic {
            decisions.push(message);
        } else if message.place.topic == self.settings.dead_letter_topic {
            dead_letters.push(message);
        } else {
            deferred.push(message);
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_complete(&self) -> KafkaResult<bool> {
        let Settings { input_topic, retry_topic, output_topic, dead_letter_topic, .. } =
            &self.settings;
        // First what was consumed, then what was produced: a claim that moves in between counts as
        // not done.
        for topic in [input_topic, retry_topic] {
            if self.ends(topic, self.partitions.input)? != self.committed(topic)? {
                return Ok(false);
            }
        }
        let next = self.seen().next.clone();
        for topic in [output_topic, dead_letter_topic] {
            for (partition, end) in (0..).zip(self.ends(topic, self.partitions.output)?) {
                if end > next.get(&(topic.clone(), partition)).copied().unwrap_or(0) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn ends(&self, topic: &str, partitions: i32) -> KafkaResult<Vec<i64>> {
        let end = |partition| {
            self.consumer.fetch_watermarks(topic, partition, self.settings.request_timeout)
        };
        (0..partitions).map(|partition| end(partition).map(|(_, end)| end)).collect()
    }

    fn committed(&self, topic: &str) -> KafkaResult<Vec<i64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, self.partitions.input - 1);
        let committed = self.consumer.committed_offsets(list, self.settings.request_timeout)?;
        let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
        Ok(committed.elements().iter().map(|element| offset(element.offset())).collect())
    }
}

fn message(read: &BorrowedMessage<'_>) -> Message {
    let headers = read.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Message {
        place: Source {
            topic: read.topic().to_owned(),
            partition: read.partition(),
            offset: read.offset(),
        },
        key: read.key().map(<[u8]>::to_vec),
        payload: read.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        seen_at: now_micros(),
    }
}
