//! What the consumer's thread does: it polls, hands over what it read, and pauses what it is told to.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::SharedConsumer;
use crate::intake::{Event, Headers, Partition, Record};
use crate::kafka::is_outage;

/// Records handed over at once.
const CHUNK_MAX_RECORDS: usize = 500;
const POLL: Duration = Duration::from_millis(100);

/// The thread's own state.
pub(super) struct Reader {
    pub(super) consumer: SharedConsumer,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) pauses: watch::Receiver<BTreeSet<Partition>>,
    pub(super) paused: BTreeSet<Partition>,
    pub(super) epoch: u32,
    pub(super) stop: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.apply_pauses();
            let chunk = self.chunk();
            if !chunk.is_empty() && self.events.blocking_send(Event::Records(chunk)).is_err() {
                break;
            }
        }
    }

    /// Waits for a record, then takes what else is there.
    fn chunk(&self) -> Vec<Record> {
        let mut chunk = Vec::new();
        let mut timeout = POLL;
        while let Some(polled) = self.consumer.poll(timeout) {
            match polled {
                Ok(message) => {
                    let rebalances = self.consumer.context();
                    let partition = rebalances.partition(message.topic(), message.partition());
                    chunk.push(record(&message, partition, rebalances.epoch.load(Ordering::Relaxed)));
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

    fn report(&self, error: &KafkaError) {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            let failed = Event::Failed(match code {
                RDKafkaErrorCode::FencedInstanceId => {
                    format!("another worker took over kafka.instance_id: give each worker its own ({reason})")
                }
                _ => format!("the consumer cannot go on: {reason} ({code})"),
            });
            // A worker that is gone needs no telling.
            drop(self.events.blocking_send(failed));
        } else if !is_outage(error) {
            // An outage is told by the statistics, once.
            warn!(error.message = %error, "the consumer met an error and goes on");
        }
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
            // librdkafka remembers the pause of a partition that went and came back: whatever is not wanted is undone.
            (wanted.clone(), &self.assigned() - &wanted)
        } else {
            (&wanted - &self.paused, &self.paused - &wanted)
        };
        let list = |partitions| self.consumer.context().list(partitions);
        for result in [self.consumer.pause(&list(&pause)), self.consumer.resume(&list(&resume))] {
            if let Err(error) = result {
                warn!(error.message = %error, "a partition could not be paused or resumed; it may have been revoked");
            }
        }
        self.paused = wanted;
    }

    fn assigned(&self) -> BTreeSet<Partition> {
        let rebalances = self.consumer.context();
        let assigned = self.consumer.assignment().unwrap_or_default();
        let partition =
            |element: TopicPartitionListElem<'_>| rebalances.partition(element.topic(), element.partition());
        assigned.elements().into_iter().map(partition).collect()
    }
}

fn record(message: &BorrowedMessage<'_>, partition: Partition, epoch: u32) -> Record {
    Record {
        partition,
        offset: message.offset(),
        epoch,
        key: message.key().map(<[u8]>::to_vec),
        headers: message.headers().map(headers).unwrap_or_default(),
        payload: message.payload().map(<[u8]>::to_vec),
    }
}

fn headers(headers: &BorrowedHeaders) -> Headers {
    let read = |index| {
        // rdkafka panics on a name that is not UTF-8; such a header is kept as a name that says so.
        catch_unwind(AssertUnwindSafe(|| {
            let header = headers.get(index);
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
        }))
        .unwrap_or_else(|_| ("claimgate-unreadable-header".to_owned(), None))
    };
    (0..headers.count()).map(read).collect()
}
