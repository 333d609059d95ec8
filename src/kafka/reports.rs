//! What librdkafka reports, read with care.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;

/// The metadata of a committed offset. rdkafka panics on metadata that is not UTF-8, which can only
/// be foreign.
pub(crate) fn metadata(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()))
        .unwrap_or_else(|_| "\u{fffd}".to_owned())
}

/// Whether an error of a client only says that brokers cannot be reached; the client goes on trying
/// by itself, and says it often.
pub(crate) fn is_outage(error: &KafkaError) -> bool {
    let outage = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::Resolve,
    ];
    error.rdkafka_error_code().is_some_and(|code| outage.contains(&code))
}

/// Whether a message that librdkafka calls delivered is anywhere: only if the report says where.
///
/// librdkafka (2.12.1) calls a message delivered, too, when one behind it was. But a leader that
/// has just been elected may refuse the first and take the second, for it knows nothing of this
/// producer yet; then the first is nowhere. Seen on Apache Kafka 4.2.0, and told in issue 921 of
/// confluent-kafka-go.
///
/// # Errors
/// What the broker should have said to the second.
pub(crate) fn check_place(offset: i64) -> Result<(), RDKafkaErrorCode> {
    if offset >= 0 { Ok(()) } else { Err(RDKafkaErrorCode::OutOfOrderSequenceNumber) }
}
