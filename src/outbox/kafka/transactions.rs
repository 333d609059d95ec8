//! One flush as one Kafka transaction, or (`at_least_once`) as messages and then a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Command;
use super::deliveries::Deliveries;
use crate::intake::Commit;
use crate::intake::kafka::SharedConsumer;
use crate::kafka::{Guarantee, Settings};
use crate::outbox::PublishError;
use crate::outbox::message::{Message, Topic};

/// The pause between two looks for delivery reports.
const LOOK: Duration = Duration::from_micros(300);

/// librdkafka's own bound on a batch.
const BATCH_MAX_BYTES: usize = 1_000_000;
/// Nothing that is published fits into less.
const MAX_BYTES_LEAST: usize = 512;
/// How long the end of a failed transaction is waited for, twice at most. While Kafka is away that is time lost, and the next producer's
/// start ends the transaction in any case; but if that is long in coming, whoever reads what is committed waits for it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// The thread's own state.
pub(super) struct Transactions {
    pub(super) settings: Settings,
    pub(super) consumer: SharedConsumer,
    pub(super) transactional_id: String,
    pub(super) producer: Option<BaseProducer<Deliveries>>,
    /// What a commit said whose end is not known.
    pub(super) doubt: Option<Vec<Commit>>,
    /// By topic, in the order of [`Topic::ALL`].
    pub(super) max_bytes: Arc<[AtomicUsize; 3]>,
}

/// How a transaction failed, and what is known of it.
enum Failure {
    /// It never took place.
    Aborted(KafkaError),
    /// It never took place, for this topic did not take a message.
    Refused(Topic, RDKafkaErrorCode),
    /// Perhaps it took place.
    Uncertain(KafkaError),
}

/// Takes the delivery reports that are there, or waits a little. rdkafka's own waiting ends when its time is over, however early a
/// report comes, and spins through the last millisecond: it would be the longest part of a flush.
fn look(producer: &BaseProducer<Deliveries>) {
    let reported = &producer.context().reported;
    let before = reported.load(Ordering::Relaxed);
    producer.poll(Duration::ZERO);
    if reported.load(Ordering::Relaxed) == before {
        std::thread::sleep(LOOK);
    }
}

/// Ends a transaction, as well as can be. librdkafka's abort waits for the report of every message that was sent and takes none of them
/// itself; an abort that overtook a message would leave that one open.
fn abort(producer: &BaseProducer<Deliveries>) {
    producer.purge(PurgeConfig::default().queue());
    let deadline = Instant::now() + ABORT_TIMEOUT;
    while producer.in_flight_count() > 0 {
        if Instant::now() > deadline {
            return debug!("messages of the transaction are still under way; the next producer ends it");
        }
        look(producer);
    }
    if let Err(error) = producer.abort_transaction(ABORT_TIMEOUT) {
        debug!(error.message = %error, "the transaction could not be aborted; the next producer ends it");
    }
}

impl Transactions {
    /// Takes commands until nobody can send one any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            let result = match self.settings.guarantee {
                Guarantee::ExactlyOnce => self.transact(&command),
                Guarantee::AtLeastOnce => self.send_then_commit(&command),
            };
            // A worker that is gone needs no answer.
            drop(command.reply.send(result));
        }
    }

    fn transact(&mut self, command: &Command) -> Result<(), PublishError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make_producer().map_err(|error| self.judge(&error))?,
        };
        if let Some(doubt) = self.doubt.take() {
            match self.took_place(&doubt, &command.commits) {
                Ok(true) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => {
                    self.doubt = Some(doubt);
                    self.producer = Some(producer);
                    return Err(PublishError::Aborted(format!(
                        "whether the last commit took place cannot be read: {error}"
                    )));
                }
            }
        }
        match self.transaction(&producer, command) {
            Ok(()) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(Failure::Uncertain(error)) => {
                self.doubt = Some(command.commits.clone());
                Err(self.judge(&error))
            }
            Err(failure @ (Failure::Aborted(_) | Failure::Refused(..))) => {
                // The producer goes either way, for late delivery reports of this transaction must not be counted in the next.
                abort(&producer);
                Err(self.judge_failure(&failure))
            }
        }
    }

    fn transaction(&self, producer: &BaseProducer<Deliveries>, command: &Command) -> Result<(), Failure> {
        let timeout = self.settings.request_timeout;
        producer.begin_transaction().map_err(Failure::Aborted)?;
        self.deliver(producer, &command.messages)?;
        let offsets = self.offsets(&command.commits).map_err(Failure::Aborted)?;
        let Some(group) = self.consumer.group_metadata() else {
            return Err(Failure::Aborted(KafkaError::Canceled));
        };
        producer.send_offsets_to_transaction(&offsets, &group, timeout).map_err(Failure::Aborted)?;
        let commit = producer.commit_transaction(timeout);
        commit.map_err(
            |error| if needs_abort(&error) { Failure::Aborted(error) } else { Failure::Uncertain(error) },
        )
    }

    /// Whether the doubtful commit took place: it did if the group has exactly what it said, for nobody else commits for a partition that
    /// was this worker's all the while. Partitions that are not in `live` were lost since, and say nothing.
    fn took_place(&self, doubt: &[Commit], live: &[Commit]) -> KafkaResult<bool> {
        let live = |commit: &&Commit| live.iter().any(|live| live.partition == commit.partition);
        let said: Vec<&Commit> = doubt.iter().filter(live).collect();
        let mut partitions = TopicPartitionList::new();
        for commit in &said {
            partitions.add_partition(self.settings.topic(commit.partition.input), commit.partition.number);
        }
        let committed = self.consumer.committed_offsets(partitions, self.settings.request_timeout)?;
        let has = |commit: &&Commit| {
            let found = committed
                .find_partition(self.settings.topic(commit.partition.input), commit.partition.number);
            found.is_some_and(|found| {
                found.offset() == Offset::Offset(commit.offset) && found.metadata() == commit.metadata
            })
        };
        Ok(!said.is_empty() && said.iter().all(has))
    }

    fn send_then_commit(&mut self, command: &Command) -> Result<(), PublishError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make_producer().map_err(|error| self.judge(&error))?,
        };
        self.deliver(&producer, &command.messages).map_err(|failure| self.judge_failure(&failure))?;
        self.producer = Some(producer);
        let offsets = self.offsets(&command.commits).map_err(|error| self.judge(&error))?;
        if offsets.count() == 0 {
            return Ok(());
        }
        self.consumer.commit(&offsets, CommitMode::Sync).map_err(|error| self.judge(&error))
    }

    /// Sends every message and waits for every report.
    fn deliver(&self, producer: &BaseProducer<Deliveries>, messages: &[Message]) -> Result<(), Failure> {
        let deliveries = producer.context();
        deliveries.reported.store(0, Ordering::Relaxed);
        let deadline = Instant::now() + self.settings.transaction_timeout;
        for message in messages {
            self.enqueue(producer, message, deadline)?;
        }
        while deliveries.reported.load(Ordering::Relaxed) < messages.len() {
            if Instant::now() > deadline {
                return Err(Failure::Aborted(KafkaError::MessageProduction(
                    RDKafkaErrorCode::MessageTimedOut,
                )));
            }
            look(producer);
        }
        match deliveries.failed.get() {
            None => Ok(()),
            Some((topic, code)) => Err(self.refused(*topic, *code)),
        }
    }

    fn enqueue(
        &self,
        producer: &BaseProducer<Deliveries>,
        message: &Message,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            // A header's name cannot hold a NUL on its way through C.
            let key: &str = if key.contains('\0') { "claimgate-unreadable-header" } else { key };
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let topic = self.topic(message.topic);
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, message.topic as usize).headers(headers);
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    look(producer);
                    record = back;
                }
                Err((error, _)) => {
                    return Err(match error.rdkafka_error_code() {
                        Some(code) => self.refused(message.topic, code),
                        None => Failure::Aborted(error),
                    });
                }
            }
        }
    }

    fn topic(&self, topic: Topic) -> &str {
        match topic {
            Topic::Decisions => &self.settings.output_topic,
            Topic::DeadLetters => &self.settings.dead_letter_topic,
            Topic::Retry => &self.settings.retry_topic,
        }
    }

    /// A topic does not take a message. If it takes less than librdkafka knows, what is made for it from now on is smaller.
    fn refused(&self, topic: Topic, code: RDKafkaErrorCode) -> Failure {
        if code == RDKafkaErrorCode::MessageSizeTooLarge {
            let max_bytes = &self.max_bytes[topic as usize];
            let smaller = (max_bytes.load(Ordering::Relaxed) / 2).max(MAX_BYTES_LEAST);
            warn!(
                kafka.topic = self.topic(topic),
                max_bytes = smaller,
                "a message is too large for its topic; larger ones are cut from now on"
            );
            max_bytes.store(smaller, Ordering::Relaxed);
        }
        Failure::Refused(topic, code)
    }

    /// No batch is larger than a message may be for the topic that takes least: the broker weighs batches, not messages.
    fn batch_bytes(&self) -> usize {
        let least = self.max_bytes.iter().map(|max_bytes| max_bytes.load(Ordering::Relaxed)).min();
        least.unwrap_or(BATCH_MAX_BYTES).clamp(1, BATCH_MAX_BYTES)
    }

    fn offsets(&self, commits: &[Commit]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        for commit in commits {
            let mut element =
                offsets.add_partition(self.settings.topic(commit.partition.input), commit.partition.number);
            element.set_offset(Offset::Offset(commit.offset))?;
            element.set_metadata(&commit.metadata);
        }
        Ok(offsets)
    }

    fn make_producer(&self) -> KafkaResult<BaseProducer<Deliveries>> {
        let timeout = self.settings.transaction_timeout.as_millis().to_string();
        let mut config = self.settings.client();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("batch.size", self.batch_bytes().to_string())
            .set("message.max.bytes", self.settings.max_message_bytes.clamp(1_000, 1_000_000_000).to_string())
            .set("delivery.timeout.ms", &timeout)
            .set("queue.buffering.max.messages", "100000");
        if self.settings.guarantee == Guarantee::AtLeastOnce {
            return config.create_with_context(Deliveries::default());
        }
        config.set("transactional.id", &self.transactional_id).set("transaction.timeout.ms", &timeout);
        let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
        // Ends whatever a producer of this id left open before: from here on it is known how that ended.
        producer.init_transactions(self.settings.request_timeout)?;
        Ok(producer)
    }

    fn judge_failure(&self, failure: &Failure) -> PublishError {
        match failure {
            Failure::Aborted(error) | Failure::Uncertain(error) => self.judge(error),
            Failure::Refused(topic, code) => match self.judge(&KafkaError::MessageProduction(*code)) {
                PublishError::Aborted(_) => {
                    PublishError::Aborted(format!("topic {:?} takes no messages: {code}", self.topic(*topic)))
                }
                fatal @ PublishError::Fatal(_) => fatal,
            },
        }
    }

    fn judge(&self, error: &KafkaError) -> PublishError {
        let code = error.rdkafka_error_code();
        let fenced =
            [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::FencedInstanceId];
        if code.is_some_and(|code| fenced.contains(&code)) {
            let id = self.settings.instance_id.as_deref().unwrap_or("(none)");
            return PublishError::Fatal(format!(
                "another worker took over kafka.instance_id {id:?}: give each worker its own ({error})"
            ));
        }
        let authorization = [
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::GroupAuthorizationFailed,
            RDKafkaErrorCode::ClusterAuthorizationFailed,
        ];
        if code.is_some_and(|code| authorization.contains(&code)) {
            return PublishError::Fatal(format!("Kafka refuses the worker's principal: {error}"));
        }
        PublishError::Aborted(error.to_string())
    }
}

fn needs_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort())
}
