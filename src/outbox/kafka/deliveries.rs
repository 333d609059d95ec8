//! Delivery reports: how many came, and what the first bad one said.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use tracing::{debug, error};

use crate::kafka::{check_place, is_outage};
use crate::outbox::message::Topic;

/// Counts delivery reports. They come on the publisher's own thread, within its poll.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// By topic, in the order of [`Topic::ALL`].
    reported: [AtomicUsize; 3],
    /// The first message that was not delivered: of which topic, and why. A producer that failed once is not used again.
    pub(super) failed: OnceLock<(Topic, RDKafkaErrorCode)>,
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

    /// A topic of which not every message that was sent has its report.
    pub(super) fn missing(&self, sent: &[usize; 3]) -> Option<Topic> {
        let missing =
            |topic: &Topic| self.reported[*topic as usize].load(Ordering::Relaxed) < sent[*topic as usize];
        Topic::ALL.into_iter().find(missing)
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        // That brokers are away the worker says once, when a batch does not get through.
        if is_outage(&error) {
            debug!(error.message = %error, error.reason = reason, "the producer met an error");
        } else {
            error!(error.message = %error, error.reason = reason, "the producer met an error");
        }
    }
}

impl ProducerContext for Deliveries {
    /// The number of the message's topic, in [`Topic::ALL`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, topic: usize) {
        let Some(topic) = Topic::ALL.get(topic) else { return };
        self.reported[*topic as usize].fetch_add(1, Ordering::Relaxed);
        let taken = match result {
            Ok(message) => check_place(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        if let Err(code) = taken {
            self.failed.get_or_init(|| (*topic, code));
        }
    }
}
