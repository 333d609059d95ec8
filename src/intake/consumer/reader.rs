//! What the consumer's thread does: it polls, hands over what it read, and pauses what it is told
//! to.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, warn};

use super::progress::Log;
use super::{Leave, SharedConsumer, farewell};
use crate::intake::{Event, Headers, Partition, Record};
use crate::kafka::is_outage;

/// Records handed over at once.
const CHUNK_MAX_RECORDS: usize = 500;
const POLL: Duration = Duration::from_millis(100);
/// A transaction that holds reading up for longer is told.
const HELD_UP_TOO_LONG: Duration = Duration::from_secs(60);

/// The thread's own state.
pub(super) struct Reader {
    pub(super) consumer: SharedConsumer,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) pauses: watch::Receiver<BTreeSet<Partition>>,
    pub(super) paused: BTreeSet<Partition>,
    pub(super) epoch: u32,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) leave: Arc<OnceLock<Leave>>,
    /// How long a stop waits for the group to come to rest.
    pub(super) max_wait: Duration,
    /// Whether a transaction that holds reading up was told.
    pub(super) told_held_up: bool,
}

impl Reader {
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.apply_pauses();
            let chunk = self.chunk();
            if let Some(topic) = self.consumer.context().renewed.get() {
                // A worker that is gone needs no telling.
                drop(self.events.blocking_send(Event::Failed(renewed(topic))));
                break;
            }
            self.note(&chunk);
            if !chunk.is_empty() && self.events.blocking_send(Event::Records(chunk)).is_err() {
                break;
            }
            self.poll_broker();
        }
        let how = self.leave.get().copied().unwrap_or(Leave::ForNow);
        farewell::leave(self.consumer, how, self.max_wait);
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

    /// Keeps up with what was read.
    fn note(&self, chunk: &[Record]) {
        let rebalances = self.consumer.context();
        let mut progress = rebalances.progress();
        for record in chunk {
            if let Some(expected) = progress.read(record.partition, record.offset) {
                let (partition, offset) = (record.partition.label(), record.offset);
                warn!(
                    partition,
                    "{partition} is read again from offset {offset} on, though it had been read up to \
                     {expected}: Kafka has lost the end of its log, or it was cut; what was decided of it \
                     is published again"
                );
                rebalances
                    .meter
                    .read_again(record.partition.input, expected.saturating_sub(offset));
            }
        }
    }

    /// Takes what the statistics said of the logs. Everything that was read before them has been
    /// handed over.
    fn poll_broker(&mut self) {
        let rebalances = self.consumer.context();
        let looked = rebalances.take_looked();
        if looked.is_empty() {
            return;
        }
        let now = Instant::now();
        for (partition, log) in looked {
            // A paused partition is not fetched: what is said of its log is old.
            let log =
                if self.paused.contains(&partition) { Log { position: None, ..log } } else { log };
            let lost = rebalances.progress().looked(partition, log, now);
            if lost > 0 {
                let partition_label = partition.label();
                error!(
                    partition = partition_label,
                    records = lost,
                    "{lost} offsets of {partition_label} are gone from the topic before they were read; its \
                     retention is shorter than the group's lag: raise retention.ms, and have the claims \
                     sent again"
                );
                rebalances.meter.records_lost(partition.input, lost);
            }
        }
        let held_up = rebalances.progress().held_up(now);
        rebalances.meter.held_up(held_up.map_or(Duration::ZERO, |(_, _, so_long)| so_long));
        let too_long = held_up.filter(|(_, _, so_long)| *so_long >= HELD_UP_TOO_LONG);
        if let Some((partition, offset, so_long)) = too_long.filter(|_| !self.told_held_up) {
            let partition = partition.label();
            warn!(
                partition,
                "a transaction has been open at offset {offset} of {partition} for {} s: nothing behind it \
                 can be read before its producer ends it, or the broker does; kafka-transactions.sh tells \
                 whose it is",
                so_long.as_secs()
            );
        }
        self.told_held_up = too_long.is_some();
    }

    fn report(&self, error: &KafkaError) {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            let failed = Event::Failed(match code {
                RDKafkaErrorCode::FencedInstanceId => {
                    format!(
                        "another worker took over kafka.instance_id: give each worker its own ({reason})"
                    )
                }
                _ => format!("the consumer cannot go on: {reason} ({code})"),
            });
            // A worker that is gone needs no telling.
            drop(self.events.blocking_send(failed));
        } else if self.is_trouble(error) {
            // Told, and said again with the statistics for as long as it lasts.
        } else if !is_outage(error) {
            // An outage is told by the statistics, once.
            warn!(error.message = %error, "the consumer met an error and goes on");
        }
    }

    /// Whether an error is one that keeps the consumer from its work until somebody mends it. Tells
    /// it once.
    fn is_trouble(&self, error: &KafkaError) -> bool {
        let rebalances = self.consumer.context();
        let (group, [input, retry]) = (&rebalances.group_id, &rebalances.topics);
        let mut troubles = rebalances.troubles();
        let (trouble, sentence) = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InconsistentGroupProtocol) => (
                &mut troubles.group,
                format!(
                    "the group {group:?} (kafka.group_id) has members that are no claimgate: they share its \
                     partitions in another way; give claimgate a group of its own"
                ),
            ),
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => (
                &mut troubles.group,
                format!(
                    "Kafka does not let this principal into the group {group:?} (kafka.group_id): grant it \
                     READ on the group"
                ),
            ),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => (
                &mut troubles.fetch,
                format!(
                    "Kafka does not let this principal read {input:?} or {retry:?}: grant it READ on both"
                ),
            ),
            _ => return false,
        };
        if trouble.as_ref() != Some(&sentence) {
            warn!("{sentence}");
            *trouble = Some(sentence);
        }
        true
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
            // librdkafka remembers the pause of a partition that went and came back: whatever is
            // not wanted is undone.
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
        let partition = |element: TopicPartitionListElem<'_>| {
            rebalances.partition(element.topic(), element.partition())
        };
        assigned.elements().into_iter().map(partition).collect()
    }
}

fn renewed(topic: &str) -> String {
    format!(
        "the topic {topic:?} was deleted and made anew while it was read; start the worker again: it begins \
         where the group has committed, or at the topic's start"
    )
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
