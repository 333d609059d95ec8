//! Sees the decisions: a `read_committed` consumer of the output topic, like the settlement
//! pipeline.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use tokio::time::Instant;

use crate::Outcome;

/// Follows the output topic from its beginning.
pub(crate) struct Observer {
    consumer: BaseConsumer,
    /// When each claim's decision was first seen, and how often.
    seen: HashMap<String, (Instant, usize)>,
}

#[derive(Deserialize)]
struct Decision {
    claim_id: String,
}

impl Observer {
    /// An observer of this topic.
    pub(crate) fn new(kafka: &str, topic: &str, partitions: i32) -> Outcome<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka)
            .set("group.id", format!("{topic}-observer"))
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(Self { consumer, seen: HashMap::new() })
    }

    /// Takes all messages that are there, waiting a little for the first.
    pub(crate) fn look(&mut self, mut wait: Duration) -> Outcome<()> {
        while let Some(message) = self.consumer.poll(wait) {
            let message = message?;
            let now = Instant::now();
            let decision: Decision = serde_json::from_slice(message.payload().unwrap_or_default())?;
            self.seen.entry(decision.claim_id).and_modify(|seen| seen.1 += 1).or_insert((now, 1));
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// The number of claims with a decision.
    pub(crate) fn decided(&self) -> usize {
        self.seen.len()
    }

    /// When a claim's decision was seen.
    pub(crate) fn decided_at(&self, claim_id: &str) -> Option<Instant> {
        self.seen.get(claim_id).map(|(at, _)| *at)
    }

    /// When the last of them was seen.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.seen.values().map(|(at, _)| *at).max()
    }

    /// The number of decisions that came more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.seen.values().filter(|(_, times)| *times > 1).count()
    }
}
