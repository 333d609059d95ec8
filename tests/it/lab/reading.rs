//! What a `read_committed` consumer sees in the lab's topics.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Lab, PARTITIONS, client};

/// A message as a test sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// When it was sent, UNIX milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

impl Seen {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let pair = |header: Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        Self {
            partition: message.partition(),
            offset: message.offset(),
            at_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: message
                .headers()
                .map_or_else(BTreeMap::new, |headers| headers.iter().map(pair).collect()),
        }
    }
}

impl Lab {
    /// Everything that a `read_committed` consumer sees in a topic right now.
    ///
    /// One client reads all of a test, for it takes half a second to begin and to end. It may see
    /// nothing any more after a broker's return: then another one takes its place.
    pub(crate) fn read(&self, topic: &str) -> Vec<Seen> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Duration::from_secs(3);
        let read = |consumer: &BaseConsumer| {
            let mut all = Vec::new();
            self.show(consumer, topic, patience, |seen| all.push(seen)).map(|()| all)
        };
        if let Some(Ok(all)) = reader.as_ref().map(read) {
            return all;
        }
        let mut all = Vec::new();
        *reader = Some(self.each(topic, |seen| all.push(seen)));
        all
    }

    /// Shows everything that a `read_committed` consumer sees in a topic right now, partition by
    /// partition in order. Returns the consumer.
    pub(crate) fn each(&self, topic: &str, show: impl FnMut(Seen)) -> BaseConsumer {
        let consumer = self.consumer(&format!("{}-reader", self.name));
        if let Err(why) = self.show(&consumer, topic, Duration::from_secs(10), show) {
            panic!("reading {topic}: {why}");
        }
        consumer
    }

    /// The fault if nothing came for so long, neither a message nor a partition's end.
    fn show(
        &self,
        consumer: &BaseConsumer,
        topic: &str,
        patience: Duration,
        mut show: impl FnMut(Seen),
    ) -> Result<(), String> {
        self.assign_all(consumer, topic);
        let mut ended = 0;
        while ended < PARTITIONS {
            match consumer.poll(patience) {
                Some(Ok(message)) => show(Seen::of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err(format!("nothing came for {patience:?}")),
            }
        }
        consumer.unassign().map_err(|error| error.to_string())
    }

    /// Assigns every partition of a topic to a consumer, from its beginning.
    pub(crate) fn assign_all(&self, consumer: &BaseConsumer, topic: &str) {
        let topic = self.topic(topic);
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions
                .add_partition_offset(&topic, partition, Offset::Beginning)
                .expect("assignable");
        }
        consumer.assign(&partitions).expect("assigned");
    }

    /// A `read_committed` consumer that gets each decision quickly, from the first one on.
    pub(crate) fn decisions(&self, group: &str) -> BaseConsumer {
        let consumer = self.reading(group).create().expect("a consumer");
        self.assign_all(&consumer, "decisions");
        consumer
    }

    /// A `read_committed` consumer that commits nothing and says where a partition ends.
    pub(crate) fn consumer(&self, group: &str) -> BaseConsumer {
        self.reading(group).set("enable.partition.eof", "true").create().expect("a consumer")
    }

    /// What both have in common.
    fn reading(&self, group: &str) -> ClientConfig {
        let mut config = client(&self.kafka);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20");
        config
    }
}
