//! One worker's figures. Pure.

use serde::Serialize;

use super::interval::Interval;
use super::samples::total;
use crate::telemetry::metrics as names;
use crate::telemetry::metrics::Metric;

/// A worker, as it answered.
#[derive(Debug, Serialize)]
pub(super) struct WorkerStatus {
    /// Where it was asked.
    pub(super) url: String,
    /// Whether it reports that it is ready.
    pub(super) ready: bool,
    /// Why it is not ready, or why it could not be asked.
    pub(super) why: Option<String>,
    /// `None` if it could not be asked.
    pub(super) figures: Option<Figures>,
}

/// What its metrics say.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) commit: String,
    /// Partitions of the input topic and of the retry topic.
    pub(super) claims_partitions: f64,
    pub(super) retry_partitions: f64,
    pub(super) decided_per_second: f64,
    pub(super) admitted_per_second: f64,
    pub(super) in_flight: f64,
    /// Claims without a published decision, the deferred ones at hand included.
    pub(super) undecided: f64,
    /// How long ago the oldest of them was first tried.
    pub(super) oldest_seconds: f64,
    /// Records that are not done, in all its partitions of the input topic.
    pub(super) lag: f64,
    pub(super) intake_paused: bool,
    pub(super) dead_letter_flood: bool,
    pub(super) postgres_connections: f64,
    pub(super) postgres_connections_in_use: f64,
    pub(super) failures: Failures,
}

/// Failures of the database and of Kafka.
#[derive(Debug, Serialize)]
pub(super) struct Failures {
    pub(super) failed_writes: Count,
    pub(super) aborted_transactions: Count,
    pub(super) fenced_producers: Count,
    pub(super) failed_commits: Count,
    pub(super) lost_records: Count,
}

/// How often something happened.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Count {
    /// Since the worker started.
    pub(super) total: f64,
    /// Within the interval.
    pub(super) new: f64,
}

impl Figures {
    /// `None` if this is not a worker's answer.
    pub(super) fn of(interval: &Interval<'_>) -> Option<Self> {
        let after = interval.after;
        let build = after.of(names::BUILD_INFO.name, &[]).next()?;
        let word = |label: &str| build.label(label).unwrap_or("unknown").to_owned();
        let sum = |metric: Metric| after.sum(metric.name, &[]);
        let max = |metric: Metric| after.max(metric.name, &[]);
        let rate = |metric: Metric| interval.per_second(metric.name, &[]);
        let partitions =
            |topic: &str| after.sum(names::ASSIGNED_PARTITIONS.name, &[("topic", topic)]);
        let is_of_input = |partition: &str| partition.starts_with("claims/");
        let lags = after
            .of(names::PARTITION_LAG.name, &[])
            .filter(|sample| sample.label("partition").is_some_and(is_of_input));
        Some(Self {
            version: word("version"),
            commit: word("commit"),
            claims_partitions: partitions("claims"),
            retry_partitions: partitions("retry"),
            decided_per_second: rate(names::DECISIONS),
            admitted_per_second: rate(names::ADMITTED),
            in_flight: sum(names::IN_FLIGHT),
            undecided: sum(names::UNDECIDED),
            oldest_seconds: max(names::UNDECIDED_OLDEST),
            lag: total(lags.map(|sample| sample.value)),
            intake_paused: max(names::INTAKE_PAUSED) > 0.0,
            dead_letter_flood: max(names::DEAD_LETTER_FLOOD) > 0.0,
            postgres_connections: sum(names::POSTGRES_CONNECTIONS),
            postgres_connections_in_use: after
                .sum(names::POSTGRES_CONNECTIONS.name, &[("state", "in_use")]),
            failures: Failures::of(interval),
        })
    }
}

impl Failures {
    fn of(interval: &Interval<'_>) -> Self {
        let count = |metric: Metric| Count {
            total: interval.after.sum(metric.name, &[]),
            new: interval.grown(metric.name, &[]),
        };
        Self {
            failed_writes: count(names::RECORD_FAILURES),
            aborted_transactions: count(names::PUBLISH_ABORTS),
            fenced_producers: count(names::PRODUCERS_FENCED),
            failed_commits: count(names::COMMIT_FAILURES),
            lost_records: count(names::RECORDS_LOST),
        }
    }
}
