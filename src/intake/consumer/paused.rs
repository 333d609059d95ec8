//! Asks for the ends of paused partitions' logs. They are not fetched, so what the consumer knows
//! about their ends grows old, just when people want to know how much waits.
//!
//! It has a client of its own, which exists while anything is paused: holding the group's consumer
//! would delay leaving the group.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::intake::{Event, LogReach, Partition};
use crate::kafka::{Quiet, Settings};

/// The time limit of a broker's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// The most events of the client that are removed at once.
const EVENTS_MAX: usize = 100;

/// Asks for the ends.
pub(super) struct PausedLogs {
    /// The paused partitions.
    pub(super) pauses: watch::Receiver<BTreeSet<Partition>>,
    /// Gets the answers.
    pub(super) events: mpsc::WeakSender<Event>,
    /// How to reach the brokers, and which topics are read.
    pub(super) settings: Settings,
    /// `None` while nothing is paused. It logs nothing: other clients report that brokers are away.
    pub(super) client: Option<BaseConsumer<Quiet>>,
}

impl PausedLogs {
    /// Asks for the ends of what is paused, and tells the worker.
    pub(super) fn look(&mut self) {
        let paused = self.pauses.borrow().clone();
        if paused.is_empty() {
            self.client = None;
            return;
        }
        if self.client.is_none() {
            self.client = self.settings.quiet_consumer("read_uncommitted").ok();
        }
        let (Some(client), Some(events)) = (&self.client, self.events.upgrade()) else { return };
        // Nothing else removes the client's events.
        for _ in 0..EVENTS_MAX {
            if client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        let reach = |partition: &Partition| {
            let (topic, number) = (self.settings.topic(partition.input), partition.number);
            match client.fetch_watermarks(topic, number, ASK_TIMEOUT) {
                Ok((start, end)) => {
                    Some(LogReach { partition: *partition, start, end, read: None })
                }
                Err(error) => {
                    debug!(error.message = %error, "the end of {} is not known", partition.label());
                    None
                }
            }
        };
        // A broker that does not answer for one partition does not answer for the others either,
        // and each wait takes long.
        let logs: Vec<LogReach> = paused.iter().map_while(reach).collect();
        // If the worker is busy, it gets the next answer.
        drop(events.try_send(Event::Logs(logs)));
    }
}
