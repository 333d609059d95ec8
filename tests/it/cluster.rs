//! Three brokers of one test; a test kills the one with the role that matters.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;

use super::lab::{Lab, client};
use super::service::Service;

/// Brokers, and replicas of each partition.
pub(crate) const BROKERS: usize = 3;
/// How long the brokers may take to report the leader.
const ASK: Duration = Duration::from_secs(5);

/// A role that one broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It coordinates the workers' group.
    Group,
    /// It coordinates the transactions of the worker with this number, which is called `w` and the
    /// number.
    Transactions(usize),
    /// It leads this partition of the claims.
    Leader(usize),
}

/// The brokers.
pub(crate) struct Cluster(Service);

impl Cluster {
    /// Starts them. Returns their addresses, too.
    pub(crate) fn start() -> Option<(Self, String)> {
        let (service, bootstrap) = Service::start("kafka-cluster.sh")?;
        Some((Self(service), bootstrap))
    }

    /// `kill`, `start`, `restart`, of one broker.
    pub(crate) fn tell(&self, command: &str, broker: usize) -> Result<(), String> {
        self.0.tell_about(command, &[&broker.to_string()]).map(drop)
    }

    /// Whether the topics are as safe as configured: three replicas, of which two have every
    /// acknowledged record.
    pub(crate) async fn verify(&self, lab: &Lab) {
        let admin = lab.admin();
        for topic in ["claims", "decisions", "retry", "dead"].map(|topic| lab.topic(topic)) {
            let metadata =
                admin.inner().fetch_metadata(Some(&topic), ASK).expect("the brokers answer");
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            let replicas: Vec<usize> =
                partitions.map(|partition| partition.replicas().len()).collect();
            assert!(
                replicas.iter().all(|count| *count == BROKERS) && !replicas.is_empty(),
                "{topic}: {replicas:?}"
            );
            let asked = [ResourceSpecifier::Topic(&topic)];
            let found = admin
                .describe_configs(&asked, &AdminOptions::new())
                .await
                .expect("the brokers answer");
            let config = found.into_iter().next().expect("one topic").expect("its configuration");
            let acknowledge =
                config.get("min.insync.replicas").and_then(|entry| entry.value.clone());
            assert_eq!(acknowledge.as_deref(), Some("2"), "{topic}");
        }
    }

    /// The broker that has this role now; `None` if it is not known.
    pub(crate) fn that_has(&self, part: Part, lab: &Lab) -> Option<usize> {
        let (topic, key) = match part {
            Part::Group => ("__consumer_offsets".to_owned(), lab.name.clone()),
            Part::Transactions(worker) => {
                ("__transaction_state".to_owned(), format!("claimgate-{}-w{worker}", lab.name))
            }
            Part::Leader(_) => (lab.topic("claims"), String::new()),
        };
        let asker: BaseConsumer = client(&lab.kafka).create().expect("a consumer");
        let metadata = asker.fetch_metadata(Some(&topic), ASK).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let place = match part {
            Part::Leader(partition) => partition,
            Part::Group | Part::Transactions(_) => place_of(&key, partitions.len().max(1)),
        };
        let found =
            partitions.iter().find(|partition| usize::try_from(partition.id()) == Ok(place))?;
        usize::try_from(found.leader()).ok()
    }
}

/// The partition of a group's offsets, or of a transaction's state, as Kafka chooses it: by Java's
/// hash of the text.
fn place_of(key: &str, partitions: usize) -> usize {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    key.encode_utf16().fold(0, add).checked_abs().unwrap_or(0) as usize % partitions
}

#[test]
fn a_groups_place_is_javas_hash_of_its_name() {
    // "hello".hashCode() is 99162322.
    assert_eq!(place_of("hello", 1_000_000_000), 99_162_322);
    assert_eq!(place_of("", 5), 0);
}
