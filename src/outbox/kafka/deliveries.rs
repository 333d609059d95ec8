//! Delivery reports: how many came, and how many of them were bad.

use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tracing::{debug, error};

use crate::kafka::is_outage;

/// Counts delivery reports. They come on the publisher's own thread, within its poll.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) reported: AtomicUsize,
    pub(super) failed: AtomicUsize,
    pub(super) too_large: AtomicUsize,
}

impl Deliveries {
    /// Counts from 0 again.
    pub(super) fn start(&self) {
        for counter in [&self.reported, &self.failed, &self.too_large] {
            counter.store(0, Ordering::Relaxed);
        }
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
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        self.reported.fetch_add(1, Ordering::Relaxed);
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                self.too_large.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
