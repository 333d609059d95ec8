//! What the worker itself does not know: producers, consumer and store record it.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use super::float;
use crate::decision::Decision;
use crate::kafka::Input;
use crate::telemetry::metrics as names;

/// The broker ended a producer whose transaction took too long, and a new one is made.
pub fn producer_fenced() {
    counter!(names::PRODUCERS_FENCED.name).increment(1);
}

/// A producer was made.
pub fn producer_started() {
    counter!(names::PRODUCERS_STARTED.name).increment(1);
}

/// A commit of offsets failed, and is repeated.
pub fn commit_failed() {
    counter!(names::COMMIT_FAILURES.name).increment(1);
}

/// A topic rejects a message even when it is cut.
pub fn unpublishable(topic: &'static str) {
    counter!(names::UNPUBLISHABLE.name, "topic" => topic).increment(1);
}

/// A policy runs in shadow for these APIs: the count of its differences starts at 0.
pub fn shadow_rules(apis: &[&str]) {
    for (api, decision) in apis.iter().flat_map(|api| Decision::ALL.map(|decision| (api, decision)))
    {
        let others = Decision::ALL.into_iter().filter(|other| *other != decision);
        others.for_each(|other| shadow_differences(api, decision, other).increment(0));
    }
    shadow_decisions_lost(0);
}

/// This many claims that it would have decided otherwise have no row in `shadow_decisions`.
pub fn shadow_decisions_lost(claims: usize) {
    let claims = u64::try_from(claims).unwrap_or(u64::MAX);
    counter!(names::SHADOW_DECISIONS_LOST.name).increment(claims);
}

/// The policy in shadow would have decided a claim otherwise.
pub fn shadow_differs(api: &str, decision: Decision, shadow: Decision) {
    shadow_differences(api, decision, shadow).increment(1);
}

fn shadow_differences(api: &str, decision: Decision, shadow: Decision) -> Counter {
    let (decision, shadow) = (decision.as_str(), shadow.as_str());
    counter!(names::SHADOW_DIFFERENCES.name, "api" => api.to_owned(), "decision" => decision, "shadow" => shadow)
}

/// The consumer's metrics.
pub struct IntakeMeter {
    /// In the order of [`Input`], as below.
    lost: [Counter; 2],
    again: [Counter; 2],
    held_up: Gauge,
    assigned: Counter,
    revoked: Counter,
    partitions_lost: Counter,
}

impl Default for IntakeMeter {
    fn default() -> Self {
        let by_topic = |name: &'static str| {
            [Input::Claims, Input::Retry].map(|input| counter!(name, "topic" => input.label()))
        };
        let [assigned, revoked, partitions_lost] = ["assigned", "revoked", "lost"]
            .map(|event| counter!(names::REBALANCES.name, "event" => event));
        Self {
            assigned,
            revoked,
            partitions_lost,
            lost: by_topic(names::RECORDS_LOST.name),
            again: by_topic(names::OFFSETS_READ_AGAIN.name),
            held_up: gauge!(names::OPEN_TRANSACTION.name),
        }
    }
}

impl std::fmt::Debug for IntakeMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntakeMeter").finish_non_exhaustive()
    }
}

impl IntakeMeter {
    /// The group assigned partitions, perhaps none of them to this worker.
    pub fn assigned(&self) {
        self.assigned.increment(1);
    }

    /// Partitions are given back, or were lost already.
    pub fn revoked(&self, lost: bool) {
        let counter = if lost { &self.partitions_lost } else { &self.revoked };
        counter.increment(1);
    }

    /// Retention removed this many records before they were read.
    pub fn records_lost(&self, input: Input, records: u64) {
        self.lost[input as usize].increment(records);
    }

    /// This many offsets are read that may have been read before.
    pub fn read_again(&self, input: Input, offsets: i64) {
        self.again[input as usize].increment(u64::try_from(offsets).unwrap_or(0));
    }

    /// For how long an open transaction has blocked reading; zero if none does.
    pub fn held_up(&self, lasted: Duration) {
        self.held_up.set(lasted.as_secs_f64());
    }
}

/// The store's metrics.
pub struct PoolMeter {
    idle: Gauge,
    in_use: Gauge,
}

impl Default for PoolMeter {
    fn default() -> Self {
        let [idle, in_use] = ["idle", "in_use"]
            .map(|state| gauge!(names::POSTGRES_CONNECTIONS.name, "state" => state));
        Self { idle, in_use }
    }
}

impl std::fmt::Debug for PoolMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolMeter").finish_non_exhaustive()
    }
}

impl PoolMeter {
    /// The meter of connections that are not the worker's: it records nothing.
    pub fn silent() -> Self {
        Self { idle: Gauge::noop(), in_use: Gauge::noop() }
    }

    /// How many connections are idle, and how many are in use or being opened.
    pub fn set(&self, idle: usize, in_use: usize) {
        self.idle.set(float(idle));
        self.in_use.set(float(in_use));
    }
}
