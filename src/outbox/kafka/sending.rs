//! Sending the messages of one flush, and waiting until Kafka has them all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::Instant;
use tracing::warn;

use super::deliveries::Deliveries;
use super::transactions::Transactions;
use crate::outbox::message::{Message, Topic};

/// The pause between two looks for delivery reports.
const LOOK: Duration = Duration::from_micros(300);

/// librdkafka's own bound on a batch.
const BATCH_MAX_BYTES: usize = 1_000_000;
/// Nothing that is published fits into less.
const MAX_BYTES_LEAST: usize = 512;
/// How a transaction failed, and what is known of it.
pub(super) enum Failure {
    /// It never took place.
    Aborted(KafkaError),
    /// It never took place, for this topic did not take a message.
    Refused(Topic, RDKafkaErrorCode),
    /// Perhaps it took place.
    Uncertain(KafkaError),
}

/// Takes the delivery reports that are there, or waits a little. rdkafka's own waiting ends when its time is over, however early a
/// report comes, and spins through the last millisecond: it would be the longest part of a flush.
pub(super) fn look(producer: &BaseProducer<Deliveries>) {
    let deliveries = producer.context();
    let before = deliveries.reported();
    producer.poll(Duration::ZERO);
    if deliveries.reported() == before {
        std::thread::sleep(LOOK);
    }
}

impl Transactions {
    /// Sends every message and waits for every report.
    pub(super) fn deliver(
        &self,
        producer: &BaseProducer<Deliveries>,
        messages: &[Message],
    ) -> Result<(), Failure> {
        let deliveries = producer.context();
        deliveries.start();
        let deadline = Instant::now() + self.settings.transaction_timeout;
        let mut sent = [0; 3];
        for message in messages {
            self.enqueue(producer, message, deadline)?;
            sent[message.topic as usize] += 1;
        }
        while let Some(topic) = deliveries.missing(&sent) {
            if Instant::now() > deadline {
                return Err(self.refused(topic, RDKafkaErrorCode::MessageTimedOut));
            }
            look(producer);
        }
        match deliveries.failed.get() {
            None => Ok(()),
            Some((topic, code)) => Err(self.refused(*topic, *code)),
        }
    }

    fn enqueue(
        &self,
        producer: &BaseProducer<Deliveries>,
        message: &Message,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            // A header's name cannot hold a NUL on its way through C.
            let key: &str = if key.contains('\0') { "claimgate-unreadable-header" } else { key };
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let topic = self.topic(message.topic);
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, message.topic as usize).headers(headers);
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        record.partition = message.partition.and_then(|number| self.consumer.context().retry_of(number));
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    look(producer);
                    record = back;
                }
                Err((error, _)) => {
                    return Err(match error.rdkafka_error_code() {
                        Some(code) => self.refused(message.topic, code),
                        None => Failure::Aborted(error),
                    });
                }
            }
        }
    }

    pub(super) fn topic(&self, topic: Topic) -> &str {
        match topic {
            Topic::Decisions => &self.settings.output_topic,
            Topic::DeadLetters => &self.settings.dead_letter_topic,
            Topic::Retry => &self.settings.retry_topic,
        }
    }

    /// A topic does not take a message. If it takes less than librdkafka knows, what is made for it from now on is smaller.
    fn refused(&self, topic: Topic, code: RDKafkaErrorCode) -> Failure {
        if code == RDKafkaErrorCode::MessageSizeTooLarge {
            let max_bytes = &self.max_bytes[topic as usize];
            let smaller = (max_bytes.load(Ordering::Relaxed) / 2).max(MAX_BYTES_LEAST);
            warn!(
                kafka.topic = self.topic(topic),
                max_bytes = smaller,
                "a message is too large for its topic; larger ones are cut from now on"
            );
            max_bytes.store(smaller, Ordering::Relaxed);
        }
        Failure::Refused(topic, code)
    }

    /// No batch is larger than a message may be for the topic that takes least: the broker weighs batches, not messages.
    pub(super) fn batch_bytes(&self) -> usize {
        let least = self.max_bytes.iter().map(|max_bytes| max_bytes.load(Ordering::Relaxed)).min();
        least.unwrap_or(BATCH_MAX_BYTES).clamp(1, BATCH_MAX_BYTES)
    }
}
