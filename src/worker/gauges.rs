//! Gauges: how much the worker has in hand, as metrics.
//!
//! Values that are known anyway are set in each turn of the loop. Values that have to be counted
//! are counted once a second, in one pass over everything that is undecided.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::undecided::Census;
use super::{HEARTBEAT, Ports, Worker};
use crate::intake::{LogReach, Partition};
use crate::telemetry::Undecided;
use crate::unix_time::elapsed;

/// Metrics that are counted once a second.
pub(super) struct Gauges {
    /// How far the logs of the partitions reach, as the consumer last said.
    logs: BTreeMap<Partition, LogReach>,
    /// When the next count is due.
    due: Instant,
}

impl Gauges {
    pub(super) fn new(now: Instant) -> Self {
        Self { logs: BTreeMap::new(), due: now }
    }

    /// Notes what the consumer said about how far the logs reach.
    pub(super) fn note_logs(&mut self, logs: Vec<LogReach>) {
        self.logs.extend(logs.into_iter().map(|log| (log.partition, log)));
    }

    /// A partition was given back or lost.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.logs.remove(&partition);
    }
}

impl<P: Ports> Worker<P> {
    pub(super) fn set_gauges(&mut self, now: Instant) {
        let meter = &self.context.meter;
        let wall = self.context.clock.micros();
        let oldest = self.inflow.in_flight.oldest().unwrap_or(wall);
        meter.in_flight(self.inflow.in_flight.records(), elapsed(oldest, wall));
        meter.paused(self.inflow.backlog.is_pausing());
        meter.flood(self.inflow.flood.is_on());
        for (id, route) in self.context.registry.iter() {
            let (api, name) = (id.index(), route.api.name());
            let calls = self.calls.scheduler.in_flight(api);
            meter.queued(name, self.inflow.room.claims(api).saturating_sub(calls));
            meter.calls(name, calls, self.calls.scheduler.concurrency(api));
            let breaker = self.calls.scheduler.breaker(api);
            meter.breaker(name, breaker.open_since().is_some(), breaker.is_denied());
        }
        if now >= self.gauges.due {
            self.gauges.due = now + HEARTBEAT;
            self.count_undecided(now, wall);
            self.look_at_tokens(now);
        }
    }

    /// Counts what has no published decision, by API and by partition.
    fn count_undecided(&self, now: Instant, wall: i64) {
        let (meter, registry) = (&self.context.meter, &self.context.registry);
        let inflow = &self.inflow;
        let census = Census::of(inflow.in_flight.open(), inflow.waiting.seated());
        // The time comes from a header and may be any number.
        let age = |first: Option<i64>| {
            first.map_or(Duration::ZERO, |first| elapsed(first.saturating_mul(1_000), wall))
        };
        for (api, due) in inflow.waiting.next_dues() {
            let count = census.of_api(api);
            let wait = due.map(|due| due.saturating_duration_since(now));
            let undecided = Undecided {
                claims: count.claims,
                oldest: age(count.first),
                deferred: count.deferred,
                next_due: wait.map(|wait| elapsed(0, wall) + wait),
            };
            let name = registry.iter().find(|(id, _)| Some(id.index()) == api);
            meter.undecided(name.map(|(_, route)| route.api.name()), undecided);
        }
        for partition in self.ledger.partitions() {
            let nothing_waits = inflow.backlog.has_none_of(partition);
            let log = self.gauges.logs.get(&partition);
            let lag = log.map_or(0, |log| self.ledger.lag(log, nothing_waits));
            meter.partition(partition, lag, age(census.of_partition(partition)));
        }
    }

    fn look_at_tokens(&self, now: Instant) {
        for (id, source) in self.context.registry.token_sources() {
            let age = self.calls.tokens[id.index()].age(now);
            self.context.meter.token_age(source.vendor(), age);
        }
    }
}
