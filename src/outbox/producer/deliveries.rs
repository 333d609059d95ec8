//! Delivery reports: how many came, and which messages their topics refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use tracing::{debug, error};

use crate::kafka::{check_place, is_outage};
use crate::outbox::message::Topic;

/// The pause between two looks for delivery reports.
const LOOK: Duration = Duration::from_micros(300);

/// Counts delivery reports. They come on the publisher's own thread, within its poll.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// By topic, in the order of [`Topic::ALL`].
    reported: [AtomicUsize; 3],
    /// The messages that were not delivered.
    failed: Mutex<Vec<Undelivered>>,
}

/// A message that was not delivered. A producer that failed once is not used again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Undelivered {
    pub(super) label: Label,
    pub(super) code: RDKafkaErrorCode,
}

/// What a message carries through the client: its draft's number, and its topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) draft: usize,
    pub(super) topic: Topic,
}

impl Label {
    pub(super) fn pack(self) -> usize {
        self.draft * Topic::ALL.len() + self.topic as usize
    }

    fn unpack(packed: usize) -> Self {
        Self { draft: packed / Topic::ALL.len(), topic: Topic::ALL[packed % Topic::ALL.len()] }
    }
}

impl Deliveries {
    /// Counts from 0 again.
    pub(super) fn start(&self) {
        self.reported.iter().for_each(|reported| reported.store(0, Ordering::Relaxed));
    }

    /// How many reports came.
    pub(super) fn reported(&self) -> usize {
        self.reported.iter().map(|reported| reported.load(Ordering::Relaxed)).sum()
    }

    /// Whether every message that was sent to this topic has its report.
    pub(super) fn has_all(&self, topic: Topic, sent: usize) -> bool {
        self.reported[topic as usize].load(Ordering::Relaxed) >= sent
    }

    /// Notes a message that was not even sent.
    pub(super) fn fail(&self, label: Label, code: RDKafkaErrorCode) {
        self.reported[label.topic as usize].fetch_add(1, Ordering::Relaxed);
        self.failed_now().push(Undelivered { label, code });
    }

    /// Whether any message was not delivered.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed_now().is_empty()
    }

    /// The messages that were not delivered.
    pub(super) fn failed(&self) -> Vec<Undelivered> {
        self.failed_now().clone()
    }

    fn failed_now(&self) -> MutexGuard<'_, Vec<Undelivered>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        // That brokers are away the worker says once, when a batch does not get through.
        if is_outage(&error) {
            debug!(error.message = %error, error.reason = reason, "the producer reported an error");
        } else {
            error!(error.message = %error, error.reason = reason, "the producer reported an error");
        }
    }
}

impl ProducerContext for Deliveries {
    /// A packed [`Label`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, packed: usize) {
        let label = Label::unpack(packed);
        let taken = match result {
            Ok(message) => check_place(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        match taken {
            Ok(()) => drop(self.reported[label.topic as usize].fetch_add(1, Ordering::Relaxed)),
            Err(code) => self.fail(label, code),
        }
    }
}

/// Takes the delivery reports that are there, or waits a little. rdkafka's own waiting ends when
/// its time is over, however early a report comes, and spins through the last millisecond: it would
/// be the longest part of a flush.
pub(super) fn poll_deliveries(producer: &BaseProducer<Deliveries>) {
    let deliveries = producer.context();
    let before = deliveries.reported();
    producer.poll(Duration::ZERO);
    if deliveries.reported() == before {
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_was_written() {
        for topic in Topic::ALL {
            let label = Label::unpack(Label { draft: 4_711, topic }.pack());
            assert_eq!((label.draft, label.topic), (4_711, topic));
        }
    }
}
