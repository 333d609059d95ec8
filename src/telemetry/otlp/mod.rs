//! Exports telemetry to an OpenTelemetry collector, by OTLP over HTTP or gRPC.
//!
//! Owns the exporters of spans ([`traces`]), of metrics ([`metrics`]) and of log lines ([`logs`]),
//! and the resource that all of them name ([`resource`]). The standard `OTEL_*` variables configure
//! them. Knows no claim. The invariant: each signal has a thread and a queue of its own; an
//! unreachable collector costs telemetry, never the worker's time.

use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use tokio::runtime::Runtime;

pub(super) mod logs;
pub(super) mod metrics;
mod queue;
pub(super) mod resource;
pub(super) mod traces;
pub(super) mod watched;

/// The time limit of an export in milliseconds, unless a variable says otherwise.
pub(super) const TIMEOUT_MS: u64 = 10_000;

/// The kinds of telemetry that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// Every signal.
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name in variables.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }

    /// What is sent: for messages.
    pub(super) const fn things(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "metrics",
            Self::Logs => "log lines",
        }
    }

    /// The variable that chooses its exporter.
    pub(super) const fn exporter(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
        }
    }

    /// The variable that bounds one export, beside those of OTLP.
    const fn export_timeout(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_BSP_EXPORT_TIMEOUT",
            Self::Metrics => "OTEL_METRIC_EXPORT_TIMEOUT",
            Self::Logs => "OTEL_BLRP_EXPORT_TIMEOUT",
        }
    }

    /// The last part of its URL, where the endpoint of all signals is given.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// Its own variable of the exporter, such as `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub(super) fn own(self, end: &str) -> String {
        format!("OTEL_EXPORTER_OTLP_{}_{end}", self.word())
    }

    /// The values of its own variable and of the common variable of all signals, in this order.
    fn asked(
        self,
        end: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> impl Iterator<Item = String> {
        let names = [self.own(end), format!("OTEL_EXPORTER_OTLP_{end}")];
        names
            .into_iter()
            .filter_map(move |name| environment(&name).filter(|value| !value.is_empty()))
    }

    /// Whether the environment asks for its export: spans are exported if it names a collector, the
    /// others if it chooses the exporter `otlp`.
    pub(super) fn is_wanted(self, environment: impl Fn(&str) -> Option<String>) -> bool {
        if environment("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return false;
        }
        let chosen = environment(self.exporter()).unwrap_or_default();
        let is_chosen =
            |word: &str| chosen.split(',').any(|chosen| chosen.trim().eq_ignore_ascii_case(word));
        let is_named = self == Self::Traces && self.endpoint(&environment).is_some();
        is_chosen("otlp") || (is_named && !is_chosen("none"))
    }

    /// The collector that the environment names.
    pub(super) fn endpoint(self, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
        self.asked("ENDPOINT", environment).next()
    }

    /// How long one export may take, repetitions included. A 0 counts as not set; the library would
    /// not wait at all.
    pub(super) fn timeout(self, environment: impl Fn(&str) -> Option<String>) -> Duration {
        let of_otlp = self.asked("TIMEOUT", &environment).find_map(|value| positive(&value));
        let of_export = environment(self.export_timeout()).and_then(|value| positive(&value));
        let of_otlp = of_otlp.unwrap_or(TIMEOUT_MS);
        Duration::from_millis(of_export.map_or(of_otlp, |bound| bound.min(of_otlp)))
    }
}

/// A whole number of 1 or more.
pub(super) fn positive(value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| *number > 0)
}

/// The number that a variable gives, or else this default.
fn number(key: &str, default: usize, environment: impl Fn(&str) -> Option<String>) -> usize {
    let given = environment(key).and_then(|value| positive(&value));
    given.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

/// The same for milliseconds.
fn millis(key: &str, default: Duration, environment: impl Fn(&str) -> Option<String>) -> Duration {
    environment(key).and_then(|value| positive(&value)).map_or(default, Duration::from_millis)
}

/// The protocols of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf over HTTP 1.1, with TLS where the endpoint begins with `https://`.
    HttpProtobuf,
    /// gRPC, without TLS.
    Grpc,
}

impl Protocol {
    /// The protocols that are built in.
    pub(super) const ALL: [Self; 2] = [Self::HttpProtobuf, Self::Grpc];

    /// Its name in the standard.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }

    /// The protocol of this name.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| word.eq_ignore_ascii_case(protocol.as_str()))
    }

    /// The protocol that the environment asks for; the signal's own variable wins over the common
    /// one.
    pub(super) fn of(signal: Signal, environment: impl Fn(&str) -> Option<String>) -> Self {
        let mut asked = signal.asked("PROTOCOL", environment);
        asked.find_map(|word| Self::from_word(&word)).unwrap_or(Self::HttpProtobuf)
    }
}

/// Builds an exporter by `http` or by `grpc`, as the environment asks.
///
/// A gRPC connection needs a runtime: it gets a thread of its own, because the worker's may be the
/// only one.
fn build<E>(
    signal: Signal,
    environment: impl Fn(&str) -> Option<String>,
    http: impl FnOnce(Client) -> Result<E, ExporterBuildError>,
    grpc: impl FnOnce() -> Result<E, ExporterBuildError>,
) -> Result<watched::Watched<E>, ExporterBuildError> {
    let endpoint = signal.endpoint(&environment).unwrap_or_default();
    let (exporter, runtime) = match Protocol::of(signal, &environment) {
        Protocol::HttpProtobuf => {
            let client = client(signal.timeout(&environment));
            (http(client.map_err(ExporterBuildError::InternalFailure)?)?, None)
        }
        Protocol::Grpc => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).thread_name("otlp-grpc").enable_all().build();
            let runtime: Runtime = runtime.map_err(|error| {
                let why = format!("no thread can be started for it: {error}");
                ExporterBuildError::InternalFailure(why)
            })?;
            let exporter = {
                let _entered = runtime.enter();
                grpc()?
            };
            (exporter, Some(runtime))
        }
    };
    Ok(watched::Watched::new(signal, exporter, &endpoint).on(runtime))
}

/// The HTTP client of exporters. It does not follow redirects: that would send the headers, which
/// may hold keys, to another host, and a login page there would count as success.
fn client(timeout: Duration) -> Result<Client, String> {
    let build = move || Client::builder().redirect(Policy::none()).timeout(timeout).build();
    // It must not be built inside a runtime.
    let thread = std::thread::Builder::new().name("otlp-http".to_owned()).spawn(build);
    let thread = thread.map_err(|error| format!("no thread can be started for it: {error}"))?;
    let built = thread.join().map_err(|_panic| "the thread that makes it panicked".to_owned())?;
    built.map_err(|error| format!("the HTTP client cannot be created: {error}"))
}

/// Says which signals go to a collector and which do not, if the environment mentions a collector.
pub(super) fn told(environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (wanted, others): (Vec<_>, Vec<_>) =
        Signal::ALL.into_iter().partition(|signal| signal.is_wanted(&environment));
    if wanted.is_empty() {
        return None;
    }
    let things = |signals: &[Signal]| {
        signals.iter().map(|signal| signal.things()).collect::<Vec<_>>().join(", ")
    };
    let by: Vec<_> = others
        .iter()
        .filter(|signal| environment(signal.exporter()).is_none_or(|value| value.is_empty()))
        .map(|signal| format!("{}=otlp", signal.exporter()))
        .collect();
    let how = if by.is_empty() { String::new() } else { format!(" without {}", by.join(", ")) };
    let left = if others.is_empty() {
        String::new()
    } else {
        format!("; not exported{how}: {}", things(&others))
    };
    Some(format!("exported by OTLP: {}{left}", things(&wanted)))
}

#[cfg(test)]
mod tests;
