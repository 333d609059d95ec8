//! The consumer: a thread of its own, for rebalance callbacks block.
//!
//! The only module of intake that knows Kafka. It polls always, pauses what it is told to, never commits, and hands everything to the
//! worker through one bounded channel, so that the worker sees assignments, records and revocations in their order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, warn};

mod brokers;
mod commits;
mod orphans;
mod pairs;
mod reader;
mod rebalances;
mod starts;

pub use commits::CommitCount;
use orphans::Watch;
use reader::Reader;
pub use rebalances::Rebalances;

use super::{Event, Partition};
use crate::kafka::Settings;

/// Events that wait for the worker; at the bound the thread waits, which ends at once unless the worker hangs.
const EVENTS: usize = 16;
/// How long the end of the thread is waited for; that includes the farewell to the group.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the group waits for a member that does not join a rebalance, and a member for the group's answer; librdkafka's default is
/// five minutes, in which nobody is decided. The thread polls always, so only a drain may take longer.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(30);

/// The consumer, shared with the publisher: its group metadata fences transactions.
pub type SharedConsumer = Arc<BaseConsumer<Rebalances>>;

/// The consumer's side that the worker holds.
#[derive(Debug)]
pub struct KafkaIntake {
    events: mpsc::Receiver<Event>,
    paused: watch::Sender<BTreeSet<Partition>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Intake, as the worker sees it.
pub trait Intake: Send {
    /// The next event; `None` once the consumer has ended.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;
    /// From now on these partitions, and no others, are paused.
    fn pause(&mut self, partitions: BTreeSet<Partition>);
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
    /// Starts the consumer's thread. `drain_timeout` bounds how long a revocation waits for the worker.
    ///
    /// # Errors
    /// The client cannot be made of these settings.
    pub fn start(settings: &Settings, drain_timeout: Duration) -> KafkaResult<(Self, SharedConsumer)> {
        let (sender, events) = mpsc::channel(EVENTS);
        let (paused, pauses) = watch::channel(BTreeSet::new());
        let rebalances = Rebalances {
            events: sender.clone(),
            epoch: AtomicU32::new(0),
            held: Mutex::default(),
            commits: CommitCount::default(),
            topics: [settings.input_topic.clone(), settings.retry_topic.clone()],
            counts: Mutex::default(),
            drain_timeout,
            request_timeout: settings.request_timeout,
            bootstrap_servers: settings.bootstrap_servers.clone(),
            silent_max: settings.session_timeout / 2,
            away: AtomicBool::new(false),
        };
        let consumer: SharedConsumer =
            Arc::new(consumer_config(settings, drain_timeout).create_with_context(rebalances)?);
        consumer.subscribe(&[&settings.input_topic])?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut visitor = consumer_config(settings, drain_timeout);
        visitor.remove("group.instance.id").set("statistics.interval.ms", "0");
        let watch = Watch {
            consumer: Arc::downgrade(&consumer),
            visitor,
            group_id: settings.group_id.clone(),
            topic: settings.input_topic.clone(),
            stop: Arc::clone(&stop),
        };
        spawn("orphans", move || watch.run())?;
        let reader = Reader {
            consumer: Arc::clone(&consumer),
            events: sender,
            pauses,
            paused: BTreeSet::new(),
            epoch: 0,
            stop: Arc::clone(&stop),
        };
        let thread = spawn("consumer", move || reader.run())?;
        Ok((Self { events, paused, stop, thread: Some(thread) }, consumer))
    }

    /// Ends the thread and waits for it, though not for a broker; the group notices when the last [`SharedConsumer`] is dropped.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // With the receiver gone a thread that is handing something over lets go of it.
        drop(self.events);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return warn!("the group was not told that this worker leaves; it will find out by itself");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            error!("the consumer's thread ended in a panic");
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> KafkaResult<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| KafkaError::ClientCreation(format!("cannot start the thread {name}: {error}")))
}

fn consumer_config(settings: &Settings, drain_timeout: Duration) -> rdkafka::ClientConfig {
    let mut config = settings.consumer();
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("heartbeat.interval.ms", (settings.session_timeout.as_millis() / 4).max(1).to_string())
        // A question that is not answered within this ends its connection: a peer that fell silent is found out.
        .set("socket.timeout.ms", settings.request_timeout.as_millis().clamp(1_000, 300_000).to_string())
        .set("statistics.interval.ms", brokers::INTERVAL.as_millis().to_string())
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.message.max.bytes", settings.max_event_bytes.clamp(1 << 20, 1 << 29).to_string());
    if let Some(instance) = &settings.instance_id {
        config.set("group.instance.id", instance);
    }
    if config.get("max.poll.interval.ms").is_none() {
        let patience = REBALANCE_PATIENCE.max(settings.session_timeout).max(2 * drain_timeout);
        config.set("max.poll.interval.ms", patience.as_millis().to_string());
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Five minutes, librdkafka's default, are five minutes in which nobody is decided.
    #[test]
    fn a_rebalance_waits_half_a_minute_for_a_member_or_as_long_as_a_drain_takes() {
        let patience = |text: &str, drain: u64| {
            let text = format!("[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n{text}");
            let settings = Config::from_toml(&text).expect("settings").kafka;
            let config = consumer_config(&settings, Duration::from_secs(drain));
            config.get("max.poll.interval.ms").expect("set").to_owned()
        };
        assert_eq!(patience("", 12), "30000");
        assert_eq!(patience("", 45), "90000");
        assert_eq!(patience("[kafka]\nsession_timeout = \"2m\"", 12), "120000");
        assert_eq!(patience("[kafka.properties]\n\"max.poll.interval.ms\" = \"300000\"", 12), "300000");
    }
}
