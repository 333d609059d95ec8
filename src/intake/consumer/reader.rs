//! The loop of the consumer's thread: it polls, hands over records, and pauses the partitions that
//! the worker names.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::messages::record;
use super::{Leave, SharedConsumer, leaving};
use crate::intake::{Event, Partition, Record};

/// The most records that are handed over at once.
const CHUNK_MAX_RECORDS: usize = 500;
const POLL: Duration = Duration::from_millis(100);

/// The state of the thread.
pub(super) struct Reader {
    pub(super) consumer: SharedConsumer,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) pauses: watch::Receiver<BTreeSet<Partition>>,
    pub(super) paused: BTreeSet<Partition>,
    pub(super) epoch: u32,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) leave: Arc<OnceLock<Leave>>,
    /// How long a stop waits for the end of a rebalance.
    pub(super) max_wait: Duration,
}

impl Reader {
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.apply_pauses();
            let chunk = self.chunk();
            if let Some(topic) = self.consumer.context().recreated.get() {
                // The worker may have ended.
                drop(self.events.blocking_send(Event::Failed(recreated(topic))));
                break;
            }
            self.note(&chunk);
            if !chunk.is_empty() && self.events.blocking_send(Event::Records(chunk)).is_err() {
                break;
            }
            self.poll_broker();
        }
        let how = self.leave.get().copied().unwrap_or(Leave::ForNow);
        leaving::leave(self.consumer, how, self.max_wait);
    }

    /// Waits for a record, then takes the others that are there.
    fn chunk(&self) -> Vec<Record> {
        let mut chunk = Vec::new();
        let mut timeout = POLL;
        while let Some(polled) = self.consumer.poll(timeout) {
            match polled {
                Ok(message) => {
                    let rebalances = self.consumer.context();
                    let partition = rebalances.partition(message.topic(), message.partition());
                    chunk.push(record(
                        &message,
                        partition,
                        rebalances.epoch.load(Ordering::Relaxed),
                    ));
                }
                Err(error) => self.report(&error),
            }
            if chunk.len() >= CHUNK_MAX_RECORDS {
                break;
            }
            timeout = Duration::ZERO;
        }
        chunk
    }

    fn apply_pauses(&mut self) {
        let epoch = self.consumer.context().epoch.load(Ordering::Relaxed);
        let is_new = epoch != self.epoch;
        if !is_new && !self.pauses.has_changed().unwrap_or(false) {
            return;
        }
        self.epoch = epoch;
        let wanted = self.pauses.borrow_and_update().clone();
        let (pause, resume) = if is_new {
            // librdkafka remembers the pause of a partition that was revoked and assigned again, so
            // all other partitions are resumed.
            (wanted.clone(), &self.assigned() - &wanted)
        } else {
            (&wanted - &self.paused, &self.paused - &wanted)
        };
        let list = |partitions| self.consumer.context().list(partitions);
        for result in [self.consumer.pause(&list(&pause)), self.consumer.resume(&list(&resume))] {
            if let Err(error) = result {
                warn!(error.message = %error,
                    "a partition could not be paused or resumed; it may have been revoked");
            }
        }
        self.paused = wanted;
    }

    fn assigned(&self) -> BTreeSet<Partition> {
        let rebalances = self.consumer.context();
        let assigned = self.consumer.assignment().unwrap_or_default();
        let partition = |element: TopicPartitionListElem<'_>| {
            rebalances.partition(element.topic(), element.partition())
        };
        assigned.elements().into_iter().map(partition).collect()
    }
}

fn recreated(topic: &str) -> String {
    format!(
        "the topic {topic:?} was deleted and recreated while it was read; restart the worker: it \
         begins at the group's committed offset, or at the topic's start"
    )
}
