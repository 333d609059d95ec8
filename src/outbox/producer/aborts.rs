//! How a transaction that failed is ended.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use tokio::time::Instant;
use tracing::debug;

use super::deliveries::{Deliveries, poll_deliveries};
use super::failure::Failure;

/// How long to wait for the end of a failed transaction, at most twice. While Kafka is away that
/// time is lost, and the start of the next producer ends the transaction in any case. But until
/// then, consumers that read committed records wait for it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// Tries to end a transaction. librdkafka's abort waits for the report of every message that was
/// sent, and does not take reports itself. An abort that overtook a message would leave it open.
pub(super) fn abort(producer: &BaseProducer<Deliveries>) {
    producer.purge(PurgeConfig::default().queue());
    let deadline = Instant::now() + ABORT_TIMEOUT;
    while producer.in_flight_count() > 0 {
        if Instant::now() > deadline {
            return debug!(
                "messages of the transaction are still under way; the next producer ends it"
            );
        }
        poll_deliveries(producer);
    }
    if let Err(error) = producer.abort_transaction(ABORT_TIMEOUT) {
        debug!(error.message = %error,
            "the transaction could not be aborted; the next producer ends it");
    }
}

pub(super) fn needs_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort())
}

/// The cause of a failure: if the producer itself failed, its error says more than a message's.
pub(super) fn cause(producer: &BaseProducer<Deliveries>, failure: Failure) -> Failure {
    match (failure, producer.client().fatal_error()) {
        (Failure::Topic(..), Some((code, _))) => {
            Failure::Aborted(KafkaError::MessageProduction(code))
        }
        (failure, _) => failure,
    }
}
