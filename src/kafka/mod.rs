//! `[kafka]`: what intake and outbox share about the broker. Each of them has its own client.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use serde::Deserialize;
use tokio::time::Instant;

pub mod check;
mod names;
mod places;
mod topics;
mod words;

pub use places::{Input, Partition, Topic};
pub(crate) use words::{Quiet, client_error};

/// `[kafka]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Host and port of some brokers, comma-separated.
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group_id: String,
    /// This worker's name within its group, stable over restarts: static membership and fast
    /// recovery. Absent: a random one.
    pub instance_id: Option<String>,
    /// Claim events.
    pub input_topic: String,
    /// Decisions.
    pub output_topic: String,
    /// Deferred claims.
    pub retry_topic: String,
    /// Malformed events.
    pub dead_letter_topic: String,
    /// What a crash may repeat.
    pub guarantee: Guarantee,
    /// A larger event is malformed.
    pub max_event_bytes: usize,
    /// The largest message that is published; a larger one says so and leaves out what Postgres
    /// has.
    pub max_message_bytes: usize,
    /// The brokers' bound on the metadata of a commit, `offset.metadata.max.bytes`. A partition
    /// whose map of done records comes near it takes no more records on.
    pub offset_metadata_max_bytes: usize,
    /// A worker that is silent for so long loses its partitions.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// A transaction that is open for so long is aborted by the broker. Shorter than
    /// `session_timeout`.
    #[serde(with = "humantime_serde")]
    pub transaction_timeout: Duration,
    /// How long a question to the broker may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Passed through to librdkafka; `_` may be written for `.`.
    pub properties: BTreeMap<String, String>,
}

/// What a crash between Postgres and Kafka's commit may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Nothing: decisions and offsets are one Kafka transaction.
    ExactlyOnce,
    /// Decisions may be published twice, with the same `decision_id`.
    AtLeastOnce,
}

/// The pause before a topic that is not there is looked for again.
const TOPIC_PAUSE: Duration = Duration::from_millis(200);

/// Properties that the promises rest on, or that have a key of their own; with their other names in
/// librdkafka.
const RESERVED: [&str; 22] = [
    "auto.commit.enable",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queue.buffering.max.ms",
    "session.timeout.ms",
    "statistics.interval.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Properties whose value would let anybody pose as the broker.
const INSECURE: [(&str, &[&str]); 2] = [
    ("enable.ssl.certificate.verification", &["false", "f", "0"]),
    ("ssl.endpoint.identification.algorithm", &["none", ""]),
];

impl Settings {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let texts = [
            ("bootstrap_servers", &self.bootstrap_servers),
            ("group_id", &self.group_id),
            ("input_topic", &self.input_topic),
            ("output_topic", &self.output_topic),
            ("retry_topic", &self.retry_topic),
            ("dead_letter_topic", &self.dead_letter_topic),
        ];
        if let Some((key, _)) = texts.iter().find(|(_, text)| text.trim().is_empty()) {
            return Err(format!("kafka.{key} is empty; give it a value"));
        }
        if self.transaction_timeout >= self.session_timeout {
            return Err(
                "kafka.transaction_timeout must be shorter than kafka.session_timeout".to_owned()
            );
        }
        if let Some(key) =
            self.properties.keys().find(|key| RESERVED.contains(&key.replace('_', ".").as_str()))
        {
            return Err(format!(
                "kafka.properties.{key} is set by claimgate itself, for its promises rest on it; remove it"
            ));
        }
        let is_insecure = |key: &str, value: &str| {
            let insecure = INSECURE.iter().find(|(name, _)| *name == key.replace('_', "."));
            insecure.is_some_and(|(_, values)| {
                values.contains(&value.trim().to_ascii_lowercase().as_str())
            })
        };
        if let Some((key, value)) =
            self.properties.iter().find(|(key, value)| is_insecure(key, value))
        {
            return Err(format!(
                "kafka.properties.{key} = {value:?} would let anybody pose as the broker; name the authority that signed \
                 its certificate in kafka.properties.ssl.ca.location instead"
            ));
        }
        Ok(())
    }

    /// The name of a topic that the worker reads.
    pub fn topic(&self, input: Input) -> &str {
        match input {
            Input::Claims => &self.input_topic,
            Input::Retry => &self.retry_topic,
        }
    }

    /// The name of a topic that the worker writes to.
    pub fn output(&self, topic: Topic) -> &str {
        match topic {
            Topic::Decisions => &self.output_topic,
            Topic::DeadLetters => &self.dead_letter_topic,
            Topic::Retry => &self.retry_topic,
        }
    }

    /// The configuration that every client of this worker has.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "claimgate")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &self.properties {
            client.set(key.replace('_', "."), value);
        }
        client
    }

    /// The configuration of a consumer: of its group, and of the times that librdkafka holds
    /// against each other.
    pub fn consumer(&self) -> ClientConfig {
        let mut consumer = self.client();
        consumer
            .set("group.id", &self.group_id)
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string());
        consumer
    }

    /// A consumer that is no member of the group and says nothing of its own.
    pub(crate) fn quiet_consumer(
        &self,
        isolation_level: &str,
    ) -> Result<BaseConsumer<Quiet>, String> {
        let mut consumer = self.consumer();
        consumer
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // Where a broker hangs up, the client's guess at the cause is in this line alone.
            .set("log.connection.close", "true")
            .set("isolation.level", isolation_level)
            .set_log_level(RDKafkaLogLevel::Info);
        consumer.create_with_context(Quiet::default()).map_err(|error| {
            words::with_remedy(&format!(
                "kafka.properties or kafka.bootstrap_servers is not valid: {}",
                client_error(&error)
            ))
        })
    }

    /// Asks any broker anything.
    ///
    /// # Errors
    /// One sentence with the client's own words.
    fn reach(&self, consumer: &BaseConsumer<Quiet>) -> Result<(), String> {
        let answer = consumer.fetch_metadata(Some(&self.input_topic), self.request_timeout);
        answer.map(drop).map_err(|error| {
            let words = words::explain(consumer, &error);
            format!(
                "cannot reach Kafka at {} (kafka.bootstrap_servers): {words}",
                self.bootstrap_servers
            )
        })
    }

    /// A topic that was only just made, or whose leader is being elected, gets its time. Says how
    /// many partitions it has.
    pub(crate) fn check_topic(
        &self,
        consumer: &BaseConsumer<Quiet>,
        key: &str,
        topic: &str,
    ) -> Result<i32, String> {
        let servers = &self.bootstrap_servers;
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let metadata =
                consumer.fetch_metadata(Some(topic), self.request_timeout).map_err(|error| {
                    let words = words::explain(consumer, &error);
                    format!("cannot reach Kafka at {servers} (kafka.bootstrap_servers): {words}")
                })?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            match found
                .map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions().len()))
            {
                Some((None, partitions)) if partitions > 0 => {
                    return Ok(i32::try_from(partitions).unwrap_or(i32::MAX));
                }
                Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
                    return Err(format!(
                        "topic {topic:?} (kafka.{key}): Kafka denies it to this principal (TopicAuthorizationFailed); grant \
                         Describe on it, or log in as somebody else (kafka.properties)"
                    ));
                }
                Some((Some(RDKafkaErrorCode::InvalidTopic), _)) => {
                    return Err(format!(
                        "topic {topic:?} (kafka.{key}): Kafka takes no such name; give it another"
                    ));
                }
                _ if Instant::now() >= deadline => {
                    return Err(format!(
                        "topic {topic:?} (kafka.{key}) does not exist at {servers}; create it"
                    ));
                }
                _ => std::thread::sleep(TOPIC_PAUSE),
            }
        }
    }
}

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
/// has just been elected may refuse the first and take the second: it knows nothing of this
/// producer yet; then the first is nowhere. Seen on Apache Kafka 4.2.0, and told in issue 921 of
/// confluent-kafka-go.
///
/// # Errors
/// What the broker should have said to the second.
pub(crate) fn check_place(offset: i64) -> Result<(), RDKafkaErrorCode> {
    if offset >= 0 { Ok(()) } else { Err(RDKafkaErrorCode::OutOfOrderSequenceNumber) }
}

impl std::fmt::Debug for Settings {
    /// Without the properties, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("instance_id", &self.instance_id)
            .field("input_topic", &self.input_topic)
            .field("output_topic", &self.output_topic)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .field("guarantee", &self.guarantee)
            .finish_non_exhaustive()
    }
}
