//! Every metric: its name, its labels and its meaning.
//!
//! Owns the table that code, Prometheus and `docs/metrics.md` share. [`Meter`](super::Meter)
//! records. The invariant: names include the unit, and the values of every label are bounded by
//! configuration or by code.

use metrics::{describe_counter, describe_gauge, describe_histogram, set_global_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::FanoutBuilder;

use super::TelemetryError;
use super::otlp::metrics::Bridge;
use crate::kafka::Topic;

/// The description of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, unit included.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over these buckets.
    Histogram(&'static [f64]),
}

/// Seconds that one call out of the process takes.
const CALL: Kind = Kind::Histogram(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);
/// Seconds that a claim takes: milliseconds when all is well, up to a day when its API is away.
const CLAIM: Kind = Kind::Histogram(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0, 86400.0,
]);
/// Records per flush.
const SIZE: Kind =
    Kind::Histogram(&[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident = $kind:expr, $text:literal, $labels:expr;)+) => {
        $($(#[doc = $help])+ #[doc = concat!("\n\nLabels: `", stringify!($labels), "`.")]
        pub const $name: Metric =
            Metric { name: $text, kind: $kind, labels: &$labels, help: concat!($($help),+).trim_ascii() };)+

        /// All of them.
        pub const ALL: &[Metric] = &[$($name),+];
    };
}

metrics! {
    /// Records taken on from the input topic.
    ADMITTED = Kind::Counter, "claimgate_claims_admitted_total", [];
    /// Decisions published, by the claim's kind.
    DECISIONS = Kind::Counter, "claimgate_decisions_total", ["kind", "decision"];
    /// Decisions recorded that the policy in shadow would have made otherwise: `shadow`.
    SHADOW_DIFFERENCES = Kind::Counter, "claimgate_shadow_differences_total", ["api", "decision", "shadow"];
    /// Such claims of which no row was written into `shadow_decisions`.
    SHADOW_DECISIONS_LOST = Kind::Counter, "claimgate_shadow_decisions_lost_total", [];
    /// Dead letters published, by what was wrong with the event.
    DEAD_LETTERS = Kind::Counter, "claimgate_dead_letters_total", ["error"];
    /// Events whose claim was decided before from another record with the same content.
    DUPLICATES = Kind::Counter, "claimgate_duplicates_total", [];
    /// Claims whose verdict was found in Postgres after a crash or a rebalance, and published
    /// without another call.
    RECALLED = Kind::Counter, "claimgate_recalled_total", [];
    /// Attempts at risk APIs; the reason is empty for a verdict.
    ATTEMPTS = Kind::Counter, "claimgate_attempts_total", ["api", "outcome", "reason"];
    /// Attempts that are to be repeated.
    RETRIES = Kind::Counter, "claimgate_retries_total", ["api"];
    /// 1 while the breaker of an API is open: nothing is called but probes.
    BREAKER_OPEN = Kind::Gauge, "claimgate_breaker_open", ["api"];
    /// 1 while it is open because the API denies us access: permission, signature, balance.
    BREAKER_ACCESS_DENIED = Kind::Gauge, "claimgate_breaker_access_denied", ["api"];
    /// Claims sent to the retry topic, for later.
    DEFERRED = Kind::Counter, "claimgate_deferred_total", ["api"];
    /// From sending a request to the last byte of the answer, or to giving up on it.
    ATTEMPT_DURATION = CALL, "claimgate_attempt_duration_seconds", ["api"];
    /// Calls of an API that are under way.
    CALLS_IN_FLIGHT = Kind::Gauge, "claimgate_calls_in_flight", ["api"];
    /// From taking a claim on to sending its first request.
    FIRST_ATTEMPT_WAIT = CLAIM, "claimgate_first_attempt_wait_seconds", ["api"];
    /// For how long the access token in use has been there; 0 where there is none.
    TOKEN_AGE = Kind::Gauge, "claimgate_token_age_seconds", ["vendor"];
    /// Fetches of an access token.
    TOKEN_FETCHES = Kind::Counter, "claimgate_token_fetches_total", ["outcome"];
    /// Results dropped because their partition had been lost.
    STALE_RESULTS = Kind::Counter, "claimgate_stale_results_total", [];
    /// From taking a claim on to its decision's being acknowledged by Kafka.
    CLAIM_DURATION = CLAIM, "claimgate_claim_duration_seconds", [];
    /// Records per flush.
    FLUSH_RECORDS = SIZE, "claimgate_flush_records", [];
    /// Writing a flush to Postgres, if it succeeded.
    RECORD_DURATION = CALL, "claimgate_record_duration_seconds", [];
    /// Publishing a flush in one Kafka transaction, if it succeeded.
    PUBLISH_DURATION = CALL, "claimgate_publish_duration_seconds", [];
    /// Writes to Postgres and look-ups in it that failed and are repeated.
    RECORD_FAILURES = Kind::Counter, "claimgate_record_failures_total", [];
    /// Kafka transactions that were aborted and are repeated.
    PUBLISH_ABORTS = Kind::Counter, "claimgate_publish_aborts_total", [];
    /// Producers that the broker put an end to because a transaction outlived its time, and that
    /// were made anew.
    PRODUCERS_FENCED = Kind::Counter, "claimgate_producers_fenced_total", [];
    /// Producers that were made: the first of the worker, and a new one after each that failed.
    PRODUCERS_STARTED = Kind::Counter, "claimgate_producers_started_total", [];
    /// Commits of offsets that failed and are repeated; only with `at_least_once`, where they go on
    /// their own.
    COMMIT_FAILURES = Kind::Counter, "claimgate_commit_failures_total", [];
    /// Messages that their topic rejects even when cut: only the row in Postgres has them.
    UNPUBLISHABLE = Kind::Counter, "claimgate_unpublishable_total", ["topic"];
    /// Records taken on and not yet published.
    IN_FLIGHT = Kind::Gauge, "claimgate_in_flight_claims", [];
    /// Claims that this worker has and that have no published decision, the deferred ones that wait
    /// here for their time included.
    UNDECIDED = Kind::Gauge, "claimgate_undecided_claims", ["api"];
    /// How long ago the oldest of them was first admitted; 0 where there is none.
    UNDECIDED_OLDEST = Kind::Gauge, "claimgate_undecided_oldest_age_seconds", ["api"];
    /// Deferred claims that this worker has read and that wait for their time.
    DEFERRED_WAITING = Kind::Gauge, "claimgate_deferred_claims", ["api"];
    /// When the first of them is due, UNIX time; 0 where none waits.
    DEFERRED_NEXT_DUE = Kind::Gauge, "claimgate_deferred_next_due_timestamp_seconds", ["api"];
    /// Claims that wait for an API: behind their subject's earlier claim, for a permit, or for a
    /// retry.
    QUEUED = Kind::Gauge, "claimgate_queued_claims", ["api"];
    /// Calls of an API that there may be at once for now: with `concurrency = "auto"` it moves.
    CONCURRENCY = Kind::Gauge, "claimgate_concurrency", ["api"];
    /// For how long the oldest claim in flight has been there; 0 where there is none.
    OLDEST_CLAIM_AGE = Kind::Gauge, "claimgate_oldest_claim_age_seconds", [];
    /// 1 while no more records are taken on.
    INTAKE_PAUSED = Kind::Gauge, "claimgate_intake_paused", [];
    /// 1 while a flood of malformed events holds intake up: nothing is taken on from the input
    /// topic but probes.
    DEAD_LETTER_FLOOD = Kind::Gauge, "claimgate_dead_letter_flood", [];
    /// Partitions that this worker has, of the input topic (`claims`) and of the retry topic
    /// (`retry`).
    ASSIGNED_PARTITIONS = Kind::Gauge, "claimgate_assigned_partitions", ["topic"];
    /// Records of a partition that are not done: in flight, waiting, or not read yet. What is done
    /// beyond the committed offset is not among them.
    PARTITION_LAG = Kind::Gauge, "claimgate_partition_lag_records", ["partition"];
    /// How long ago the oldest record of a partition that is not done was first admitted; 0 where
    /// there is none.
    PARTITION_OLDEST = Kind::Gauge, "claimgate_partition_oldest_age_seconds", ["partition"];
    /// How often the group gave this worker partitions, took some away, or took them away unasked.
    REBALANCES = Kind::Counter, "claimgate_rebalances_total", ["event"];
    /// Offsets that retention removed before they were read.
    RECORDS_LOST = Kind::Counter, "claimgate_records_lost_total", ["topic"];
    /// Offsets that are read once more, or for the first time without a committed offset: what was
    /// decided of them is published again.
    OFFSETS_READ_AGAIN = Kind::Counter, "claimgate_offsets_read_again_total", ["topic"];
    /// For how long an open transaction of a producer has held reading up; 0 where none does.
    OPEN_TRANSACTION = Kind::Gauge, "claimgate_open_transaction_seconds", [];
    /// Length of the offset map in the last commit's metadata; the broker takes 4096 bytes.
    OFFSET_MAP_BYTES = Kind::Gauge, "claimgate_offset_map_bytes", ["partition"];
    /// Connections to Postgres, by whether a statement uses them.
    POSTGRES_CONNECTIONS = Kind::Gauge, "claimgate_postgres_connections", ["state"];
    /// Processor time that the process has used, user and system.
    PROCESS_CPU = Kind::Counter, "process_cpu_seconds_total", [];
    /// Memory that the process has in RAM.
    PROCESS_MEMORY = Kind::Gauge, "process_resident_memory_bytes", [];
    /// Files and sockets that the process has open.
    PROCESS_FDS = Kind::Gauge, "process_open_fds", [];
    /// When the process started, UNIX time.
    PROCESS_START = Kind::Gauge, "process_start_time_seconds", [];
    /// Spans that did not reach the collector, those without a place in the queue included.
    SPANS_LOST = Kind::Counter, "claimgate_spans_lost_total", [];
    /// Log lines that did not reach the collector, those without a place in the queue included; the
    /// standard error has them.
    LOG_LINES_LOST = Kind::Counter, "claimgate_log_lines_lost_total", [];
    /// Exports of metrics that the collector did not take.
    METRIC_EXPORTS_FAILED = Kind::Counter, "claimgate_metric_exports_failed_total", [];
    /// Always 1; tells the version that runs, and the commit that it was built from.
    BUILD_INFO = Kind::Gauge, "claimgate_build_info", ["version", "commit"];
}

/// The commit that this program was built from, or "unknown": build.rs finds it out.
const COMMIT: &str = env!("CLAIMGATE_COMMIT");

/// Gives the recorder the help text of every metric. Also starts the metrics that are shown before
/// anything happens.
pub(super) fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
        }
    }
    let lost = [SPANS_LOST, LOG_LINES_LOST, METRIC_EXPORTS_FAILED];
    for counter in lost.into_iter().chain([PRODUCERS_FENCED, PRODUCERS_STARTED, COMMIT_FAILURES]) {
        metrics::counter!(counter.name).increment(0);
    }
    for topic in Topic::ALL {
        metrics::counter!(UNPUBLISHABLE.name, "topic" => topic.label()).increment(0);
    }
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT)];
    metrics::gauge!(BUILD_INFO.name, &labels).set(1.0);
}

/// The builder of the recorder, with the buckets of every histogram.
pub(super) fn builder() -> Result<PrometheusBuilder, BuildError> {
    ALL.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
        }
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

/// From now on everything that is counted appears at `/metrics` and, if there is a bridge, in
/// exports. Without a bridge, counting costs what it costs with Prometheus alone.
pub(super) fn install(bridge: Option<Bridge>) -> Result<PrometheusHandle, TelemetryError> {
    let Some(bridge) = bridge else { return Ok(builder()?.install_recorder()?) };
    let prometheus = builder()?.build_recorder();
    let handle = prometheus.handle();
    let both = FanoutBuilder::default().add_recorder(prometheus).add_recorder(bridge).build();
    set_global_recorder(both)?;
    Ok(handle)
}
