//! How far the logs of paused partitions reach. Nothing is fetched of them, so what the consumer
//! knows of their ends grows old, just when somebody wants to know how much waits.
//!
//! Asked on a client of its own, which is there while anything is paused: whoever holds the group's
//! consumer would hold up its farewell.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::intake::{Event, LogReach, Partition};
use crate::kafka::{Quiet, Settings};

/// How long a broker may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Events of the client that are taken away at once.
const EVENTS_MAX: usize = 100;

/// What asks.
pub(super) struct PausedLogs {
    /// What is paused.
    pub(super) pauses: watch::Receiver<BTreeSet<Partition>>,
    /// Who is told.
    pub(super) events: mpsc::WeakSender<Event>,
    /// How to reach the brokers, and which topics are read.
    pub(super) settings: Settings,
    /// `None` while nothing is paused. It says nothing of its own: that brokers are away is told by
    /// others.
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
        // Nobody else takes away what the client has to say.
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
        // A broker that says nothing of one partition says nothing of the others, and each wait
        // takes long.
        let logs: Vec<LogReach> = paused.iter().map_while(reach).collect();
        // A worker that is busy now hears of it the next time.
        drop(events.try_send(Event::Logs(logs)));
    }
}
