//! The consumer. It has a thread of its own, because rebalance callbacks block.
//!
//! The only module of intake that knows Kafka. It never stops polling, pauses the partitions that
//! the worker names, and never commits. It sends everything to the worker through one bounded
//! channel, so that the worker sees assignments, records and revocations in their order.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::sync::{mpsc, watch};

mod assignments;
mod commits;
mod config;
mod dealt;
mod leaving;
mod logs;
mod looks;
mod membership;
mod messages;
mod orphans;
mod pairs;
mod paused;
mod progress;
mod reader;
mod rebalances;
mod starts;
mod statistics;
mod troubles;

pub use commits::CommitCount;
pub use leaving::Leave;
pub use membership::Membership;
pub(crate) use messages::headers;
use orphans::Watch;
use paused::PausedLogs;
use reader::Reader;
pub use rebalances::Rebalances;

use super::{Event, Intake, Partition};
use crate::kafka::Settings;

/// The most events that wait for the worker. At the bound the thread waits; that is short unless
/// the worker hangs.
const EVENTS: usize = 16;

/// The consumer, shared with the publisher: its group metadata fences transactions.
pub type SharedConsumer = Arc<BaseConsumer<Rebalances>>;

/// The worker's side of the consumer.
#[derive(Debug)]
pub struct KafkaIntake {
    events: mpsc::Receiver<Event>,
    paused: watch::Sender<BTreeSet<Partition>>,
    membership: Membership,
}

impl Intake for KafkaIntake {
    async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    fn pause(&mut self, partitions: BTreeSet<Partition>) {
        self.paused.send_replace(partitions);
    }
}

impl KafkaIntake {
    /// Starts the consumer's thread. `drain_timeout` bounds how long a revocation waits for the
    /// worker.
    ///
    /// # Errors
    /// The client cannot be created with these settings.
    pub fn start(
        settings: &Settings,
        drain_timeout: Duration,
    ) -> KafkaResult<(Self, SharedConsumer)> {
        let (sender, events) = mpsc::channel(EVENTS);
        let (paused, pauses) = watch::channel(BTreeSet::new());
        let rebalances = Rebalances::new(settings, drain_timeout, sender.clone());
        let consumer: SharedConsumer =
            Arc::new(config::consumer(settings, drain_timeout).create_with_context(rebalances)?);
        consumer.subscribe(&[&settings.input_topic])?;
        let (stop, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let watch = Watch {
            consumer: Arc::downgrade(&consumer),
            visitor: config::visitor(settings, drain_timeout),
            paused: PausedLogs {
                pauses: pauses.clone(),
                events: sender.downgrade(),
                settings: settings.clone(),
                client: None,
            },
            drain_timeout,
            stop: Arc::clone(&stop),
        };
        spawn("orphans", move || watch.run())?;
        // A member that is gone delays the group until its session ends.
        let max_wait = settings.session_timeout + Duration::from_secs(1);
        let reader = Reader {
            consumer: Arc::clone(&consumer),
            events: sender,
            pauses,
            paused: BTreeSet::new(),
            epoch: 0,
            stop: Arc::clone(&stop),
            leave: Arc::clone(&leave),
            max_wait,
        };
        let thread = Some(spawn("consumer", move || reader.run())?);
        let membership = Membership { stop, leave, max_wait, thread };
        Ok((Self { events, paused, membership }, consumer))
    }

    /// The membership, which ends the thread. Keep it outside the worker. A second call returns one
    /// that does nothing.
    pub fn membership(&mut self) -> Membership {
        self.membership.hand_over()
    }

    /// Leaves the group, see [`Membership::end`].
    pub fn stop(mut self, how: Leave) {
        let membership = self.membership();
        drop(self);
        membership.end(how);
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> KafkaResult<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| {
        KafkaError::ClientCreation(format!("cannot start the thread {name}: {error}"))
    })
}

/// A consumer that joins no group and has these partitions all the same, for the tests of who
/// shares it.
#[cfg(test)]
pub(crate) fn alone(settings: &Settings, held: &[(Partition, u32)]) -> SharedConsumer {
    let (events, _) = mpsc::channel(1);
    let drain_timeout = Duration::from_secs(1);
    let rebalances = Rebalances::new(settings, drain_timeout, events);
    rebalances.held().extend(held.iter().copied());
    let consumer = config::consumer(settings, drain_timeout).create_with_context(rebalances);
    Arc::new(consumer.expect("a consumer"))
}
