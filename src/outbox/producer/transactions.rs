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
use crate::outbox::message::{Parcel, Topic};
use crate::telemetry::meter;

/// How often it is looked whether something is to be committed without a batch, at most.
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
    /// Where `at_least_once` hands its offsets over.
    pub(super) commits: Option<CommitQueue>,
    /// What was committed last, and when commits without a batch were looked for.
    pub(super) committed: Committed,
    pub(super) followed: Instant,
}

impl Transactions {
    /// Takes commands until nobody can send one any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        // Made now, for its start takes longer than many a flush. Where that fails, the first flush
        // makes one, and says what is wrong.
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
            if matches!(&result, Err(Failure::Refused { refusals, .. }) if refusals[0].too_large) {
                // Perhaps the topic takes less than it did.
                self.reader.read(&self.bounds, &self.settings);
            }
            if result.is_ok() {
                self.note(&command.commits);
            }
            // A worker that is gone needs no answer.
            drop(command.reply.send(result.map_err(|failure| self.not_published(failure))));
            self.follow();
        }
    }

    /// One transaction; or two, where the broker put an end to the first producer. It does that to
    /// a transaction that outlived its time, and the group tells whether the name is somebody
    /// else's now.
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
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make_producer().map_err(Failure::Aborted)?,
        };
        if let Some(doubt) = self.doubt.take(command.batch) {
            match self.took_place(&doubt, &command.commits) {
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
            // The producer goes either way, for late delivery reports of this transaction must not
            // be counted in the next.
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
        self.check_rest_is_taken(command)?;
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

    /// The messages now, the offsets when the group takes them: who waits for a commit waits for a
    /// rebalance.
    fn send_then_commit(&mut self, command: &Command) -> Result<(), Failure> {
        self.commits.as_ref().map_or(Ok(()), CommitQueue::check).map_err(Failure::Aborted)?;
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make_producer().map_err(Failure::Aborted)?,
        };
        self.deliver(&producer, &command.parcels)?;
        self.check_rest_is_taken(command)?;
        self.producer = Some(producer);
        if let Some(commits) = &self.commits {
            commits.hand_over(&command.commits);
        }
        Ok(())
    }

    /// A decision that its topic rejects even when cut is left out where the topic takes others
    /// now. A topic that takes none is at fault itself and has to be repaired: no decision may be
    /// left out for that.
    fn check_rest_is_taken(&self, command: &Command) -> Result<(), Failure> {
        let Some(code) = command.decision_left_out else { return Ok(()) };
        let is_decision = |parcel: &Parcel| parcel.message.topic == Topic::Decisions;
        if command.parcels.iter().any(is_decision) {
            Ok(())
        } else {
            Err(Failure::Topic(Topic::Decisions, code))
        }
    }

    pub(super) fn make_producer(&self) -> KafkaResult<BaseProducer<Deliveries>> {
        let producer = clients::producer(&self.settings, &self.transactional_id)?;
        if self.settings.guarantee == Guarantee::ExactlyOnce {
            // Ends whatever a producer of this id left open before: from here on it is known how
            // that ended.
            producer.init_transactions(self.settings.request_timeout)?;
        }
        meter::producer_started();
        Ok(producer)
    }
}
