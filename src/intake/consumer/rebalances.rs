//! The callbacks of the consumer, and the state that they share with the thread and the publisher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::commits::CommitCount;
use super::pairs::Counts;
use super::progress::{Log, Progress};
use super::statistics::{self, Statistics};
use super::troubles::Troubles;
use crate::intake::{Commit, Event, Input, Partition};
use crate::kafka::Settings;
use crate::telemetry::IntakeMeter;

/// The consumer's callbacks. They run on the consumer's thread, within its poll.
#[derive(Debug)]
pub struct Rebalances {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) group_id: String,
    /// Counts the assignments.
    pub(super) epoch: AtomicU32,
    /// The partitions of this member, each with the epoch of its assignment. The worker learns of a
    /// loss a moment later than this thread; the publisher checks this map, so that it does not
    /// commit in that moment.
    pub(super) held: Mutex<BTreeMap<Partition, u32>>,
    /// Commits that the publisher sends outside a transaction: a revocation waits for them.
    pub commits: CommitCount,
    /// In the order of [`Input`].
    pub(super) topics: [String; 2],
    /// How many partitions the topics had at the last assignment.
    pub(super) counts: Mutex<Counts>,
    pub(super) progress: Mutex<Progress>,
    /// The last statistics of the partitions' logs, until the thread has handed over what was read
    /// before them.
    pub(super) logs: Mutex<Vec<(Partition, Log)>>,
    pub(super) troubles: Mutex<Troubles>,
    /// A topic that was deleted and recreated: what is known about it is void.
    pub(super) recreated: OnceLock<String>,
    pub(super) meter: IntakeMeter,
    pub(super) drain_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) bootstrap_servers: String,
    /// A broker that is silent for longer counts as away.
    pub(super) silent_max: Duration,
    /// Whether no broker answered at the last check.
    pub(super) away: AtomicBool,
}

impl ClientContext for Rebalances {
    /// Errors are also returned by the poll, and logged there.
    fn error(&self, _: KafkaError, _: &str) {}

    /// Only one of the client's debug lines matters. Fetches name the topic by its id, so the
    /// client reports a new id before any record of the new topic can be read.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Debug => {
                if let Some(topic) = statistics::recreated(line)
                    && self.topics.iter().any(|ours| ours == topic)
                {
                    self.recreated.get_or_init(|| topic.to_owned());
                }
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                info!(target: "librdkafka", "{facility}: {line}")
            }
            RDKafkaLogLevel::Warning => warn!(target: "librdkafka", "{facility}: {line}"),
            _ => error!(target: "librdkafka", "{facility}: {line}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Some(statistics) = Statistics::read(statistics) else { return };
        let logs =
            statistics.logs().map(|(topic, number, log)| (self.partition(topic, number), log));
        *lock(&self.logs) = logs.collect();
        let troubles = self.troubles().clone();
        let brokers = self.whether_brokers_answer(&statistics);
        let status = brokers.and_then(|()| troubles.group.or(troubles.fetch).map_or(Ok(()), Err));
        // A worker that is gone needs no telling.
        drop(self.events.blocking_send(Event::Brokers(status)));
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = match error {
            RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.meter.assigned();
                self.assign(consumer, partitions)
            }
            RespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.meter.revoked(consumer.assignment_lost());
                self.revoke(consumer, partitions)
            }
            other => Err(format!("the group cannot be joined: {other:?}")),
        };
        if let Err(reason) = done {
            // A worker that is gone needs no telling.
            drop(self.events.blocking_send(Event::Failed(reason)));
        }
    }
}

impl Rebalances {
    pub(super) fn new(
        settings: &Settings,
        drain_timeout: Duration,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            events,
            group_id: settings.group_id.clone(),
            epoch: AtomicU32::new(0),
            held: Mutex::default(),
            commits: CommitCount::default(),
            topics: [settings.input_topic.clone(), settings.retry_topic.clone()],
            counts: Mutex::default(),
            progress: Mutex::default(),
            logs: Mutex::default(),
            recreated: OnceLock::new(),
            troubles: Mutex::default(),
            meter: IntakeMeter::default(),
            drain_timeout,
            request_timeout: settings.request_timeout,
            bootstrap_servers: settings.bootstrap_servers.clone(),
            silent_max: settings.session_timeout / 2,
            away: AtomicBool::new(false),
        }
    }

    /// Whether the assignments of all these commits still hold. Ask after the group's metadata were
    /// fetched: if a partition is lost later, the group refuses a commit with that metadata.
    pub fn holds(&self, commits: &[Commit]) -> bool {
        if self.recreated.get().is_some() {
            return false;
        }
        let held = self.held();
        commits.iter().all(|commit| held.get(&commit.partition) == Some(&commit.epoch))
    }

    /// Whether any broker answers, or one sentence. Logs it when that changes.
    fn whether_brokers_answer(&self, statistics: &Statistics) -> Result<(), String> {
        let answers = statistics.any_answers(self.silent_max);
        let status = answers
            .then_some(())
            .ok_or_else(|| format!("no broker of {} answers", self.bootstrap_servers));
        match (&status, self.away.swap(!answers, Ordering::Relaxed)) {
            (Err(reason), false) => warn!("{reason}; the consumer goes on when one does"),
            (Ok(()), true) => info!("a broker answers the consumer again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        status
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    /// The numbers of this member's partitions of a topic.
    pub(super) fn held_numbers(&self, input: Input) -> BTreeSet<i32> {
        self.held()
            .keys()
            .filter(|partition| partition.input == input)
            .map(|partition| partition.number)
            .collect()
    }

    pub(super) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        lock(&self.troubles)
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.held().is_empty()
    }

    /// The commits to make without a batch, see [`Progress::following`].
    pub fn following(
        &self,
        last: &BTreeMap<Partition, (Commit, Instant)>,
        refresh: Duration,
    ) -> Vec<Commit> {
        self.progress().following(last, refresh, Instant::now())
    }

    /// The retry partition for records that were read from the partition with this number. `None`
    /// before the first assignment.
    pub fn retry_of(&self, number: i32) -> Option<i32> {
        self.counts().retry_of(number)
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    pub(super) fn held(&self) -> MutexGuard<'_, BTreeMap<Partition, u32>> {
        lock(&self.held)
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

    pub(super) fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let partition = |element: &TopicPartitionListElem<'_>| {
            self.partition(element.topic(), element.partition())
        };
        list.elements().iter().map(partition).collect()
    }

    pub(super) fn take_logs(&self) -> Vec<(Partition, Log)> {
        std::mem::take(&mut *lock(&self.logs))
    }

    pub(super) fn list<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a Partition>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(self.topic(*partition), partition.number);
        }
        list
    }
}

/// If a thread panicked with the lock held, the worker is about to end: the value is used as it is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
