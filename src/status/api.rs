//! One risk API's figures, of all workers that answered. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::interval::{Buckets, Interval};
use super::samples::total;
use crate::risk::AttemptOutcome;
use crate::telemetry::metrics as names;
use crate::telemetry::metrics::Metric;

/// Outcomes of attempts that did not get an answer for good.
const ERRORS: [AttemptOutcome; 3] =
    [AttemptOutcome::Transient, AttemptOutcome::AccessDenied, AttemptOutcome::Unknown];

/// A risk API.
#[derive(Debug, Serialize)]
pub(super) struct ApiStatus {
    pub(super) api: String,
    /// Workers whose breaker of it is open.
    pub(super) open_breakers: usize,
    /// Workers to which it denies access.
    pub(super) denied: usize,
    /// Calls under way, and how many there may be at most.
    pub(super) calls: f64,
    pub(super) calls_limit: f64,
    pub(super) attempts_per_second: f64,
    /// Answer times of the interval; `None` where there was no answer.
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) errors_per_second: f64,
    /// Undecided claims that wait for it.
    pub(super) waiting: f64,
    /// Deferred claims that wait for their time at the workers.
    pub(super) deferred: f64,
    /// When the first of these is due, UNIX time.
    pub(super) next_due: Option<f64>,
    /// How long ago its oldest undecided claim was first tried.
    pub(super) oldest_seconds: f64,
}

/// Every API that the workers know, by name.
pub(super) fn apis(workers: &[Interval<'_>]) -> Vec<ApiStatus> {
    let known = |worker: &Interval<'_>| {
        let names = worker.after.label_values(names::CONCURRENCY.name, "api");
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let known: BTreeSet<String> = workers.iter().flat_map(known).collect();
    let all = known.iter().map(|api| ApiStatus::of(api, workers));
    all.filter(|api| api.api != "other" || api.has_anything()).collect()
}

impl ApiStatus {
    fn of(api: &str, workers: &[Interval<'_>]) -> Self {
        let labels = [("api", api)];
        let sum = |metric: Metric| {
            total(workers.iter().map(|worker| worker.after.sum(metric.name, &labels)))
        };
        let set = |metric: Metric| {
            workers.iter().filter(|worker| worker.after.max(metric.name, &labels) > 0.0).count()
        };
        let rate = |more: &[(&str, &str)]| {
            let labels: Vec<_> = labels.iter().chain(more).copied().collect();
            let of_worker =
                |worker: &Interval<'_>| worker.per_second(names::ATTEMPTS.name, &labels);
            total(workers.iter().map(of_worker))
        };
        let mut took = Buckets::default();
        for worker in workers {
            took.append(&worker.buckets(names::ATTEMPT_DURATION.name, &labels));
        }
        let dues = workers
            .iter()
            .map(|worker| worker.after.max(names::DEFERRED_NEXT_DUE.name, &labels))
            .filter(|due| *due > 0.0);
        let oldest =
            workers.iter().map(|worker| worker.after.max(names::UNDECIDED_OLDEST.name, &labels));
        let errors = ERRORS.into_iter().map(|outcome| rate(&[("outcome", outcome.as_str())]));
        Self {
            open_breakers: set(names::BREAKER_OPEN),
            denied: set(names::BREAKER_ACCESS_DENIED),
            calls: sum(names::CALLS_IN_FLIGHT),
            calls_limit: sum(names::CONCURRENCY),
            attempts_per_second: rate(&[]),
            p50_seconds: took.quantile(0.5),
            p99_seconds: took.quantile(0.99),
            errors_per_second: total(errors),
            waiting: sum(names::QUEUED),
            deferred: sum(names::DEFERRED_WAITING),
            next_due: dues.min_by(f64::total_cmp),
            oldest_seconds: oldest.fold(0.0, f64::max),
            api: api.to_owned(),
        }
    }

    fn has_anything(&self) -> bool {
        self.calls + self.waiting + self.deferred + self.attempts_per_second > 0.0
    }
}
