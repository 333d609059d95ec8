//! The consumer: a thread of its own, for rebalance callbacks block.
//!
//! The only module of intake that knows Kafka. It polls always, pauses what it is told to, never
//! commits, and hands everything to the worker through one bounded channel, so that the worker sees
//! assignments, records and revocations in their order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, warn};

mod commits;
mod farewell;
mod orphans;
mod pairs;
mod progress;
mod reader;
mod rebalances;
mod starts;
mod statistics;

pub use commits::CommitCount;
pub use farewell::Leave;
use orphans::Watch;
use reader::Reader;
pub use rebalances::Rebalances;

use super::{Event, Intake, Partition};
use crate::kafka::Settings;
use crate::telemetry::IntakeMeter;

/// Events that wait for the worker; at the bound the thread waits, which ends at once unless the
/// worker hangs.
const EVENTS: usize = 16;
/// How long the end of the thread is waited for once the group is at rest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the group waits for a member that does not join a rebalance, and a member for the
/// group's answer; librdkafka's default is five minutes, in which no claim is decided. The
/// thread polls always, so only a drain may take longer.
const REBALANCE_MAX_WAIT: Duration = Duration::from_secs(30);

/// How often a member asks whether the group rebalances: nobody's partitions move before all have
/// asked.
const HEARTBEAT: Duration = Duration::from_millis(300);

/// The consumer, shared with the publisher: its group metadata fences transactions.
pub type SharedConsumer = Arc<BaseConsumer<Rebalances>>;

/// The consumer's side that the worker holds.
#[derive(Debug)]
pub struct KafkaIntake {
    events: mpsc::Receiver<Event>,
    paused: watch::Sender<BTreeSet<Partition>>,
    stop: Arc<AtomicBool>,
    leave: Arc<OnceLock<Leave>>,
    max_wait: Duration,
    thread: Option<JoinHandle<()>>,
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
    /// The client cannot be made of these settings.
    pub fn start(
        settings: &Settings,
        drain_timeout: Duration,
    ) -> KafkaResult<(Self, SharedConsumer)> {
        let (sender, events) = mpsc::channel(EVENTS);
        let (paused, pauses) = watch::channel(BTreeSet::new());
        let rebalances = Rebalances {
            events: sender.clone(),
            group_id: settings.group_id.clone(),
            epoch: AtomicU32::new(0),
            held: Mutex::default(),
            commits: CommitCount::default(),
            topics: [settings.input_topic.clone(), settings.retry_topic.clone()],
            counts: Mutex::default(),
            progress: Mutex::default(),
            looked: Mutex::default(),
            renewed: OnceLock::new(),
            troubles: Mutex::default(),
            meter: IntakeMeter::default(),
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
        visitor
            .remove("group.instance.id")
            .set_log_level(RDKafkaLogLevel::Warning)
            .set("statistics.interval.ms", "0");
        let watch = Watch {
            consumer: Arc::downgrade(&consumer),
            visitor,
            drain_timeout,
            stop: Arc::clone(&stop),
        };
        spawn("orphans", move || watch.run())?;
        // A member that is gone holds the group up until its session ends.
        let (leave, max_wait) =
            (Arc::new(OnceLock::new()), settings.session_timeout + Duration::from_secs(1));
        let reader = Reader {
            consumer: Arc::clone(&consumer),
            events: sender,
            pauses,
            paused: BTreeSet::new(),
            epoch: 0,
            stop: Arc::clone(&stop),
            leave: Arc::clone(&leave),
            max_wait,
            told_held_up: false,
        };
        let thread = spawn("consumer", move || reader.run())?;
        Ok((Self { events, paused, stop, leave, max_wait, thread: Some(thread) }, consumer))
    }

    /// What ends the thread, to be kept where the worker cannot lose it. Whoever asks a second time
    /// gets one that does nothing.
    pub fn membership(&mut self) -> Membership {
        let (stop, leave) = (Arc::clone(&self.stop), Arc::clone(&self.leave));
        Membership { stop, leave, max_wait: self.max_wait, thread: self.thread.take() }
    }

    /// Leaves the group, see [`Membership::end`].
    pub fn stop(mut self, how: Leave) {
        let membership = self.membership();
        drop(self);
        membership.end(how);
    }
}

/// The worker's place in its group.
#[derive(Debug)]
pub struct Membership {
    stop: Arc<AtomicBool>,
    leave: Arc<OnceLock<Leave>>,
    /// How long the group may take to come to rest before the worker leaves it.
    max_wait: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Membership {
    /// Ends the consumer's thread, which leaves the group, and waits for it, though not for a
    /// broker. To be called when nobody else holds the [`KafkaIntake`] or the [`SharedConsumer`]
    /// any more.
    pub fn end(mut self, how: Leave) {
        self.leave.get_or_init(|| how);
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + self.max_wait + CLOSE_TIMEOUT;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return warn!(
                    "the group was not told that this worker leaves; it will find out by itself"
                );
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
    thread.map_err(|error| {
        KafkaError::ClientCreation(format!("cannot start the thread {name}: {error}"))
    })
}

fn consumer_config(settings: &Settings, drain_timeout: Duration) -> rdkafka::ClientConfig {
    let mut config = settings.consumer();
    let debug =
        config.get("debug").map_or_else(|| "topic".to_owned(), |more| format!("{more},topic"));
    config
        // Whether a topic was made anew is told nowhere else, see `Rebalances::log`.
        .set("debug", debug)
        .set_log_level(RDKafkaLogLevel::Debug)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("statistics.interval.ms", statistics::INTERVAL.as_millis().to_string());
    if let Some(instance) = &settings.instance_id {
        config.set("group.instance.id", instance);
    }
    let max_wait = REBALANCE_MAX_WAIT.max(settings.session_timeout).max(2 * drain_timeout);
    let defaults = [
        (
            "heartbeat.interval.ms",
            HEARTBEAT.min(settings.session_timeout / 4).as_millis().max(1).to_string(),
        ),
        ("max.poll.interval.ms", max_wait.as_millis().to_string()),
        // A question that is not answered within this ends its connection: a peer that fell silent
        // is found out.
        (
            "socket.timeout.ms",
            settings.request_timeout.as_millis().clamp(1_000, 300_000).to_string(),
        ),
        ("queued.max.messages.kbytes", "16384".to_owned()),
        ("fetch.message.max.bytes", settings.max_event_bytes.clamp(1 << 20, 1 << 29).to_string()),
    ];
    for (key, value) in defaults {
        // What stands under [kafka.properties] wins.
        let other_name =
            if key == "fetch.message.max.bytes" { "max.partition.fetch.bytes" } else { key };
        if config.get(key).is_none() && config.get(other_name).is_none() {
            config.set(key, value);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Five minutes, librdkafka's default, are five minutes in which no claim is decided.
    #[test]
    fn a_rebalance_waits_half_a_minute_for_a_member_or_as_long_as_a_drain_takes() {
        let max_wait = |text: &str, drain: u64| {
            let text = format!("[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n{text}");
            let settings = Config::from_toml(&text).expect("settings").kafka;
            let config = consumer_config(&settings, Duration::from_secs(drain));
            config.get("max.poll.interval.ms").expect("set").to_owned()
        };
        assert_eq!(max_wait("", 12), "30000");
        assert_eq!(max_wait("", 45), "90000");
        assert_eq!(max_wait("[kafka]\nsession_timeout = \"2m\"", 12), "120000");
        assert_eq!(
            max_wait("[kafka.properties]\n\"max.poll.interval.ms\" = \"300000\"", 12),
            "300000"
        );
    }

    #[test]
    fn report_d13_a_member_asks_often_whether_the_group_rebalances() {
        let heartbeat = |text: &str| {
            let text = format!("[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n{text}");
            let settings = Config::from_toml(&text).expect("settings").kafka;
            consumer_config(&settings, Duration::from_secs(10))
                .get("heartbeat.interval.ms")
                .expect("set")
                .to_owned()
        };
        assert_eq!(heartbeat(""), "300");
        assert_eq!(heartbeat("[kafka.properties]\n\"heartbeat.interval.ms\" = \"2000\""), "2000");
        assert_eq!(
            heartbeat("[kafka]\nsession_timeout = \"1100ms\"\ntransaction_timeout = \"1s\""),
            "275"
        );
    }

    /// It was overwritten in silence.
    #[test]
    fn report_d13_a_property_of_the_consumer_is_honoured_or_refused() {
        let settings = |property: &str| {
            let text = format!(
                "[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n[kafka.properties]\n\"{property}\" = \"7777\""
            );
            Config::from_toml(&text).map(|config| config.kafka)
        };
        let consumer = settings("client.rack").expect("settings");
        let consumer = consumer_config(&consumer, Duration::from_secs(10));
        for (key, _) in consumer.config_map() {
            // What is needed to reach the broker has keys of its own; the rest is taken as it is
            // given, or said to be claimgate's.
            match settings(key) {
                Ok(settings) => {
                    let config = consumer_config(&settings, Duration::from_secs(10));
                    // To "debug" something is added.
                    assert!(
                        config.get(key).is_some_and(|value| value.starts_with("7777")),
                        "{key}"
                    );
                }
                Err(error) => assert!(error.to_string().contains(key), "{error}"),
            }
        }
    }
}
