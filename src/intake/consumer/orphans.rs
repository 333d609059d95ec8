//! Partitions without an owner, and how they get one.
//!
//! In a cooperative rebalance a partition moves in two rounds: its old owner gives it back, then
//! asks for the second round, in which the new owner gets it. A static member that is killed
//! between the two rounds and returns before its session ends never asks. The group does not
//! rebalance when a static member returns, so the partition has no owner until a member joins or
//! leaves. Therefore each member checks, after it got an assignment and once a minute, whether
//! every partition has an owner. If one has none for longer than its old owner may take to give it
//! back, one member sends a visitor that joins the group and leaves it again: that makes the group
//! rebalance. The visitor subscribes to the retry topic only, so that no member has to give up a
//! partition for it.
//!
//! A member counts the partitions of both topics at each rebalance. So one that finds more of them
//! later sends a visitor, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Rebalances;
use super::dealt::{ASK_TIMEOUT, Dealt, dealt};
use super::looks::{LOOK_EVERY, Looks};
use super::paused::PausedLogs;
use crate::intake::Partition;
use crate::kafka::is_outage;

/// A partition counts as an orphan if it has no owner for this much longer than a drain may take.
const MARGIN: Duration = Duration::from_secs(5);
/// The visitor joins at a random time within this, so that two members that both send one do not
/// collide.
const JITTER_MS: u64 = 3_000;
/// The longest stay of the visitor.
const STAY: Duration = Duration::from_secs(5);

/// Looks for orphans until it is stopped or the consumer is gone.
pub(super) struct Watch {
    pub(super) consumer: Weak<BaseConsumer<Rebalances>>,
    /// How to join the group as a member without a name.
    pub(super) visitor: ClientConfig,
    /// How long a member may take to give a partition back.
    pub(super) drain_timeout: Duration,
    pub(super) stop: Arc<AtomicBool>,
    /// Also done here, because this thread has the time.
    pub(super) paused: PausedLogs,
}

impl Watch {
    pub(super) fn run(mut self) {
        let mut looks = Looks::new(self.drain_timeout + MARGIN, Instant::now());
        while self.sleep(LOOK_EVERY) {
            self.paused.look();
            let Some(consumer) = self.consumer.upgrade() else { return };
            self.look_whether_readable(&consumer);
            let epoch = consumer.context().epoch.load(Ordering::Relaxed);
            if !looks.is_due(epoch, Instant::now()) {
                continue;
            }
            let dealt = self.look(&consumer);
            drop(consumer);
            let late = looks.found(&dealt.orphans, Instant::now());
            if dealt.has_more || dealt.is_ours && !late.is_empty() {
                self.rescue(&late);
                looks.rescued(Instant::now());
            }
        }
    }

    /// Makes the group rebalance, unless it has rebalanced meanwhile.
    fn rescue(&self, late: &[i32]) {
        if !self.sleep(Duration::from_millis(fastrand::u64(..JITTER_MS))) {
            return;
        }
        let Some(consumer) = self.consumer.upgrade() else { return };
        let dealt = self.look(&consumer);
        let topic = consumer.context().topic(Partition::retry(0)).to_owned();
        drop(consumer);
        let still: Vec<String> = late
            .iter()
            .filter(|number| dealt.orphans.contains(number))
            .map(|number| format!("claims/{number}"))
            .collect();
        if dealt.has_more {
            info!("a topic has more partitions; asking the group to rebalance");
        } else if !still.is_empty() {
            warn!(partitions = %still.join(" "), "no member of the group has these partitions; \
                 asking the group to rebalance");
        } else {
            return;
        }
        self.visit(&topic);
    }

    /// Waits. Returns whether to go on.
    fn sleep(&self, how_long: Duration) -> bool {
        let until = Instant::now() + how_long;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    }

    fn look(&self, consumer: &BaseConsumer<Rebalances>) -> Dealt {
        dealt(consumer).unwrap_or_else(|error| {
            debug!(error.message = %error, "the group could not be asked who has which partition");
            Dealt::default()
        })
    }

    /// librdkafka reports a denied fetch only once, and does not report when access is granted
    /// again: this call tries it.
    fn look_whether_readable(&self, consumer: &BaseConsumer<Rebalances>) {
        let rebalances = consumer.context();
        if rebalances.troubles().fetch.is_some() && may_read(&self.visitor, &rebalances.topics) {
            rebalances.troubles().fetch = None;
            info!("Kafka lets this principal read its topics again");
        }
    }

    /// Joins the group without a name, and leaves it again.
    fn visit(&self, topic: &str) {
        let visitor: KafkaResult<BaseConsumer> = self.visitor.create();
        match visitor.and_then(|visitor| visitor.subscribe(&[topic]).map(|()| visitor)) {
            Ok(visitor) => {
                let until = Instant::now() + STAY;
                while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
                    // It commits nothing of what it reads: the owner of the partition reads it,
                    // too.
                    drop(visitor.poll(Duration::from_millis(100)));
                }
            }
            Err(error) => {
                warn!(error.message = %error, "the group could not be asked to rebalance")
            }
        }
    }
}

/// Whether the end of each topic's first partition can be reached.
fn may_read(client: &ClientConfig, topics: &[String; 2]) -> bool {
    let mut reader = client.clone();
    reader.set("enable.partition.eof", "true");
    let mut ends = TopicPartitionList::new();
    for topic in topics {
        if ends.add_partition_offset(topic, 0, Offset::End).is_err() {
            return false;
        }
    }
    let reader: KafkaResult<BaseConsumer> = reader.create();
    let Ok(reader) = reader.and_then(|reader| reader.assign(&ends).map(|()| reader)) else {
        return false;
    };
    let until = Instant::now() + ASK_TIMEOUT;
    let mut reached = 0;
    while reached < topics.len() && Instant::now() < until {
        match reader.poll(Duration::from_millis(100)) {
            Some(Err(KafkaError::PartitionEOF(_))) => reached += 1,
            Some(Err(error)) if !is_outage(&error) => return false,
            Some(_) | None => {}
        }
    }
    reached == topics.len()
}
