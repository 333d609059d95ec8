//! The `OTEL_*` variables of the environment: which have an effect, which values are understood,
//! and what happens otherwise.
//!
//! Pure. OpenTelemetry's library silently ignores what it does not know. The invariant: a standard
//! variable that is set and does not do what the standard says has a finding. Exceptions are
//! `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`: environments set them for every program.
//!
//! Source: OpenTelemetry's "Environment Variable Specification" and "OTLP Exporter Configuration".

use std::collections::BTreeMap;

use super::otlp::Signal;
use crate::findings::Finding;
use understood::Instead;

mod collector;
mod understood;

/// The variables that are set, by name.
pub(super) type Environment = BTreeMap<String, String>;

/// Checks whether a value is understood, given the other variables.
type Check = fn(&str, &Environment) -> Result<(), Instead>;
/// The same for a variable of one signal, which has no effect if that signal is not exported.
type CheckOf = fn(&str, &Environment, Signal) -> Result<(), Instead>;

/// The effect of a variable.
enum Use {
    /// It has its effect, if its value is understood.
    Counts(Check),
    /// The same for a value that may hold a secret, and is not shown.
    CountsUnseen(Check),
    /// It has its effect for its signal.
    Of(CheckOf),
    /// The same for a value that may hold a secret, and is not shown.
    OfUnseen(CheckOf),
    /// It has no effect; this says what happens instead.
    Ignored(&'static str),
    /// The same, and its value may be a secret.
    IgnoredUnseen(&'static str),
}

use Use::{Counts, CountsUnseen, Ignored, IgnoredUnseen, Of, OfUnseen};

const TLS: &str = "the collector's certificate is checked by the system's authorities, and no \
                   certificate is shown to it; set up a collector on this host that has them";
const TO_COLLECTORS: &str = "spans go to a collector by OTLP alone; have the collector send \
                             them on, or remove the variable";
const NO_LIMIT: &str = "claimgate's spans have no such limit; remove the variable";
const NO_LIMIT_OF_LINES: &str = "log lines have no such limit; remove the variable";
const NO_FILE: &str = "no such file is read; set the variables of docs/telemetry.md";

/// Every variable of the standard. `<SIGNAL>` stands for `TRACES`, `METRICS` and `LOGS`, `*` for
/// any ending. The first line that matches counts.
const VARIABLES: &[(&str, Use)] = &[
    ("OTEL_SDK_DISABLED", Counts(understood::disabled)),
    ("OTEL_SERVICE_NAME", Counts(understood::any)),
    // The Kubernetes operator sets OTEL_RESOURCE_ATTRIBUTES_POD_NAME and others, and refers to them
    // in it.
    ("OTEL_RESOURCE_ATTRIBUTES_*", Counts(understood::any)),
    ("OTEL_RESOURCE_ATTRIBUTES", Counts(understood::pairs)),
    ("OTEL_LOG_LEVEL", Ignored("telemetry.log and RUST_LOG choose the log lines; set one of them")),
    ("OTEL_PROPAGATORS", Counts(understood::propagators)),
    ("OTEL_TRACES_SAMPLER", Of(understood::sampler)),
    ("OTEL_TRACES_SAMPLER_ARG", Of(understood::sampler_argument)),
    ("OTEL_TRACES_EXPORTER", Counts(understood::traces_exporter)),
    ("OTEL_METRICS_EXPORTER", Counts(understood::metrics_exporter)),
    ("OTEL_LOGS_EXPORTER", Counts(understood::logs_exporter)),
    ("OTEL_BSP_SCHEDULE_DELAY", Of(understood::schedule_delay)),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Of(understood::queue_size)),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Of(understood::batch_size)),
    ("OTEL_BSP_EXPORT_TIMEOUT", Of(understood::export_timeout)),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", Of(understood::count_limit)),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", Of(understood::count_limit)),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", Of(understood::link_limit)),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", Ignored(NO_LIMIT)),
    ("OTEL_ATTRIBUTE_*", Ignored(NO_LIMIT)),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", Ignored(NO_LIMIT)),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", Ignored(NO_LIMIT)),
    ("OTEL_METRIC_EXPORT_INTERVAL", Of(understood::interval)),
    ("OTEL_METRIC_EXPORT_TIMEOUT", Of(understood::export_timeout)),
    ("OTEL_METRICS_EXEMPLAR_FILTER", Ignored("metrics have no exemplars; remove the variable")),
    ("OTEL_BLRP_SCHEDULE_DELAY", Of(understood::schedule_delay)),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", Of(understood::queue_size)),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", Of(understood::batch_size)),
    ("OTEL_BLRP_EXPORT_TIMEOUT", Of(understood::export_timeout)),
    ("OTEL_LOGRECORD_*", Ignored(NO_LIMIT_OF_LINES)),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", CountsUnseen(collector::endpoint)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT", OfUnseen(collector::own_endpoint)),
    ("OTEL_EXPORTER_OTLP_HEADERS", CountsUnseen(collector::headers)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_HEADERS", OfUnseen(collector::own_headers)),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Counts(collector::protocol)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_PROTOCOL", Of(collector::own_protocol)),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", Counts(collector::timeout)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_TIMEOUT", Of(collector::own_timeout)),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", Counts(collector::compression)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_COMPRESSION", Of(collector::own_compression)),
    ("OTEL_EXPORTER_OTLP_INSECURE", Counts(collector::insecure)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_INSECURE", Of(collector::own_insecure)),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Of(understood::temporality)),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        Of(understood::histogram_aggregation),
    ),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", Ignored(TLS)),
    ("OTEL_EXPORTER_OTLP_CLIENT_*", Ignored(TLS)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_CERTIFICATE", Ignored(TLS)),
    ("OTEL_EXPORTER_OTLP_<SIGNAL>_CLIENT_*", Ignored(TLS)),
    ("OTEL_EXPORTER_PROMETHEUS_*", Ignored("metrics are at http.listen; set that")),
    ("OTEL_EXPORTER_JAEGER_*", IgnoredUnseen(TO_COLLECTORS)),
    ("OTEL_EXPORTER_ZIPKIN_*", IgnoredUnseen(TO_COLLECTORS)),
    ("OTEL_CONFIG_FILE", Ignored(NO_FILE)),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", Ignored(NO_FILE)),
    ("OTEL_*", IgnoredUnseen("claimgate knows no such variable; correct its name, or remove it")),
];

/// What is not as the standard says, variable by variable. An empty variable counts as not set, as
/// the standard says.
pub(super) fn look_at(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Finding> {
    let is_given =
        |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.is_empty();
    let given: Environment = environment.into_iter().filter(is_given).collect();
    // Then no other variable has an effect, as the standard says.
    if understood::is_true(given.get("OTEL_SDK_DISABLED")) {
        return Vec::new();
    }
    given.iter().filter_map(|(name, value)| finding(name, value, &given)).collect()
}

fn finding(name: &str, value: &str, given: &Environment) -> Option<Finding> {
    let (_, with_use) = VARIABLES.iter().find(|(pattern, _)| fits(pattern, name))?;
    let shown = match with_use {
        Counts(_) | Of(_) | Ignored(_) => format!("{value:?}"),
        CountsUnseen(_) | OfUnseen(_) | IgnoredUnseen(_) => "its value".to_owned(),
    };
    let understood = match with_use {
        Ignored(instead) | IgnoredUnseen(instead) => {
            Err(Instead::Warning(format!("has no effect: {instead}")))
        }
        Counts(check) | CountsUnseen(check) => check(value, given),
        Of(check) | OfUnseen(check) => {
            let signal = signal(name);
            // Then it has no effect, as the standard says.
            if understood::is_off(signal, given) {
                return None;
            }
            understood::has_effect(signal, given).and_then(|()| check(value, given, signal))
        }
    };
    match understood.err()? {
        Instead::Warning(words) => Some(Finding::warning(name, format!("{shown} {words}"))),
        Instead::Wrong(words) => Some(Finding::wrong(name, format!("{shown} {words}"))),
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    match pattern.split_once(SIGNAL) {
        None => fits(pattern),
        Some((start, end)) => {
            Signal::ALL.iter().any(|signal| fits(&format!("{start}{}{end}", signal.word())))
        }
    }
}

/// In a name of the table, this matches any signal.
const SIGNAL: &str = "<SIGNAL>";

/// The signal of a variable: spans, unless its name says otherwise.
fn signal(name: &str) -> Signal {
    if name.starts_with("OTEL_METRIC_") || name.contains("_METRICS_") {
        Signal::Metrics
    } else if name.starts_with("OTEL_BLRP_") || name.contains("_LOGS_") {
        Signal::Logs
    } else {
        Signal::Traces
    }
}

#[cfg(test)]
mod tests;
