//! Creates clients of the broker from the settings, and asks whether a topic exists.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataTopic};
use tokio::time::Instant;

use super::Settings;
use super::words::{self, Quiet, client_error};

/// The pause before a missing topic is looked for again.
const TOPIC_PAUSE: Duration = Duration::from_millis(200);

impl Settings {
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

    /// The configuration of a consumer, with its group and the times that librdkafka checks against
    /// each other.
    pub fn consumer(&self) -> ClientConfig {
        let mut consumer = self.client();
        consumer
            .set("group.id", &self.group_id)
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string());
        consumer
    }

    /// A consumer that is no member of the group and logs nothing.
    pub(crate) fn quiet_consumer(
        &self,
        isolation_level: &str,
    ) -> Result<BaseConsumer<Quiet>, String> {
        let mut consumer = self.consumer();
        consumer
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // If a broker closes the connection, only this line has the client's guess at the
            // cause.
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

    /// Asks any broker about a topic.
    ///
    /// # Errors
    /// One sentence with the client's message.
    pub(super) fn ask(
        &self,
        consumer: &BaseConsumer<Quiet>,
        topic: &str,
    ) -> Result<Metadata, String> {
        consumer.fetch_metadata(Some(topic), self.request_timeout).map_err(|error| {
            let (servers, words) = (&self.bootstrap_servers, words::explain(consumer, &error));
            format!("cannot reach Kafka at {servers} (kafka.bootstrap_servers): {words}")
        })
    }

    /// Waits for a topic that was just created, or whose leader is being elected. Returns its
    /// number of partitions.
    pub(crate) fn check_topic(
        &self,
        consumer: &BaseConsumer<Quiet>,
        key: &str,
        topic: &str,
    ) -> Result<i32, String> {
        let deadline = Instant::now() + self.request_timeout;
        loop {
            let metadata = self.ask(consumer, topic)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let found = found.map_or(Ok(None), partitions);
            match found.map_err(|fault| format!("topic {topic:?} (kafka.{key}): {fault}"))? {
                Some(partitions) => return Ok(partitions),
                None if Instant::now() >= deadline => {
                    return Err(format!(
                        "topic {topic:?} (kafka.{key}) does not exist at {}; create it",
                        self.bootstrap_servers
                    ));
                }
                None => std::thread::sleep(TOPIC_PAUSE),
            }
        }
    }
}

/// The number of partitions of a topic; `None` while it has none, or no leader.
///
/// # Errors
/// An error that waiting does not fix.
pub(super) fn partitions(topic: &MetadataTopic) -> Result<Option<i32>, &'static str> {
    match topic.error().map(RDKafkaErrorCode::from) {
        None if topic.partitions().is_empty() => Ok(None),
        None => Ok(Some(i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(
            "Kafka denies it to this principal (TopicAuthorizationFailed); grant Describe on it, \
             or log in as somebody else (kafka.properties)",
        ),
        Some(RDKafkaErrorCode::InvalidTopic) => Err("Kafka takes no such name; give it another"),
        Some(_) => Ok(None),
    }
}
