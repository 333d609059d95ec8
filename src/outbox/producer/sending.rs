//! Sending the messages of one flush, and waiting until Kafka has them all.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::Instant;

use super::deliveries::{Deliveries, Label, poll_deliveries};
use super::failure::{Failure, Refused};
use super::transactions::Transactions;
use crate::intake::consumer::SharedConsumer;
use crate::kafka::Guarantee;
use crate::outbox::message::{Parcel, Refusal, Topic};

/// Messages of one topic that may be in one batch. The broker weighs batches, not messages: a topic
/// that takes little gets a batch, and the next when that is acknowledged. The client's own bound
/// on batches is one for all topics.
#[derive(Debug, Clone, Copy)]
struct Wave {
    messages: usize,
    bytes: usize,
    together: usize,
}

impl Wave {
    const EMPTY: Self = Self { messages: 0, bytes: 0, together: usize::MAX };

    fn admits(&self, parcel: &Parcel, limit: Option<usize>) -> bool {
        let fits = limit.is_none_or(|limit| self.bytes + parcel.weight <= limit);
        self.messages == 0 || (fits && self.messages < self.together.min(parcel.together))
    }

    fn add(&mut self, parcel: &Parcel) {
        self.messages += 1;
        self.bytes += parcel.weight;
        self.together = self.together.min(parcel.together);
    }
}

/// One flush on its way.
struct Delivery<'a> {
    producer: &'a BaseProducer<Deliveries>,
    consumer: &'a SharedConsumer,
    deadline: Instant,
    /// By topic, in the order of [`Topic::ALL`].
    sent: [usize; 3],
    /// Whether the first refusal ends it: then nothing of the transaction will be visible.
    all_or_nothing: bool,
}

impl Delivery<'_> {
    fn is_over(&self) -> bool {
        self.all_or_nothing && self.producer.context().has_failed()
    }

    /// Waits until a topic has acknowledged, or refused, everything that was sent to it.
    fn wait(&self, topic: Topic) -> Result<(), Failure> {
        let deliveries = self.producer.context();
        while !deliveries.has_all(topic, self.sent[topic as usize]) && !self.is_over() {
            if Instant::now() > self.deadline {
                return Err(Failure::Topic(topic, RDKafkaErrorCode::MessageTimedOut));
            }
            poll_deliveries(self.producer);
        }
        Ok(())
    }

    fn enqueue(&mut self, name: &str, parcel: &Parcel) -> Result<(), Failure> {
        let message = &parcel.message;
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            // A header's name cannot hold a NUL on its way through C.
            let key: &str = if key.contains('\0') { "claimgate-unreadable-header" } else { key };
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let label = Label { draft: parcel.draft, topic: message.topic };
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(name, label.pack()).headers(headers);
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        record.partition =
            message.partition.and_then(|number| self.consumer.context().retry_of(number));
        self.sent[message.topic as usize] += 1;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < self.deadline =>
                {
                    poll_deliveries(self.producer);
                    record = back;
                }
                Err((error, _)) => {
                    let code = error.rdkafka_error_code().ok_or(Failure::Aborted(error))?;
                    self.producer.context().fail(label, code);
                    return Ok(());
                }
            }
        }
    }
}

impl Transactions {
    /// Sends every message and waits for every report.
    pub(super) fn deliver(
        &self,
        producer: &BaseProducer<Deliveries>,
        parcels: &[Parcel],
    ) -> Result<(), Failure> {
        producer.context().start();
        let batch = self.batch_max_bytes;
        // The client's own bound is enough for a topic that takes as much.
        let limits = self.bounds.limits().map(|limit| Some(limit).filter(|limit| *limit < batch));
        let mut delivery = Delivery {
            producer,
            consumer: &self.consumer,
            deadline: Instant::now() + self.settings.transaction_timeout,
            sent: [0; 3],
            all_or_nothing: self.settings.guarantee == Guarantee::ExactlyOnce,
        };
        let mut waves = [Wave::EMPTY; 3];
        for parcel in parcels {
            let topic = parcel.message.topic;
            if !waves[topic as usize].admits(parcel, limits[topic as usize]) {
                delivery.wait(topic)?;
                waves[topic as usize] = Wave::EMPTY;
            }
            if delivery.is_over() {
                break;
            }
            waves[topic as usize].add(parcel);
            delivery.enqueue(self.settings.output(topic), parcel)?;
        }
        for topic in Topic::ALL {
            delivery.wait(topic)?;
        }
        self.delivered(producer.context(), parcels)
    }

    /// What the reports say, all of them being there.
    fn delivered(&self, deliveries: &Deliveries, parcels: &[Parcel]) -> Result<(), Failure> {
        let failed = deliveries.failed();
        let is_failed = |draft: usize| failed.iter().any(|failed| failed.label.draft == draft);
        let refusals: Vec<Refusal> = failed
            .iter()
            .filter(|failed| is_refusal(failed.code))
            .map(|failed| Refusal {
                draft: failed.label.draft,
                too_large: is_about_size(failed.code),
                alone: failed.code == RDKafkaErrorCode::InvalidRecord,
            })
            .collect();
        let Some(first) = failed.first() else { return Ok(()) };
        if refusals.is_empty() {
            return Err(Failure::Topic(first.label.topic, first.code));
        }
        let code = failed
            .iter()
            .find(|failed| is_refusal(failed.code))
            .map_or(first.code, |failed| failed.code);
        let delivered = parcels.iter().map(|parcel| parcel.draft);
        // Of a transaction that is aborted nothing is.
        let keeps = self.settings.guarantee == Guarantee::AtLeastOnce;
        let delivered = delivered.filter(|draft| keeps && !is_failed(*draft)).collect();
        Err(Failure::Refused(Refused { refusals, delivered, code }))
    }
}

/// Whether a topic will never take this very message, or one of its batch.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    let refusals = [
        RDKafkaErrorCode::InvalidMessageSize,
        RDKafkaErrorCode::InvalidRecord,
        RDKafkaErrorCode::InvalidTimestamp,
        RDKafkaErrorCode::PolicyViolation,
        RDKafkaErrorCode::UnsupportedForMessageFormat,
    ];
    is_about_size(code) || refusals.contains(&code)
}

fn is_about_size(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::message::Message;

    fn parcel(weight: usize, together: usize) -> Parcel {
        let message = Message {
            topic: Topic::Retry,
            partition: None,
            key: None,
            payload: None,
            headers: Vec::new(),
        };
        Parcel { draft: 0, message, weight, together }
    }

    /// How many of these messages go into the first batch.
    fn first_wave(parcels: &[Parcel], limit: Option<usize>) -> usize {
        let mut wave = Wave::EMPTY;
        parcels
            .iter()
            .take_while(|parcel| wave.admits(parcel, limit).then(|| wave.add(parcel)).is_some())
            .count()
    }

    #[test]
    fn a_wave_keeps_the_bounds_of_its_topic_and_its_messages() {
        let light = || parcel(400, usize::MAX);
        assert_eq!(first_wave(&[light(), light(), light()], Some(1_000)), 2);
        assert_eq!(
            first_wave(&[parcel(4_000, 1), light()], Some(1_000)),
            1,
            "too heavy for the topic: it goes alone"
        );
        assert_eq!(first_wave(&[light(), light(), light()], None), 3);
        assert_eq!(first_wave(&[light(), parcel(400, 2), light()], None), 2);
        assert_eq!(first_wave(&[light(), parcel(400, 1)], None), 1);
    }
}
