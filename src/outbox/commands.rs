//! A producer for commands: one transaction for each portion of what they publish.
//!
//! Acknowledged messages are not enough: a command that was killed may have messages on their way.
//! The next one takes over the transactional id, and from then on each message of the earlier one
//! is in the topic or never will be. The invariant: whatever a `read_committed` consumer finds in
//! the topic was sent by the latest command, or before it began.

use futures::future::try_join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::decision::Source;
use crate::intake::Headers;
use crate::kafka::{Quiet, Settings, check_place, client_error};
use crate::outbox::message::Message;

/// What librdkafka itself takes at most: only the broker knows the topic's bound.
const MAX_MESSAGE_BYTES: &str = "1000000000";

/// What a command publishes, and what its errors say about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// What people call it, such as `replay`. It is also a part of the transactional id.
    pub(crate) word: &'static str,
    /// The topic's key in `[kafka]`.
    pub(crate) topic_key: &'static str,
    /// The page that lists the rights it needs.
    pub(crate) page: &'static str,
    /// What to do if Kafka did not take it.
    pub(crate) again: &'static str,
}

/// A message of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// Its partition, if the topic has one of that number; the key decides where it is absent.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: &'a Headers,
}

impl<'a> Outgoing<'a> {
    /// This message; its key decides where it goes.
    pub(crate) fn of(message: &'a Message) -> Self {
        Self {
            partition: None,
            key: message.key.as_deref(),
            payload: message.payload.as_deref(),
            headers: &message.headers,
        }
    }
}

/// [`Purpose::again`] of a command that looks in the topic before it sends.
pub(crate) const NOTHING_TWICE: &str = "run the command again, nothing is sent twice";

/// The producer of a purpose. There is one at a time: a newer one ends it.
pub(crate) struct CommandProducer {
    producer: FutureProducer<Quiet>,
    settings: Settings,
    purpose: Purpose,
    topic: String,
    partitions: i32,
}

/// Why a portion was not sent. Nothing of it is in the topic, unless the error says that this is
/// not known.
pub(crate) enum SendError {
    /// The message with this index is too large for the topic.
    TooLarge(usize),
    /// The command must end: one sentence.
    Ended(String),
}

impl CommandProducer {
    /// Connects, and fences the producer of any earlier command, so that it can send nothing more.
    ///
    /// # Errors
    /// One sentence that names the address or the topic, and the key.
    pub(crate) async fn start(
        settings: &Settings,
        purpose: Purpose,
        topic: &str,
    ) -> Result<Self, String> {
        let (settings, topic) = (settings.clone(), topic.to_owned());
        let started = tokio::task::spawn_blocking(move || Self::connect(settings, purpose, topic));
        started.await.map_err(|error| error.to_string())?
    }

    fn connect(settings: Settings, purpose: Purpose, topic: String) -> Result<Self, String> {
        let consumer = settings.quiet_consumer("read_committed")?;
        let partitions = settings.check_topic(&consumer, purpose.topic_key, &topic)?;
        let timeout = settings.transaction_timeout.as_millis().to_string();
        let mut config = settings.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transactional.id", settings.command_id(purpose.word))
            .set("transaction.timeout.ms", &timeout)
            .set("delivery.timeout.ms", &timeout)
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            // A message that is too large for the topic must not take others with it.
            .set("batch.num.messages", "1");
        let said = |error: KafkaError| sentence(&settings, purpose, &error);
        let producer: FutureProducer<Quiet> =
            config.create_with_context(Quiet::default()).map_err(said)?;
        producer.init_transactions(settings.request_timeout).map_err(said)?;
        Ok(Self { producer, settings, purpose, topic, partitions })
    }

    /// Sends these messages, all or none, and returns the place of each. After an error a new
    /// producer is needed, which ends whatever this one leaves open.
    ///
    /// # Errors
    /// [`SendError`].
    pub(crate) async fn send(
        self,
        messages: &[Outgoing<'_>],
    ) -> Result<(Self, Vec<Source>), SendError> {
        self.producer.begin_transaction().map_err(|error| self.ended(&error))?;
        let timeout = self.settings.request_timeout;
        let producer = self.producer.clone();
        match self.deliver(messages).await {
            Ok(places) => {
                let commit = blocking(move || producer.commit_transaction(timeout)).await;
                commit.map_err(|error| self.ended(&error))?;
                Ok((self, places))
            }
            Err((index, error)) => {
                // Best effort: an open transaction would hold the readers up for as long as it may
                // last.
                drop(blocking(move || producer.abort_transaction(timeout)).await);
                let too_large =
                    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                Err(if too_large { SendError::TooLarge(index) } else { self.ended(&error) })
            }
        }
    }

    /// Hands the messages to the producer and waits for their reports: the transaction is only
    /// committed when all are there. The first failure is returned at once, because the messages
    /// behind it would only time out.
    async fn deliver(&self, messages: &[Outgoing<'_>]) -> Result<Vec<Source>, (usize, KafkaError)> {
        let mut reports = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let report = self
                .producer
                .send_result(self.record(message))
                .map_err(|(error, _)| (index, error))?;
            let topic = self.topic.clone();
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

    fn record<'a>(&'a self, message: &Outgoing<'a>) -> FutureRecord<'a, [u8], [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in message.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let mut record = FutureRecord::to(&self.topic).headers(headers);
        record.partition = message.partition.filter(|partition| *partition < self.partitions);
        record.key = message.key;
        record.payload = message.payload;
        record
    }

    /// The error for a failed message. If the producer itself failed, that error says more.
    fn ended(&self, error: &KafkaError) -> SendError {
        let fatal = self.producer.client().fatal_error();
        let fatal = fatal.map(|(code, _)| KafkaError::MessageProduction(code));
        SendError::Ended(sentence(&self.settings, self.purpose, fatal.as_ref().unwrap_or(error)))
    }
}

fn sentence(settings: &Settings, purpose: Purpose, error: &KafkaError) -> String {
    let fenced = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    let Purpose { word, page, again, .. } = purpose;
    match error.rdkafka_error_code() {
        Some(code) if fenced.contains(&code) => format!(
            "another {word} was started and took over: wait until it is done, then run this one \
             again"
        ),
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => format!(
            "Kafka refuses the transactional id {:?}: {page} lists the rights that are needed",
            settings.command_id(word)
        ),
        _ => format!(
            "Kafka at {} (kafka.bootstrap_servers) did not take the messages: {}; {again}",
            settings.bootstrap_servers,
            client_error(error)
        ),
    }
}

/// rdkafka's calls about transactions block.
async fn blocking(
    call: impl FnOnce() -> Result<(), KafkaError> + Send + 'static,
) -> Result<(), KafkaError> {
    tokio::task::spawn_blocking(call).await.unwrap_or(Err(KafkaError::Canceled))
}
