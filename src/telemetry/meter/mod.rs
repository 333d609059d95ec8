//! Recording: one small function for each thing that happens.
//!
//! Owns the handles of every metric. They are made once, so that counting costs an atomic add. The
//! consumer, the producer and the store record what the worker does not know ([`parts`]). Knows no
//! clock. The invariant: the value of a label is one of the names given at the start, a
//! `&'static str` of the code, or `other`.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

mod labelled;
mod parts;

use labelled::Labelled;
pub use parts::{
    IntakeMeter, PoolMeter, commit_failed, producer_fenced, producer_started,
    shadow_decisions_lost, shadow_differs, shadow_rules, unpublishable,
};

use super::metrics::{self as names, Metric};
use crate::claim::EventError;
use crate::decision::Decision;
use crate::kafka::{Input, Partition};
use crate::risk::{AttemptOutcome, FaultReason, FetchOutcome};

/// The worker's metrics. Make it after [`init`](super::init): a meter that is made before counts
/// nothing.
pub struct Meter {
    admitted: Counter,
    duplicates: Counter,
    recalled: Counter,
    stale_results: Counter,
    record_failures: Counter,
    publish_aborts: Counter,
    claim_duration: Histogram,
    flush_records: Histogram,
    record_duration: Histogram,
    publish_duration: Histogram,
    in_flight: Gauge,
    oldest_claim_age: Gauge,
    intake_paused: Gauge,
    flood: Gauge,
    /// In the order of [`Input`].
    assigned_partitions: [Gauge; 2],
    /// By kind, then in the order of [`Decision::ALL`].
    decisions: Labelled<[Counter; 4]>,
    apis: Labelled<PerApi>,
    /// In the order of [`FetchOutcome::ALL`].
    token_fetches: [Counter; 2],
}

/// Claims without a published decision, and the deferred ones among them, as they are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undecided {
    /// All of them.
    pub claims: usize,
    /// How long ago the oldest of them was first tried.
    pub oldest: Duration,
    /// Those that are deferred and wait here for their time.
    pub deferred: usize,
    /// When the first of the deferred ones is due, UNIX time.
    pub next_due: Option<Duration>,
}

struct PerApi {
    retries: Counter,
    deferred: Counter,
    breaker_open: Gauge,
    breaker_access_denied: Gauge,
    attempt_duration: Histogram,
    queued: Gauge,
    concurrency: Gauge,
    calls_in_flight: Gauge,
    first_attempt_wait: Histogram,
    undecided: Gauge,
    undecided_oldest: Gauge,
    deferred_waiting: Gauge,
    deferred_next_due: Gauge,
}

impl PerApi {
    fn new(api: &str) -> Self {
        let counter = |metric: Metric| counter!(metric.name, "api" => api.to_owned());
        let gauge = |metric: Metric| gauge!(metric.name, "api" => api.to_owned());
        let histogram = |metric: Metric| histogram!(metric.name, "api" => api.to_owned());
        Self {
            retries: counter(names::RETRIES),
            deferred: counter(names::DEFERRED),
            breaker_open: gauge(names::BREAKER_OPEN),
            breaker_access_denied: gauge(names::BREAKER_ACCESS_DENIED),
            attempt_duration: histogram(names::ATTEMPT_DURATION),
            queued: gauge(names::QUEUED),
            concurrency: gauge(names::CONCURRENCY),
            calls_in_flight: gauge(names::CALLS_IN_FLIGHT),
            first_attempt_wait: histogram(names::FIRST_ATTEMPT_WAIT),
            undecided: gauge(names::UNDECIDED),
            undecided_oldest: gauge(names::UNDECIDED_OLDEST),
            deferred_waiting: gauge(names::DEFERRED_WAITING),
            deferred_next_due: gauge(names::DEFERRED_NEXT_DUE),
        }
    }
}

impl Meter {
    /// The metrics of a worker that knows these kinds of claim and these risk APIs.
    pub fn new(kinds: &[impl AsRef<str>], apis: &[impl AsRef<str>]) -> Self {
        Self {
            admitted: counter!(names::ADMITTED.name),
            duplicates: counter!(names::DUPLICATES.name),
            recalled: counter!(names::RECALLED.name),
            stale_results: counter!(names::STALE_RESULTS.name),
            record_failures: counter!(names::RECORD_FAILURES.name),
            publish_aborts: counter!(names::PUBLISH_ABORTS.name),
            claim_duration: histogram!(names::CLAIM_DURATION.name),
            flush_records: histogram!(names::FLUSH_RECORDS.name),
            record_duration: histogram!(names::RECORD_DURATION.name),
            publish_duration: histogram!(names::PUBLISH_DURATION.name),
            in_flight: gauge!(names::IN_FLIGHT.name),
            oldest_claim_age: gauge!(names::OLDEST_CLAIM_AGE.name),
            intake_paused: gauge!(names::INTAKE_PAUSED.name),
            flood: gauge!(names::DEAD_LETTER_FLOOD.name),
            assigned_partitions: [Input::Claims, Input::Retry]
                .map(|input| gauge!(names::ASSIGNED_PARTITIONS.name, "topic" => input.label())),
            decisions: Labelled::new(kinds, |kind| {
                Decision::ALL.map(|decision| {
                    counter!(names::DECISIONS.name, "kind" => kind.clone(), "decision" => decision.as_str())
                })
            }),
            apis: Labelled::new(apis, |api| PerApi::new(&api)),
            token_fetches: FetchOutcome::ALL
                .map(|outcome| counter!(names::TOKEN_FETCHES.name, "outcome" => outcome.as_str())),
        }
    }

    /// The worker took on this many records.
    pub fn admitted(&self, records: usize) {
        self.admitted.increment(whole(records));
    }

    /// A decision was published, this long after the claim was taken on.
    pub fn decided(&self, kind: &str, decision: Decision, latency: Duration) {
        self.decisions.get(kind)[decision as usize].increment(1);
        self.claim_duration.record(latency);
    }

    /// A dead letter was published.
    pub fn dead_letter(&self, error: EventError) {
        counter!(names::DEAD_LETTERS.name, "error" => error.as_str()).increment(1);
    }

    /// An event whose claim was decided before.
    pub fn duplicate(&self) {
        self.duplicates.increment(1);
    }

    /// A look-up found a verdict that is still to be published.
    pub fn recalled(&self) {
        self.recalled.increment(1);
    }

    /// The result of a lost partition was dropped.
    pub fn stale_result(&self) {
        self.stale_results.increment(1);
    }

    /// An attempt ended, in the words of `risk_calls`.
    pub fn attempt(
        &self,
        api: &'static str,
        outcome: AttemptOutcome,
        reason: Option<FaultReason>,
        latency: Duration,
    ) {
        let (outcome, reason) = (outcome.as_str(), reason.map_or("", FaultReason::as_str));
        counter!(names::ATTEMPTS.name, "api" => api, "outcome" => outcome, "reason" => reason)
            .increment(1);
        self.apis.get(api).attempt_duration.record(latency);
    }

    /// An attempt is to be repeated.
    pub fn retry(&self, api: &str) {
        self.apis.get(api).retries.increment(1);
    }

    /// Whether an API's breaker is open, and whether because the API denies us access.
    pub fn breaker(&self, api: &str, open: bool, access_denied: bool) {
        let gauges = self.apis.get(api);
        gauges.breaker_open.set(if open { 1.0 } else { 0.0 });
        gauges.breaker_access_denied.set(if access_denied { 1.0 } else { 0.0 });
    }

    /// A claim was sent to the retry topic.
    pub fn deferred(&self, api: &str) {
        self.apis.get(api).deferred.increment(1);
    }

    /// An access token was fetched, or was not.
    pub fn token_fetch(&self, outcome: FetchOutcome) {
        self.token_fetches[outcome as usize].increment(1);
    }

    /// For how long a vendor's access token has been there; `None` where there is none.
    pub fn token_age(&self, vendor: &'static str, age: Option<Duration>) {
        gauge!(names::TOKEN_AGE.name, "vendor" => vendor)
            .set(age.map_or(0.0, |age| age.as_secs_f64()));
    }

    /// The first request about a claim is sent, this long after the claim was taken on.
    pub fn first_attempt(&self, api: &str, waited: Duration) {
        self.apis.get(api).first_attempt_wait.record(waited);
    }

    /// A flush of this many records began.
    pub fn flush(&self, records: usize) {
        self.flush_records.record(float(records));
    }

    /// Postgres has recorded a flush.
    pub fn recorded(&self, latency: Duration) {
        self.record_duration.record(latency);
    }

    /// A write to Postgres failed.
    pub fn record_failed(&self) {
        self.record_failures.increment(1);
    }

    /// Kafka has acknowledged a flush.
    pub fn published(&self, latency: Duration) {
        self.publish_duration.record(latency);
    }

    /// A Kafka transaction was aborted.
    pub fn publish_aborted(&self) {
        self.publish_aborts.increment(1);
    }

    /// How many records are in flight, and the age of the oldest.
    pub fn in_flight(&self, records: usize, oldest: Duration) {
        self.in_flight.set(float(records));
        self.oldest_claim_age.set(oldest.as_secs_f64());
    }

    /// How many claims wait for an API.
    pub fn queued(&self, api: &str, claims: usize) {
        self.apis.get(api).queued.set(float(claims));
    }

    /// How many calls of an API are under way, and how many may be under way at present.
    pub fn calls(&self, api: &str, under_way: usize, at_most: usize) {
        let gauges = self.apis.get(api);
        gauges.calls_in_flight.set(float(under_way));
        gauges.concurrency.set(float(at_most));
    }

    /// The claims of an API that this worker has and that have no published decision. Claims
    /// without a known API count as `other`.
    pub fn undecided(&self, api: Option<&str>, undecided: Undecided) {
        let gauges = api.map_or_else(|| self.apis.other(), |api| self.apis.get(api));
        gauges.undecided.set(float(undecided.claims));
        gauges.undecided_oldest.set(undecided.oldest.as_secs_f64());
        gauges.deferred_waiting.set(float(undecided.deferred));
        let next_due = undecided.next_due.unwrap_or_default();
        gauges.deferred_next_due.set(next_due.as_secs_f64());
    }

    /// Whether intake is paused.
    pub fn paused(&self, paused: bool) {
        self.intake_paused.set(if paused { 1.0 } else { 0.0 });
    }

    /// Whether a flood of malformed events stops intake.
    pub fn flood(&self, on: bool) {
        self.flood.set(if on { 1.0 } else { 0.0 });
    }

    /// The partitions that this worker has.
    pub fn assigned(&self, partitions: impl Iterator<Item = Partition>) {
        let mut counts = [0; 2];
        partitions.for_each(|partition| counts[partition.input as usize] += 1);
        self.assigned_partitions
            .iter()
            .zip(counts)
            .for_each(|(gauge, count)| gauge.set(float(count)));
    }

    /// The length of a partition's offset map.
    pub fn offset_map(&self, partition: Partition, bytes: usize) {
        gauge!(names::OFFSET_MAP_BYTES.name, "partition" => partition.label()).set(float(bytes));
    }

    /// How many records of a partition are not done, and how long ago the oldest of those that were
    /// read was first admitted.
    pub fn partition(&self, partition: Partition, lag: u64, oldest: Duration) {
        let lag = u32::try_from(lag).unwrap_or(u32::MAX);
        let label = partition.label();
        gauge!(names::PARTITION_LAG.name, "partition" => label.clone()).set(f64::from(lag));
        gauge!(names::PARTITION_OLDEST.name, "partition" => label).set(oldest.as_secs_f64());
    }

    /// The partition belongs to another worker now: its series are set to 0.
    pub fn partition_gone(&self, partition: Partition) {
        self.offset_map(partition, 0);
        self.partition(partition, 0, Duration::ZERO);
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
