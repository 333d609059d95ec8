//! Delivery reports: how many came, and what the first bad one said.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tracing::{debug, error};

use crate::kafka::is_outage;
use crate::outbox::message::Topic;

/// Counts delivery reports. They come on the publisher's own thread, within its poll.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) reported: AtomicUsize,
    /// The first message that was not delivered: of which topic, and why. A producer that failed once is not used again.
    pub(super) failed: OnceLock<(Topic, RDKafkaErrorCode)>,
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
        self.reported.fetch_add(1, Ordering::Relaxed);
        if let Err((error, _)) = result
            && let Some(topic) = Topic::ALL.get(topic)
        {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.failed.get_or_init(|| (*topic, code));
        }
    }
}
