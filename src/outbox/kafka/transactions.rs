//! One flush as one Kafka transaction, or (`at_least_once`) as messages and then a commit.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::debug;

use super::Command;
use super::deliveries::Deliveries;
use super::sending::{Failure, look};
use crate::intake::Commit;
use crate::intake::kafka::SharedConsumer;
use crate::kafka::{Guarantee, Settings, metadata};
use crate::outbox::PublishError;

/// How long the end of a failed transaction is waited for, twice at most. While Kafka is away that is time lost, and the next producer's
/// start ends the transaction in any case; but if that is long in coming, whoever reads what is committed waits for it.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// The thread's own state.
pub(super) struct Transactions {
    pub(super) settings: Settings,
    pub(super) consumer: SharedConsumer,
    pub(super) transactional_id: String,
    pub(super) producer: Option<BaseProducer<Deliveries>>,
    /// A batch whose commit has an unknown end, and what that commit said.
    pub(super) doubt: Option<(u64, Vec<Commit>)>,
    /// By topic, in the order of [`Topic::ALL`](crate::outbox::message::Topic::ALL).
    pub(super) max_bytes: Arc<[AtomicUsize; 3]>,
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
        // Made now, for its start takes longer than many a flush. Where that fails, the first flush makes one, and says what is wrong.
        if self.settings.guarantee == Guarantee::ExactlyOnce {
            self.producer = self.make_producer().ok();
        }
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
        // Doubt about another batch is void: all of its records' assignments have ended, and what was read at the new ones is known.
        if let Some((batch, doubt)) = self.doubt.take_if(|(batch, _)| *batch == command.batch) {
            match self.took_place(&doubt, &command.commits) {
                Ok(true) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => {
                    self.doubt = Some((batch, doubt));
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
                self.doubt = Some((command.batch, command.commits.clone()));
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
        self.check_held(&command.commits).map_err(Failure::Aborted)?;
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
                found.offset() == Offset::Offset(commit.offset) && metadata(&found) == commit.metadata
            })
        };
        Ok(!said.is_empty() && said.iter().all(has))
    }

    /// A partition may have gone since the commits were planned, and the member may be in its group again: the group would not refuse them.
    fn check_held(&self, commits: &[Commit]) -> KafkaResult<()> {
        if self.consumer.context().holds(commits) {
            return Ok(());
        }
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost))
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
        self.check_held(&command.commits).map_err(|error| self.judge(&error))?;
        self.consumer.commit(&offsets, CommitMode::Sync).map_err(|error| self.judge(&error))
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
        // A worker without a name has no namesake: its transaction outlasted its time, and the broker put an end to it.
        if let Some(id) = &self.settings.instance_id
            && code.is_some_and(|code| fenced.contains(&code))
        {
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
