//! The keys of `[kafka]`, and which values are refused.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Input, Topic};
use crate::findings::Finding;

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
    /// The largest message that is published. A larger one is cut: it says so, and Postgres has the
    /// rest.
    pub max_message_bytes: usize,
    /// The brokers' bound on the metadata of a commit, `offset.metadata.max.bytes`. A partition
    /// whose map of done records comes near it gets no more records taken on.
    pub offset_metadata_max_bytes: usize,
    /// A worker that is silent for this long loses its partitions.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// The broker aborts a transaction that is open for this long. Shorter than `session_timeout`.
    #[serde(with = "humantime_serde")]
    pub transaction_timeout: Duration,
    /// The time limit of a request to the broker.
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

impl Guarantee {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}

/// Properties that the guarantees depend on, or that have a key of their own; with their other
/// names in librdkafka.
const RESERVED: [&str; 23] = [
    "auto.commit.enable",
    "auto.offset.reset",
    "batch.size",
    "bootstrap.servers",
    // Without a delivery report, it is not known whether a message was delivered.
    "delivery.report.only.error",
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

/// Properties whose value would let anyone impersonate the broker.
const INSECURE: [(&str, &[&str]); 2] = [
    ("enable.ssl.certificate.verification", &["false", "f", "0"]),
    ("ssl.endpoint.identification.algorithm", &["none", ""]),
];

impl Settings {
    /// Values that the types allow and that must not be.
    pub fn faults(&self) -> Vec<Finding> {
        let texts = [
            ("bootstrap_servers", &self.bootstrap_servers),
            ("group_id", &self.group_id),
            ("input_topic", &self.input_topic),
            ("output_topic", &self.output_topic),
            ("retry_topic", &self.retry_topic),
            ("dead_letter_topic", &self.dead_letter_topic),
        ];
        let empty = texts.iter().filter(|(_, text)| text.trim().is_empty());
        let mut faults: Vec<Finding> = empty
            .map(|(key, _)| {
                Finding::wrong(format!("kafka.{key}"), "this is empty; give it a value")
            })
            .collect();
        if self.transaction_timeout >= self.session_timeout {
            let sentence = "must be shorter than kafka.session_timeout";
            faults.push(Finding::wrong("kafka.transaction_timeout", sentence));
        }
        let properties = self.properties.iter();
        faults.extend(properties.filter_map(|(key, value)| property_fault(key, value)));
        faults
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
}

/// The fault of a property, if it has one.
fn property_fault(key: &str, value: &str) -> Option<Finding> {
    let name = key.replace('_', ".");
    let wrong =
        |sentence: String| Some(Finding::wrong(format!("kafka.properties.{key}"), sentence));
    if RESERVED.contains(&name.as_str()) {
        return wrong(
            "claimgate sets this itself, because its promises rest on it; remove it".to_owned(),
        );
    }
    let (_, insecure) = INSECURE.iter().find(|(insecure, _)| *insecure == name)?;
    if !insecure.contains(&value.trim().to_ascii_lowercase().as_str()) {
        return None;
    }
    wrong(format!(
        "{value:?} would let anybody pose as the broker; name the authority that signed its \
         certificate in kafka.properties.ssl.ca.location instead"
    ))
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
