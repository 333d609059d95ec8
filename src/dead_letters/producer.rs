//! The way of replayed events to Kafka: one producer, one transaction for each portion.
//!
//! Why transactions, where acknowledged messages seem enough: a command that was killed may have
//! left messages on their way. The next one takes over the transactional id, and from then on what
//! the earlier one sent is in the topic or never will be. The invariant: whatever is in the topic
//! for a `read_committed` consumer was sent by the latest command, or before it began.

use futures::future::try_join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::DeadLetterError;
use super::event::Event;
use crate::decision::Source;
use crate::kafka::{Quiet, Settings, check_place, client_error};

/// What librdkafka itself takes at most: only the broker knows the topic's bound.
const MAX_MESSAGE_BYTES: &str = "1000000000";

/// The producer of replays. There is one at a time: a newer one ends it.
pub(super) struct ReplayProducer {
    producer: FutureProducer<Quiet>,
    settings: Settings,
    partitions: i32,
}

/// Why a portion was not sent. Nothing of it is in the topic, unless the error says that this is
/// not known.
pub(super) enum SendError {
    /// The event with this index is too large for the topic.
    TooLarge(usize),
    /// The command must end.
    Ended(DeadLetterError),
}

impl ReplayProducer {
    /// Connects, and puts an end to whatever an earlier command was about to send.
    ///
    /// # Errors
    /// One sentence that names the address or the topic, and the key.
    pub(super) async fn start(settings: &Settings) -> Result<Self, DeadLetterError> {
        let settings = settings.clone();
        blocking(move || Self::connect(settings)).await
    }

    fn connect(settings: Settings) -> Result<Self, DeadLetterError> {
        let consumer = settings.quiet_consumer("read_committed").map_err(DeadLetterError::Kafka)?;
        let partitions = settings.check_topic(&consumer, "input_topic", &settings.input_topic);
        let partitions = partitions.map_err(DeadLetterError::Kafka)?;
        let timeout = settings.transaction_timeout.as_millis().to_string();
        let mut config = settings.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transactional.id", settings.replay_id())
            .set("transaction.timeout.ms", &timeout)
            .set("delivery.timeout.ms", &timeout)
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            // An event that is too large for the topic must not take others with it.
            .set("batch.num.messages", "1");
        let said = |error: KafkaError| sentence(&settings, &error);
        let producer: FutureProducer<Quiet> =
            config.create_with_context(Quiet::default()).map_err(said)?;
        producer.init_transactions(settings.request_timeout).map_err(said)?;
        Ok(Self { producer, settings, partitions })
    }

    /// Sends these events, all or none, and says where each of them is. After an error there is
    /// need of a new sender, which puts an end to what this one leaves behind.
    ///
    /// # Errors
    /// [`SendError`].
    pub(super) async fn send(self, events: &[Event]) -> Result<(Self, Vec<Source>), SendError> {
        self.producer.begin_transaction().map_err(|error| self.ended(&error))?;
        let timeout = self.settings.request_timeout;
        let producer = self.producer.clone();
        match self.deliver(events).await {
            Ok(places) => {
                let commit = blocking_kafka(move || producer.commit_transaction(timeout)).await;
                commit.map_err(|error| self.ended(&error))?;
                Ok((self, places))
            }
            Err((index, error)) => {
                // Best effort: an open transaction would hold the workers up for as long as it may
                // last.
                drop(blocking_kafka(move || producer.abort_transaction(timeout)).await);
                let too_large =
                    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                Err(if too_large { SendError::TooLarge(index) } else { self.ended(&error) })
            }
        }
    }

    /// Hands the events to the producer and waits for every report: a transaction is only committed
    /// when all are there. The first that is bad says why; those behind it would only time out.
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Source>, (usize, KafkaError)> {
        let mut reports = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let report = self
                .producer
                .send_result(self.record(event))
                .map_err(|(error, _)| (index, error))?;
            let topic = self.settings.input_topic.clone();
            reports.push(async move {
                let delivered = report.await.map_err(|_| (index, KafkaError::Canceled))?;
                let Delivery { partition, offset, .. } =
                    delivered.map_err(|(error, _)| (index, error))?;
                check_place(offset).map_err(|code| (index, KafkaError::MessageProduction(code)))?;
                Ok(Source { topic, partition, offset })
            });
        }
        try_join_all(reports).await
    }

    /// The event as a record: on the partition it came from, where the claims of its key are, if it
    /// came from this topic.
    fn record<'a>(&'a self, event: &'a Event) -> FutureRecord<'a, [u8], [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(event.headers.len());
        for (key, value) in &event.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let Source { topic, partition, .. } = &event.letter.source;
        let mut record = FutureRecord::to(&self.settings.input_topic).headers(headers);
        record.partition = Some(*partition).filter(|partition| {
            *topic == self.settings.input_topic && *partition < self.partitions
        });
        record.key = event.key.as_deref();
        record.payload = event.payload.as_deref();
        record
    }

    /// What ended the producer says more than what that did to an event, which was purged perhaps.
    fn ended(&self, error: &KafkaError) -> SendError {
        let fatal = self.producer.client().fatal_error();
        let fatal = fatal.map(|(code, _)| KafkaError::MessageProduction(code));
        SendError::Ended(sentence(&self.settings, fatal.as_ref().unwrap_or(error)))
    }
}

fn sentence(settings: &Settings, error: &KafkaError) -> DeadLetterError {
    let fenced = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    let sentence = match error.rdkafka_error_code() {
        Some(code) if fenced.contains(&code) => {
            "another replay was started and took over: wait until it is done, then run this one again"
                .to_owned()
        }
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => format!(
            "Kafka refuses the transactional id {:?}: docs/dead-letters.md lists the rights a replay needs",
            settings.replay_id()
        ),
        _ => format!(
            "Kafka at {} (kafka.bootstrap_servers) did not take the events: {}; run the command again, nothing is sent twice",
            settings.bootstrap_servers,
            client_error(error)
        ),
    };
    DeadLetterError::Kafka(sentence)
}

/// rdkafka's calls about transactions block.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, DeadLetterError> + Send + 'static,
) -> Result<T, DeadLetterError> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| DeadLetterError::Kafka(error.to_string()))?
}

async fn blocking_kafka(
    call: impl FnOnce() -> Result<(), KafkaError> + Send + 'static,
) -> Result<(), KafkaError> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(KafkaError::Canceled))
}
