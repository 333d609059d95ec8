//! What happens when partitions come and go, on the consumer's thread.
//!
//! The invariants: an assignment's committed offset and its metadata are read once, and reading starts from that very offset; a
//! revocation waits for the worker, but not for ever.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::brokers;
use crate::intake::{Assigned, Commit, Event, Input, Partition};

/// The pause before the broker is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// The consumer's callbacks. They run on the consumer's thread, within its poll.
#[derive(Debug)]
pub struct Rebalances {
    pub(super) events: mpsc::Sender<Event>,
    /// Counts the assignments.
    pub(super) epoch: AtomicU32,
    /// The partitions that are this member's, each with its assignment's epoch. The worker learns of a loss a moment later than this
    /// thread, and the publisher must not commit in that moment: this is what it looks at.
    pub(super) held: Mutex<BTreeMap<Partition, u32>>,
    /// In the order of [`Input`].
    pub(super) topics: [String; 2],
    /// How many partitions the retry topic had at the last assignment; 0 before the first.
    pub(super) retry_partitions: AtomicI32,
    pub(super) drain_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) bootstrap_servers: String,
    /// A broker of which nothing is heard for longer is away.
    pub(super) silent_max: Duration,
    /// Whether no broker answered when that was last looked at.
    pub(super) away: AtomicBool,
}

impl ClientContext for Rebalances {
    /// What goes wrong comes out of the poll as well, and is told there.
    fn error(&self, _: KafkaError, _: &str) {}

    fn stats_raw(&self, statistics: &[u8]) {
        let Some(answers) = brokers::any_answers(statistics, self.silent_max) else { return };
        let said =
            if answers { Ok(()) } else { Err(format!("no broker of {} answers", self.bootstrap_servers)) };
        match (&said, self.away.swap(!answers, Ordering::Relaxed)) {
            (Err(reason), false) => warn!("{reason}; the consumer goes on when one does"),
            (Ok(()), true) => info!("a broker answers the consumer again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        // A worker that is gone needs no telling.
        drop(self.events.blocking_send(Event::Brokers(said)));
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RespErr, partitions: &mut TopicPartitionList) {
        let done = match error {
            RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, partitions),
            other => Err(format!("the group cannot be joined: {other:?}")),
        };
        if let Err(reason) = done {
            // A worker that is gone needs no telling.
            drop(self.events.blocking_send(Event::Failed(reason)));
        }
    }
}

impl Rebalances {
    /// Whether all of these are for assignments that still hold. To be asked after the group's metadata were fetched: what is lost later, the
    /// group refuses under these.
    pub fn holds(&self, commits: &[Commit]) -> bool {
        let held = self.held();
        commits.iter().all(|commit| held.get(&commit.partition) == Some(&commit.epoch))
    }

    /// The retry partition for what was read from the partition of this number. `None` before the first assignment.
    pub fn retry_of(&self, number: i32) -> Option<i32> {
        number.checked_rem(self.retry_partitions.load(Ordering::Relaxed))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Partition, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topic(&self, partition: Partition) -> &str {
        &self.topics[partition.input as usize]
    }

    pub(super) fn partition(&self, topic: &str, number: i32) -> Partition {
        if topic == self.topics[Input::Retry as usize] {
            Partition::retry(number)
        } else {
            Partition::claims(number)
        }
    }

    /// Reads what the group has committed, once, and starts from that very offset: two readings could differ.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> Result<(), String> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        // The group may have no partition for this member; nothing is to be asked then.
        let committed =
            if partitions.count() == 0 { partitions.clone() } else { self.committed(consumer, partitions)? };
        self.count_retry_partitions(consumer)?;
        let mut assigned = Vec::new();
        for element in committed.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let start = offset.map_or(Offset::Invalid, Offset::Offset);
            partitions.set_partition_offset(element.topic(), element.partition(), start).map_err(
                |error| format!("cannot start partition {} at {start:?}: {error}", element.partition()),
            )?;
            let metadata = metadata(&element);
            let log_end = if metadata.is_empty() {
                i64::MAX
            } else {
                self.log_end(consumer, element.topic(), element.partition())?
            };
            let partition = self.partition(element.topic(), element.partition());
            assigned.push(Assigned { partition, epoch, offset, metadata, log_end });
        }
        info!(partitions = %labels(assigned.iter().map(|assigned| assigned.partition)), "partitions assigned");
        self.held().extend(assigned.iter().map(|assigned| (assigned.partition, epoch)));
        if self.events.blocking_send(Event::Assigned(assigned)).is_err() {
            return Ok(());
        }
        consumer.incremental_assign(partitions).map_err(|error| format!("cannot take partitions on: {error}"))
    }

    /// Asks the broker until it answers: an outage that begins within a rebalance is an outage like any other.
    fn ask<T>(&self, what: &str, question: impl Fn() -> KafkaResult<T>) -> Result<T, String> {
        let mut told = false;
        loop {
            let error = match question() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // A worker that is gone waits for no answer.
            if self.events.is_closed() || error.rdkafka_error_code().is_some_and(is_refusal) {
                return Err(format!("{what} cannot be read: {error}"));
            }
            if !told {
                warn!(error.message = %error, "{what} cannot be read; asking again until Kafka answers");
                told = true;
            }
            std::thread::sleep(ASK_PAUSE);
        }
    }

    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<TopicPartitionList, String> {
        self.ask(&format!("the committed offsets of {}", self.topics.join(" and ")), || {
            let committed = consumer.committed_offsets(partitions.clone(), self.request_timeout)?;
            committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(committed)
        })
    }

    fn count_retry_partitions(&self, consumer: &BaseConsumer<Self>) -> Result<(), String> {
        let topic = &self.topics[Input::Retry as usize];
        let count = self.ask(&format!("how many partitions {topic} has"), || {
            let metadata = consumer.fetch_metadata(Some(topic), self.request_timeout)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            Ok(found.map_or(0, |found| found.partitions().len()))
        })?;
        self.retry_partitions.store(i32::try_from(count).unwrap_or(i32::MAX), Ordering::Relaxed);
        Ok(())
    }

    fn log_end(&self, consumer: &BaseConsumer<Self>, topic: &str, number: i32) -> Result<i64, String> {
        self.ask(&format!("the end of {topic}/{number}"), || {
            consumer.fetch_watermarks(topic, number, self.request_timeout).map(|(_, end)| end)
        })
    }

    /// Waits until the worker has let go of the partitions, or for `drain_timeout`.
    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> Result<(), String> {
        let elements = partitions.elements();
        let revoked: Vec<Partition> =
            elements.iter().map(|element| self.partition(element.topic(), element.partition())).collect();
        info!(partitions = %labels(revoked.iter().copied()), lost = consumer.assignment_lost(), "partitions revoked");
        if consumer.assignment_lost() {
            self.let_go(&revoked);
            drop(self.events.blocking_send(Event::Lost(revoked.clone())));
        } else {
            let (release, released) = sync_channel(1);
            let told = self.events.blocking_send(Event::Revoked { partitions: revoked.clone(), release });
            if told.is_ok() && released.recv_timeout(self.drain_timeout) == Err(RecvTimeoutError::Timeout) {
                warn!(partitions = %labels(revoked.iter().copied()), "the worker did not let go of its partitions in time; what is left is redelivered");
                drop(self.events.blocking_send(Event::Lost(revoked.clone())));
            }
        }
        self.let_go(&revoked);
        consumer
            .incremental_unassign(partitions)
            .map_err(|error| format!("cannot give partitions back: {error}"))
    }

    fn let_go(&self, partitions: &[Partition]) {
        self.held().retain(|partition, _| !partitions.contains(partition));
    }
}

/// Whether an error says that the worker may not, which no waiting mends.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    let refusals = [
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ];
    refusals.contains(&code)
}

fn labels(partitions: impl Iterator<Item = Partition>) -> String {
    partitions.map(Partition::label).collect::<Vec<_>>().join(" ")
}

/// An element's metadata. rdkafka panics on metadata that is not UTF-8, which can only be foreign.
fn metadata(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_else(|_| "\u{fffd}".to_owned())
}
