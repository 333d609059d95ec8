//! How a flush failed.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::outbox::message::{Refusal, Topic};

/// How a flush failed, and what is known of it.
pub(super) enum Failure {
    /// It never took place.
    Aborted(KafkaError),
    /// It never took place, because this topic accepts no messages.
    Topic(Topic, RDKafkaErrorCode),
    /// It never took place, because topics refused messages for good.
    Refused(Refused),
    /// Perhaps it took place.
    Uncertain(KafkaError),
    /// Whether the one before took place cannot be read.
    Unread(KafkaError),
}

/// What topics refused for good.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusals: Vec<Refusal>,
    /// The drafts that are in their topics all the same; none if the flush was a transaction.
    pub(super) delivered: Vec<usize>,
    /// Why the first message was refused.
    pub(super) code: RDKafkaErrorCode,
}

/// Whether the broker does not know the producer any more.
pub(super) fn is_fenced(error: &KafkaError) -> bool {
    let fenced = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    error.rdkafka_error_code().is_some_and(|code| fenced.contains(&code))
}
