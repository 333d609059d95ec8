//! Telemetry: log lines, spans, metrics, and the endpoints for the orchestrator.
//!
//! Owns the names of all of them and how they leave the process; `docs/telemetry.md` says how to
//! read them. Knows no Kafka, no Postgres, no risk API. The invariant: telemetry may be lost, but
//! it never blocks or fails the worker, and it never carries an account, a token or a body.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ::metrics::SetRecorderError;
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use metrics_util::layers::Fanout;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

mod filter;
pub mod health;
pub mod http;
mod log;
pub mod meter;
pub mod metrics;
mod otlp;
mod process;
pub mod spans;
mod variables;

use crate::findings::{Finding, Severity};
pub use health::{Component, Health};
pub use meter::{
    IntakeMeter, Meter, PoolMeter, Undecided, shadow_decisions_lost, shadow_differs, shadow_rules,
};
use otlp::Signal;
use process::Process;
use spans::Sink;
pub use spans::{
    AttemptEnd, ClaimEnd, ClaimFacts, ClaimRecord, Ids, Keep, Peer, SharedStep, Spans, Wait,
};

/// How long the last spans, metrics and log lines may take to reach the collector when the process
/// ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often recorded histogram values are folded into their buckets, even if nothing scrapes, and
/// how often the usage of the process is read.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// `[telemetry]`. The environment says what is exported and where to: `OTEL_EXPORTER_OTLP_ENDPOINT`
/// and its companions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which log lines are printed, in the syntax of `RUST_LOG`, which overrides it. It does not
    /// affect spans.
    pub log: String,
    /// How they are printed.
    pub log_format: LogFormat,
    /// Whether the spans of a claim that failed are exported even if it is not sampled.
    pub keep_failed: bool,
    /// The same for a claim that took this many attempts or more; 0 switches it off.
    pub keep_attempts: u32,
    /// The same for a claim that took longer than this, from being taken on to Kafka's
    /// acknowledgement; "0s" switches it off.
    #[serde(with = "humantime_serde")]
    pub keep_slower_than: Duration,
    /// The keys of W3C baggage that are copied from a claim's headers to its decision's; `*` means
    /// every key.
    pub baggage: Vec<String>,
}

impl Settings {
    fn keep(&self) -> Keep {
        let Self { keep_failed, keep_attempts, keep_slower_than, .. } = self;
        Keep { failed: *keep_failed, attempts: *keep_attempts, slower_than: *keep_slower_than }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            keep_failed: true,
            keep_attempts: 3,
            keep_slower_than: Duration::from_secs(5),
            baggage: Vec::new(),
        }
    }
}

/// How log lines are printed, to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why telemetry could not be set up: a wrong configuration, never an unreachable collector.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of log lines does not parse.
    #[error("{key}: {text:?} is not a log filter: {source}")]
    Filter {
        /// The setting at fault.
        key: &'static str,
        /// Its value.
        text: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A variable of the environment that makes every export impossible.
    #[error("{0}")]
    Variable(String),
    /// An exporter refuses its settings.
    #[error("export (OTEL_EXPORTER_OTLP_*): {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The recorder of metrics could not be installed.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
    /// Another recorder was installed before.
    #[error("metrics: {0}")]
    Recorder(#[from] SetRecorderError<Fanout>),
    /// The upkeep thread of the metrics could not be started.
    #[error("metrics: {0}")]
    Thread(#[from] std::io::Error),
    /// Another subscriber was set before.
    #[error("logging: {0}")]
    Subscriber(#[from] TryInitError),
}

/// Running telemetry. Keep it until the process ends, then [`shut it down`](Self::shutdown).
pub struct Telemetry {
    sink: Option<Arc<Sink>>,
    /// What exports metrics.
    meters: Option<SdkMeterProvider>,
    /// What exports log lines.
    lines: Option<SdkLoggerProvider>,
    keep: Keep,
    prometheus: PrometheusHandle,
    change_filter: log::Change,
    /// Dropping it ends the upkeep thread.
    _upkeep: SyncSender<()>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("exports_spans", &self.exports_spans())
            .finish_non_exhaustive()
    }
}

/// Sets up logging, the recorder of metrics and, if the environment asks for it, the export of
/// spans, metrics and log lines. Call it once per process.
///
/// # Errors
/// [`TelemetryError`]: one sentence that names the setting at fault.
pub fn init(settings: &Settings, service_instance: &str) -> Result<Telemetry, TelemetryError> {
    init_to(settings, service_instance, std::io::stderr)
}

/// As [`init`], but with another destination of the log lines than stderr.
///
/// # Errors
/// As [`init`].
pub fn init_to<W>(
    settings: &Settings,
    service_instance: &str,
    writer: W,
) -> Result<Telemetry, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let environment = |key: &str| std::env::var(key).ok();
    let filter = log::filter(&settings.log, environment)?;
    let variables = look_at_variables();
    // The library's message would quote an endpoint, which may hold a password.
    if let Some(wrong) = variables.iter().find(|finding| finding.severity == Severity::Wrong) {
        return Err(TelemetryError::Variable(format!("{}: {}", wrong.place, wrong.sentence())));
    }
    let resource = otlp::resource::resource(service_instance);
    let is_wanted = |signal: Signal| signal.is_wanted(environment);
    let lines = is_wanted(Signal::Logs)
        .then(|| otlp::logs::exported(resource.clone(), environment))
        .transpose()?;
    let exported = lines.as_ref().map(otlp::logs::layer);
    let (layer, change_filter) = log::layer(settings.log_format, filter, writer, exported);
    // Before the exporters begin to count their losses.
    tracing_subscriber::registry().with(layer).try_init()?;
    let sink = is_wanted(Signal::Traces)
        .then(|| otlp::traces::sink(&resource, environment))
        .transpose()?
        .map(Arc::new);
    let (meters, bridge) = is_wanted(Signal::Metrics)
        .then(|| otlp::metrics::exported(resource, environment))
        .transpose()?
        .unzip();
    let prometheus = metrics::install(bridge)?;
    metrics::describe();
    let upkeep = start_upkeep(prometheus.clone())?;
    let keep =
        if otlp::traces::keeps_none(environment) { Keep::default() } else { settings.keep() };
    for finding in variables {
        tracing::warn!("{}: {}", finding.place, finding.sentence());
    }
    if let Some(told) = otlp::told(environment) {
        tracing::info!("{told}");
    }
    Ok(Telemetry { sink, meters, lines, keep, prometheus, change_filter, _upkeep: upkeep })
}

/// Findings: `OTEL_*` variables of the environment that do not do what their standard says.
fn look_at_variables() -> Vec<Finding> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    variables::look_at(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}

/// What is wrong with the settings and the environment, as far as that can be seen without setting
/// anything up.
pub fn look_at(settings: &Settings) -> Vec<Finding> {
    let filter = log::filter(&settings.log, |key| std::env::var(key).ok());
    let finding = |error: TelemetryError| match error {
        TelemetryError::Filter { key, text, source } => {
            Finding::wrong(key, format!("{text:?} is not a log filter: {source}"))
        }
        other => Finding::wrong("telemetry", other.to_string()),
    };
    filter.err().map(finding).into_iter().chain(look_at_variables()).collect()
}

impl Telemetry {
    /// Whether spans are exported.
    pub fn exports_spans(&self) -> bool {
        self.sink.is_some()
    }

    /// The spans of a worker of this consumer group; [off](Spans::off) if nothing exports them.
    pub fn spans(&self, consumer_group: &str) -> Spans {
        let sink = self.sink.clone();
        sink.map_or_else(Spans::off, |sink| Spans::on(sink, consumer_group, self.keep))
    }

    /// Applies the filter of log lines that these settings or `RUST_LOG` ask for, and returns it.
    ///
    /// # Errors
    /// One sentence that names the setting at fault. The filter does not change then.
    pub fn change_filter(&self, settings: &Settings) -> Result<String, String> {
        let environment = |key: &str| std::env::var(key).ok();
        let filter = log::filter(&settings.log, environment).map_err(|error| error.to_string())?;
        let text = filter.to_string();
        (self.change_filter)(filter).map_err(|error| format!("telemetry.log: {error}"))?;
        Ok(text)
    }

    /// Renders `/metrics`.
    pub fn prometheus(&self) -> PrometheusHandle {
        self.prometheus.clone()
    }

    /// Sends everything that waits to be exported. Blocks for at most five seconds: call it last.
    pub fn shutdown(self) {
        let Self { sink, meters, lines, .. } = self;
        let sink = sink.map(|sink| {
            ending(Signal::Traces, move || sink.processor.shutdown_with_timeout(SHUTDOWN_TIMEOUT))
        });
        let meters = meters.map(|meters| {
            ending(Signal::Metrics, move || meters.shutdown_with_timeout(SHUTDOWN_TIMEOUT))
        });
        let lines = lines.map(|lines| {
            ending(Signal::Logs, move || lines.shutdown_with_timeout(SHUTDOWN_TIMEOUT))
        });
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        for (signal, ended) in [sink, meters, lines].into_iter().flatten() {
            let left = deadline.saturating_duration_since(Instant::now());
            let things = signal.things();
            match ended.recv_timeout(left) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!("the last {things} did not reach the collector: {error}");
                }
                Err(_silent) => tracing::warn!("the last {things} did not reach the collector"),
            }
        }
    }
}

/// Ends an exporter on a thread of its own, because all exporters share the same seconds; returns
/// its result.
fn ending(
    signal: Signal,
    end: impl FnOnce() -> OTelSdkResult + Send + 'static,
) -> (Signal, Receiver<OTelSdkResult>) {
    let (ended, result) = sync_channel(1);
    // The receiver may be gone. Without a thread the exporter ends without a flush.
    drop(std::thread::Builder::new().name("export-end".to_owned()).spawn(move || {
        drop(ended.send(end()));
    }));
    (signal, result)
}

/// Histograms hold every value until they are folded: without upkeep the memory of an unscraped
/// worker would grow for ever. This thread also reads the usage of the process, so that the worker
/// does not have to.
fn start_upkeep(prometheus: PrometheusHandle) -> std::io::Result<SyncSender<()>> {
    let (running, ended) = sync_channel(0);
    let process = Process::new(time::OffsetDateTime::now_utc().unix_timestamp());
    std::thread::Builder::new().name("metrics-upkeep".to_owned()).spawn(move || {
        process.look();
        while ended.recv_timeout(UPKEEP_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            prometheus.run_upkeep();
            process.look();
        }
    })?;
    Ok(running)
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
