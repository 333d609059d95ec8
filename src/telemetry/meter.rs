//! Recording: one small function for each thing that happens.
//!
//! Owns the handles of every metric, made once, so that counting costs an atomic add. Knows no
//! clock. The invariant: a label is one of the names given at the start, a `&'static str` of the
//! code, or `other`.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::metrics as names;
use crate::claim::EventError;
use crate::decision::Decision;
use crate::kafka::{Input, Partition};
use crate::risk::{AttemptOutcome, FaultReason, FetchOutcome};

/// The worker's metrics. Made after [`init`](super::init); one that is made before counts nothing.
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
}

struct PerApi {
    retries: Counter,
    deferred: Counter,
    breaker_open: Gauge,
    breaker_access_denied: Gauge,
    attempt_duration: Histogram,
    queued: Gauge,
    concurrency: Gauge,
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
            apis: Labelled::new(apis, |api| PerApi {
                retries: counter!(names::RETRIES.name, "api" => api.clone()),
                deferred: counter!(names::DEFERRED.name, "api" => api.clone()),
                breaker_open: gauge!(names::BREAKER_OPEN.name, "api" => api.clone()),
                breaker_access_denied: gauge!(names::BREAKER_ACCESS_DENIED.name, "api" => api.clone()),
                attempt_duration: histogram!(names::ATTEMPT_DURATION.name, "api" => api.clone()),
                queued: gauge!(names::QUEUED.name, "api" => api.clone()),
                concurrency: gauge!(names::CONCURRENCY.name, "api" => api),
            }),
        }
    }

    /// So many records were taken on.
    pub fn admitted(&self, records: usize) {
        self.admitted.increment(whole(records));
    }

    /// A decision was published, so long after the claim was taken on.
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

    /// A verdict was found that is still to be published.
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
        counter!(names::TOKEN_FETCHES.name, "outcome" => outcome.as_str()).increment(1);
    }

    /// A flush of so many records began.
    pub fn flush(&self, records: usize) {
        self.flush_records.record(float(records));
    }

    /// Postgres has a flush.
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

    /// How many calls of an API there may be at once for now.
    pub fn concurrency(&self, api: &str, calls: usize) {
        self.apis.get(api).concurrency.set(float(calls));
    }

    /// Whether intake is paused.
    pub fn paused(&self, paused: bool) {
        self.intake_paused.set(if paused { 1.0 } else { 0.0 });
    }

    /// Whether a flood of malformed events holds intake up.
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

    /// The length of a partition's offset map; 0 once the partition is given back.
    pub fn offset_map(&self, partition: Partition, bytes: usize) {
        gauge!(names::OFFSET_MAP_BYTES.name, "partition" => partition.label()).set(float(bytes));
    }
}

/// The broker put an end to a producer whose transaction outlived its time, and it is made anew.
pub fn producer_fenced() {
    counter!(names::PRODUCERS_FENCED.name).increment(1);
}

/// A commit of offsets failed, and is repeated.
pub fn commit_failed() {
    counter!(names::COMMIT_FAILURES.name).increment(1);
}

/// A topic takes a message in no form.
pub fn unpublishable(topic: &'static str) {
    counter!(names::UNPUBLISHABLE.name, "topic" => topic).increment(1);
}

/// The consumer's metrics: of its logs, which the worker does not know.
pub struct IntakeMeter {
    /// In the order of [`Input`], as below.
    lost: [Counter; 2],
    again: [Counter; 2],
    held_up: Gauge,
}

impl Default for IntakeMeter {
    fn default() -> Self {
        let by_topic = |name: &'static str| {
            [Input::Claims, Input::Retry].map(|input| counter!(name, "topic" => input.label()))
        };
        Self {
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
    /// Retention removed so many records before they were read.
    pub fn records_lost(&self, input: Input, records: u64) {
        self.lost[input as usize].increment(records);
    }

    /// So many offsets are read that may have been read before.
    pub fn read_again(&self, input: Input, offsets: i64) {
        self.again[input as usize].increment(u64::try_from(offsets).unwrap_or(0));
    }

    /// For how long an open transaction has held reading up; zero where none does.
    pub fn held_up(&self, so_long: Duration) {
        self.held_up.set(so_long.as_secs_f64());
    }
}

/// Handles by a label's value. A value that was not given at the start is counted as `other`.
struct Labelled<T> {
    known: Vec<(String, T)>,
    other: T,
}

impl<T> Labelled<T> {
    fn new(values: &[impl AsRef<str>], handles: impl Fn(String) -> T) -> Self {
        let known = values
            .iter()
            .map(AsRef::as_ref)
            .map(|value| (value.to_owned(), handles(value.to_owned())));
        Self { known: known.collect(), other: handles("other".to_owned()) }
    }

    /// A handful of short names: looking through them is faster than hashing.
    fn get(&self, value: &str) -> &T {
        self.known
            .iter()
            .find(|(known, _)| known == value)
            .map_or(&self.other, |(_, handles)| handles)
    }
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
