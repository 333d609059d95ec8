//! How far the partitions' logs were read, and which records were lost.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use tokio::time::Instant;
use tracing::{error, warn};

use super::progress::Log;
use super::reader::Reader;
use crate::intake::{Event, LogReach, Partition, Record};

/// A transaction that blocks reading for longer than this is logged.
const HELD_UP_TOO_LONG: Duration = Duration::from_secs(60);

impl Reader {
    /// Notes the records that were read.
    pub(super) fn note(&self, chunk: &[Record]) {
        let rebalances = self.consumer.context();
        let (mut progress, now) = (rebalances.progress(), Instant::now());
        for record in chunk {
            if let Some(expected) = progress.read(record.partition, record.offset, now) {
                let (partition, offset) = (record.partition.label(), record.offset);
                warn!(
                    partition,
                    "{partition} is read again from offset {offset}, though it had been read up to \
                     {expected}: Kafka has lost the end of its log, or it was truncated; the \
                     decisions on these records are published again"
                );
                rebalances
                    .meter
                    .read_again(record.partition.input, expected.saturating_sub(offset));
            }
        }
    }

    /// Applies the statistics of the logs. All records that were read before them have been handed
    /// over.
    pub(super) fn poll_broker(&self) {
        let rebalances = self.consumer.context();
        let logs = rebalances.take_logs();
        if logs.is_empty() {
            return;
        }
        let now = Instant::now();
        let reach = |(partition, log): (Partition, Log)| {
            let Log { start, end, position, .. } = self.look_at_log(partition, log, now);
            LogReach { partition, start, end, read: position }
        };
        // The statistics of a paused partition are old; `PausedLogs` asks for its state.
        let is_fetched = |log: &LogReach| !self.paused.contains(&log.partition);
        let logs = logs.into_iter().map(reach).filter(is_fetched).collect();
        self.tell_of_transactions(now);
        // The worker may have ended.
        drop(self.events.blocking_send(Event::Logs(logs)));
    }

    /// Counts the records that retention removed before they were read. Returns the valid state of
    /// the log.
    fn look_at_log(&self, partition: Partition, log: Log, now: Instant) -> Log {
        let rebalances = self.consumer.context();
        // A paused partition is not fetched: the statistics of its log are old.
        let log =
            if self.paused.contains(&partition) { Log { position: None, ..log } } else { log };
        let lost = rebalances.progress().compare(partition, log, now);
        if lost > 0 {
            let label = partition.label();
            error!(
                partition = label,
                records = lost,
                "{lost} offsets of {label} were removed from the topic before they were read; its \
                 retention is shorter than the group's lag: raise retention.ms, and have the \
                 claims sent again"
            );
            rebalances.meter.records_lost(partition.input, lost);
        }
        log
    }

    /// Logs each transaction that blocks reading, once.
    fn tell_of_transactions(&self, now: Instant) {
        let rebalances = self.consumer.context();
        let mut progress = rebalances.progress();
        rebalances.meter.held_up(progress.held_up(now).unwrap_or_default());
        for (partition, offset, lasted) in progress.held_up_too_long(HELD_UP_TOO_LONG, now) {
            let partition = partition.label();
            warn!(
                partition,
                "a transaction has been open at offset {offset} of {partition} for {} s: nothing \
                 after it can be read until its producer or the broker ends it; \
                 kafka-transactions.sh shows the producer",
                lasted.as_secs()
            );
        }
    }
}
