//! Creates missing topics. It leaves existing topics alone, but says what is wrong with them, with
//! the command that fixes it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::Settings;
use super::plan::{Found, Plan, Wish, plans};
use super::topics::Use;
use super::words::{client_error, with_remedy};
use crate::findings::Finding;

/// The state of the cluster: the number of brokers, and the topics.
struct Cluster {
    brokers: usize,
    topics: Vec<(Use, Option<Found>)>,
}

impl Settings {
    /// Creates missing topics, or only asks whether they could be created. Returns one finding for
    /// each topic, or the reason why none is created.
    pub async fn create_topics(&self, wish: Wish, give_up_after: Duration) -> Vec<Finding> {
        let cluster = match self.cluster().await {
            Ok(cluster) => cluster,
            Err(words) => return vec![Finding::wrong("Kafka", words)],
        };
        let plans = plans(self, wish, give_up_after, cluster.topics);
        let brokers = i32::try_from(cluster.brokers).unwrap_or(i32::MAX);
        if brokers < wish.replicas && plans.iter().any(Plan::is_new) {
            let sentence = format!(
                "{} replicas need as many brokers, and Kafka has {brokers}; start more brokers, or \
                 try it with --replication-factor {brokers}",
                wish.replicas
            );
            return vec![Finding::wrong("--replication-factor", sentence)];
        }
        let made = match self.make(&plans, wish.dry_run).await {
            Ok(made) => made,
            Err(words) => return vec![Finding::wrong("Kafka", words)],
        };
        let told = |plan: &Plan| match &plan.found {
            Some(found) => plan.left_alone(self, found),
            None => {
                let result = made.get(plan.used_as.name(self)).cloned();
                let silent = || Err("Kafka did not report on it; run this again".to_owned());
                plan.made(self, wish.dry_run, result.unwrap_or_else(silent))
            }
        };
        plans.iter().map(told).collect()
    }

    async fn cluster(&self) -> Result<Cluster, String> {
        let settings = self.clone();
        let cluster = tokio::task::spawn_blocking(move || settings.look_for_topics()).await;
        let mut cluster = cluster.map_err(|error| error.to_string()).flatten()?;
        let configurations = self.configurations().await;
        for (used_as, found) in &mut cluster.topics {
            let Some(found) = found else { continue };
            found.configuration = match &configurations {
                Ok(known) => known.get(used_as.name(self)).cloned(),
                Err(error) => error.clone().map(Err),
            };
        }
        Ok(cluster)
    }

    /// # Errors
    /// One sentence: no broker answers, or a topic is denied to this principal.
    fn look_for_topics(&self) -> Result<Cluster, String> {
        let consumer = self.quiet_consumer("read_committed")?;
        let mut cluster = Cluster { brokers: 0, topics: Vec::new() };
        for used_as in Use::ALL {
            let (key, name) = (used_as.key(), used_as.name(self));
            let metadata = self.ask(&consumer, name)?;
            cluster.brokers = cluster.brokers.max(metadata.brokers().len());
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            let partitions = topic.map_or(Ok(None), super::clients::partitions);
            let partitions =
                partitions.map_err(|fault| format!("topic {name:?} (kafka.{key}): {fault}"))?;
            let copies = |topic: &rdkafka::metadata::MetadataTopic| {
                let copies = topic.partitions().iter().map(|partition| partition.replicas().len());
                i32::try_from(copies.min().unwrap_or(0)).unwrap_or(i32::MAX)
            };
            let found = partitions.map(|partitions| Found {
                partitions,
                replicas: topic.map_or(0, copies),
                configuration: None,
            });
            cluster.topics.push((used_as, found));
        }
        Ok(cluster)
    }

    /// Asks the broker to create the new topics. Returns the result for each.
    async fn make(
        &self,
        plans: &[Plan],
        dry_run: bool,
    ) -> Result<BTreeMap<String, Result<(), String>>, String> {
        let new: Vec<&Plan> = plans.iter().filter(|plan| plan.is_new()).collect();
        if new.is_empty() {
            return Ok(BTreeMap::new());
        }
        let words = |error| with_remedy(&client_error(&error));
        let admin: AdminClient<DefaultClientContext> = self.client().create().map_err(words)?;
        let settings: Vec<Vec<(&str, String)>> = new.iter().map(|plan| plan.entries()).collect();
        let topics = new.iter().zip(&settings).map(|(plan, settings)| {
            let replication = TopicReplication::Fixed(plan.replicas);
            let topic = NewTopic::new(plan.used_as.name(self), plan.partitions, replication);
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        });
        let options = AdminOptions::new()
            .validate_only(dry_run)
            .request_timeout(Some(self.request_timeout))
            .operation_timeout(Some(self.request_timeout));
        let results = admin.create_topics(&topics.collect::<Vec<_>>(), &options).await;
        let results = results.map_err(words)?.into_iter().map(|result| match result {
            Ok(name) => (name, Ok(())),
            Err((name, code)) => (name, Err(refusal(code))),
        });
        Ok(results.collect())
    }
}

/// Why a topic was not created, in one sentence.
fn refusal(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::TopicAlreadyExists => {
            "somebody else created it just now; run this again to check it".to_owned()
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            format!(
                "Kafka denies it to this principal ({code:?}); grant Create on it, or run this as \
                 somebody who has that right"
            )
        }
        code => format!("Kafka did not create it: {code}; the broker's log says why"),
    }
}
