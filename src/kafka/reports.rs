//! Reads what librdkafka reports, with its known faults in mind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;

/// The metadata of a committed offset. rdkafka panics on metadata that is not UTF-8, which can only
/// be foreign.
pub(crate) fn metadata(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()))
        .unwrap_or_else(|_| "\u{fffd}".to_owned())
}

/// Whether an error only says that brokers cannot be reached. The client keeps trying by itself,
/// and repeats the error often.
pub(crate) fn is_outage(error: &KafkaError) -> bool {
    let outage = [
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::Resolve,
    ];
    error.rdkafka_error_code().is_some_and(|code| outage.contains(&code))
}

/// Whether a message that librdkafka reports as delivered is in the topic: only if the report has
/// its offset.
///
/// librdkafka (2.12.1) also reports a message as delivered when a later one was. But a newly
/// elected leader may refuse the first and accept the second, because it does not know this
/// producer yet; then the first is in no log. Seen on Apache Kafka 4.2.0, and reported in issue 921
/// of confluent-kafka-go.
///
/// # Errors
/// The error that the broker should have sent for the second.
pub(crate) fn check_place(offset: i64) -> Result<(), RDKafkaErrorCode> {
    if offset >= 0 { Ok(()) } else { Err(RDKafkaErrorCode::OutOfOrderSequenceNumber) }
}
