//! Checks the broker: whether it answers, how the four topics are configured, and what the
//! principal may do.
//!
//! `run` does the first half of it at its start, `claimgate check` all of it. It produces nothing,
//! joins no group, and uses no worker's transactional id.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::reading::read_next;
use super::topics::{Topic, Use, judge};
use super::words::{Quiet, client_error, with_remedy};
use super::{Guarantee, Settings};
use crate::findings::{Finding, Severity};

/// The number of partitions of each topic, or why it is not known.
type Counted = Vec<(Use, Result<i32, String>)>;

/// How long to wait for the end of a partition.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

impl Settings {
    /// Checks the broker and the four topics.
    pub async fn look_at_topics(&self, give_up_after: Duration) -> Vec<Finding> {
        let settings = self.clone();
        let counted = tokio::task::spawn_blocking(move || settings.count_partitions()).await;
        let counted = match counted.map_err(|error| error.to_string()).flatten() {
            Ok(counted) => counted,
            Err(words) => return vec![Finding::wrong("Kafka", words)],
        };
        if let Some(wrong) = missing(&counted) {
            return wrong;
        }
        let configurations = self.configurations().await;
        let topic = |(used_as, partitions): (Use, Result<i32, String>)| Topic {
            used_as,
            partitions: partitions.unwrap_or_default(),
            configuration: configurations.as_ref().map_or_else(
                |error| error.clone().map(Err),
                |found| found.get(used_as.name(self)).cloned(),
            ),
        };
        let topics: Vec<Topic> = counted.into_iter().map(topic).collect();
        judge(self, give_up_after, &topics)
    }

    /// The number of partitions of each topic.
    ///
    /// # Errors
    /// One sentence: no broker answers.
    fn count_partitions(&self) -> Result<Counted, String> {
        let consumer = self.quiet_consumer("read_committed")?;
        self.ask(&consumer, &self.input_topic)?;
        let count = |used_as: Use| {
            (used_as, self.check_topic(&consumer, used_as.key(), used_as.name(self)))
        };
        Ok(Use::ALL.into_iter().map(count).collect())
    }

    /// The configurations of the topics by name. The error is `None` if the broker does not know
    /// the request.
    pub(super) async fn configurations(
        &self,
    ) -> Result<BTreeMap<String, Result<BTreeMap<String, String>, String>>, Option<String>> {
        let refused = |error: KafkaError| match error {
            KafkaError::AdminOp(
                RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion,
            ) => None,
            other => Some(other.to_string()),
        };
        let admin: AdminClient<DefaultClientContext> = self.client().create().map_err(refused)?;
        let resources = Use::ALL.map(|used_as| ResourceSpecifier::Topic(used_as.name(self)));
        let options = AdminOptions::new().request_timeout(Some(self.request_timeout));
        let described = admin.describe_configs(&resources, &options).await.map_err(refused)?;
        // An error does not name its topic: the answers are in the order of the requests.
        let named = Use::ALL.iter().map(|used_as| used_as.name(self).to_owned()).zip(described);
        Ok(named.map(|(name, result)| read(name, result)).collect())
    }

    /// Tries what a worker does, as far as that has no effect.
    pub async fn try_rights(&self) -> Vec<Finding> {
        let settings = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut findings = settings.try_reading();
            if settings.guarantee == Guarantee::ExactlyOnce {
                findings.push(settings.try_transactions());
            }
            findings
        })
        .await
        .unwrap_or_else(|error| vec![Finding::wrong("Kafka", error.to_string())])
    }

    /// Reads the group's offsets, and the end of a partition of each topic that a worker reads.
    fn try_reading(&self) -> Vec<Finding> {
        let consumer = match self.quiet_consumer("read_committed") {
            Ok(consumer) => consumer,
            Err(words) => return vec![Finding::wrong("Kafka", words)],
        };
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(&self.input_topic, 0);
        let group = format!("group {} (kafka.group_id)", self.group_id);
        let committed = consumer.committed_offsets(partitions, self.request_timeout);
        let committed = committed.map(|_| "its offsets can be read".to_owned());
        let mut findings = vec![Finding::of(
            group,
            committed.map_err(|error| denied("the group", "Read", &error)),
        )];
        for used_as in [Use::Input, Use::Retry] {
            if let Err(words) = try_topic(&consumer, used_as.name(self)) {
                let what = format!("topic {} (kafka.{})", used_as.name(self), used_as.key());
                findings.push(Finding::wrong(what, words));
            }
        }
        findings
    }

    /// Begins as a transactional producer of this group, under an id that no worker has.
    fn try_transactions(&self) -> Finding {
        let id = format!("{}check", self.transactional_prefix());
        let mut config = self.client();
        config.set("transactional.id", &id).set("enable.idempotence", "true");
        config.set("transaction.timeout.ms", self.transaction_timeout.as_millis().to_string());
        let tried = config.create_with_context(Quiet::default()).and_then(
            |producer: BaseProducer<Quiet>| producer.init_transactions(self.request_timeout),
        );
        let tried = tried.map(|()| format!("a producer may begin as {id:?}"));
        let words = |error: KafkaError| {
            format!(
                "{}; or set kafka.guarantee",
                denied(&format!("the transactional id {id:?}"), "Write", &error)
            )
        };
        Finding::of("transactions (kafka.guarantee)", tried.map_err(words))
    }
}

/// The fault, if the state of a topic is one.
fn missing(counted: &[(Use, Result<i32, String>)]) -> Option<Vec<Finding>> {
    let wrong = |(_, found): &(Use, Result<i32, String>)| {
        Some(Finding::wrong("Kafka", found.clone().err()?))
    };
    let wrong: Vec<Finding> = counted.iter().filter_map(wrong).collect();
    (!wrong.is_empty()).then_some(wrong)
}

type Described = (String, Result<BTreeMap<String, String>, String>);

fn read(name: String, result: Result<ConfigResource, RDKafkaErrorCode>) -> Described {
    match result {
        Ok(ConfigResource { specifier: OwnedResourceSpecifier::Topic(name), entries }) => {
            let pairs = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            (name, Ok(pairs.collect()))
        }
        Ok(_) => (name, Err("the broker described something else".to_owned())),
        Err(code) => (name, Err(code.to_string())),
    }
}

/// Reads to the end of one partition.
///
/// # Errors
/// One sentence.
fn try_topic(consumer: &BaseConsumer<Quiet>, topic: &str) -> Result<(), String> {
    let mut partitions = TopicPartitionList::new();
    let assigned = partitions.add_partition_offset(topic, 0, Offset::End);
    assigned.and_then(|()| consumer.assign(&partitions)).map_err(|error| error.to_string())?;
    match read_next(consumer, READ_TIMEOUT) {
        Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => Ok(()),
        Some(Err(error)) => Err(denied("the topic", "Read", &error)),
        None => Err(format!(
            "nothing was read of it within {}",
            humantime::format_duration(READ_TIMEOUT)
        )),
    }
}

fn denied(what: &str, right: &str, error: &KafkaError) -> String {
    let denied = [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ];
    match error.rdkafka_error_code().filter(|code| denied.contains(code)) {
        Some(code) => {
            format!("Kafka denies it to this principal ({code:?}); grant {right} on {what}")
        }
        None => with_remedy(&client_error(error)),
    }
}

/// The first fault among some findings, as the sentence with which `run` ends.
pub fn first_wrong(findings: &[Finding]) -> Option<String> {
    let wrong = findings.iter().find(|finding| finding.severity == Severity::Wrong)?;
    Some(if wrong.place == "Kafka" {
        wrong.sentence()
    } else {
        format!("{}: {}", wrong.place, wrong.sentence())
    })
}
