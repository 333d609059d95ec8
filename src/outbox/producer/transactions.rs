//! One flush as one Kafka transaction, or (`at_least_once`) as messages and then a commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer};
use tokio::time::Instant;
use tracing::debug;

use super::aborts::{abort, cause, needs_abort};
use super::bounds::{Bounds, BoundsReader};
use super::clients;
use super::command::Command;
use super::commits::CommitQueue;
use super::deliveries::Deliveries;
use super::doubt::Doubt;
use super::failure::{Failure, is_fenced};
use super::offsets::offsets;
use crate::intake::consumer::SharedConsumer;
use crate::intake::{Commit, Partition};
use crate::kafka::{Guarantee, Settings};
use crate::outbox::message::Topic;
use crate::telemetry::meter;

/// How often the thread checks whether offsets are to be committed without a batch.
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// The last commit of each partition, and when it was made.
type Committed = BTreeMap<Partition, (Commit, Instant)>;

/// The thread's own state.
pub(super) struct Transactions {
    pub(super) settings: Settings,
    pub(super) consumer: SharedConsumer,
    pub(super) transactional_id: String,
    pub(super) producer: Option<BaseProducer<Deliveries>>,
    pub(super) doubt: Doubt,
    pub(super) bounds: Arc<Bounds>,
    /// The largest batch that the client makes.
    pub(super) batch_max_bytes: usize,
    pub(super) reader: BoundsReader,
    /// The queue of offsets to commit, with `at_least_once`.
    pub(super) commits: Option<CommitQueue>,
    /// The last commit of each partition.
    pub(super) committed: Committed,
    /// When commits without a batch were last looked for.
    pub(super) followed: Instant,
}

impl Transactions {
    /// Takes commands until their sender is dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        // Makes the producer now, because its start takes longer than a flush. If that fails, the
        // first flush tries again and says what is wrong.
        if self.settings.guarantee == Guarantee::ExactlyOnce {
            self.producer = self.make_producer().ok();
        }
        self.reader.read(&self.bounds, &self.settings);
        loop {
            let command = match commands.recv_timeout(IDLE) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.follow();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.reader.look_again(&self.bounds, &self.settings);
            let result = match self.settings.guarantee {
                Guarantee::ExactlyOnce => self.transact(&command),
                Guarantee::AtLeastOnce => self.send_then_commit(&command),
            };
            if matches!(&result, Err(Failure::Refused(refused)) if refused.refusals[0].too_large) {
                // The topic may take less than before.
                self.reader.read(&self.bounds, &self.settings);
            }
            if result.is_ok() {
                self.note(&command.commits);
            }
            // If the worker is gone, it needs no answer.
            drop(command.reply.send(result.map_err(|failure| self.not_published(failure))));
            self.follow();
        }
    }

    /// Makes one transaction; or two, if the broker fenced the first producer. The broker fences a
    /// producer whose transaction timed out; the group says whether another worker has the name
    /// now.
    fn transact(&mut self, command: &Command) -> Result<(), Failure> {
        match self.attempt(command) {
            Err(Failure::Aborted(error) | Failure::Uncertain(error))
                if is_fenced(&error) && !self.has_lost_its_name(&error) =>
            {
                meter::producer_fenced();
                debug!(error.message = %error,
                    "the broker put an end to a transaction; another is tried");
                self.attempt(command)
            }
            result => result,
        }
    }

    fn attempt(&mut self, command: &Command) -> Result<(), Failure> {
        let producer = self.take_producer().map_err(Failure::Aborted)?;
        if let Some(doubt) = self.doubt.take(command.batch) {
            match self.took_place(&doubt) {
                Ok(true) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => {
                    self.doubt = Doubt::of(command.batch, doubt);
                    self.producer = Some(producer);
                    return Err(Failure::Unread(error));
                }
            }
        }
        let result =
            self.transaction(&producer, command).map_err(|failure| cause(&producer, failure));
        match &result {
            Ok(()) => self.producer = Some(producer),
            Err(Failure::Uncertain(_)) => {
                self.doubt = Doubt::of(command.batch, command.commits.clone())
            }
            // The producer is dropped in any case: late delivery reports of this transaction must
            // not count in the next.
            Err(_) => abort(&producer),
        }
        result
    }

    pub(super) fn transaction(
        &self,
        producer: &BaseProducer<Deliveries>,
        command: &Command,
    ) -> Result<(), Failure> {
        let timeout = self.settings.request_timeout;
        producer.begin_transaction().map_err(Failure::Aborted)?;
        self.deliver(producer, &command.parcels)?;
        check_decisions_are_taken(command)?;
        let offsets = offsets(&self.settings, &command.commits).map_err(Failure::Aborted)?;
        let Some(group) = self.consumer.group_metadata() else {
            return Err(Failure::Aborted(KafkaError::Canceled));
        };
        self.check_held(&command.commits).map_err(Failure::Aborted)?;
        producer
            .send_offsets_to_transaction(&offsets, &group, timeout)
            .map_err(Failure::Aborted)?;
        let commit = producer.commit_transaction(timeout);
        commit.map_err(|error| {
            if needs_abort(&error) { Failure::Aborted(error) } else { Failure::Uncertain(error) }
        })
    }

    /// Sends the messages now and lets the offsets be committed when the group takes them. To wait
    /// for a commit would be to wait for a rebalance.
    fn send_then_commit(&mut self, command: &Command) -> Result<(), Failure> {
        self.commits.as_ref().map_or(Ok(()), CommitQueue::check).map_err(Failure::Aborted)?;
        let producer = self.take_producer().map_err(Failure::Aborted)?;
        self.deliver(&producer, &command.parcels)?;
        check_decisions_are_taken(command)?;
        self.producer = Some(producer);
        if let Some(commits) = &self.commits {
            commits.hand_over(&command.commits);
        }
        Ok(())
    }

    pub(super) fn make_producer(&self) -> KafkaResult<BaseProducer<Deliveries>> {
        let producer = clients::producer(&self.settings, &self.transactional_id)?;
        if self.settings.guarantee == Guarantee::ExactlyOnce {
            // Ends any transaction that a former producer of this id left open. From here on its
            // result is known.
            producer.init_transactions(self.settings.request_timeout)?;
        }
        meter::producer_started();
        Ok(producer)
    }

    /// Takes the producer, or makes one if there is none: the last was given up, or could not be
    /// made.
    pub(super) fn take_producer(&mut self) -> KafkaResult<BaseProducer<Deliveries>> {
        self.producer.take().map_or_else(|| self.make_producer(), Ok)
    }
}

/// A decision that its topic rejects even when cut is left out where the topic takes others now. A
/// topic that takes none is at fault itself and has to be repaired: no decision may be left out for
/// that.
fn check_decisions_are_taken(command: &Command) -> Result<(), Failure> {
    let at_fault = |code| Err(Failure::Topic(Topic::Decisions, code));
    command.decisions_refused.map_or(Ok(()), at_fault)
}
