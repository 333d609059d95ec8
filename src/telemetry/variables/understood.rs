//! Which values of the `OTEL_*` variables are understood, and what happens where one is not. Pure.
//!
//! Each check says what the exporter will do, so it has to agree with [`super::super::otlp`] and
//! with the library below.

use std::fmt::Display;

use opentelemetry_sdk::logs::{
    OTEL_BLRP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BLRP_MAX_QUEUE_SIZE_DEFAULT,
    OTEL_BLRP_SCHEDULE_DELAY_DEFAULT,
};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::{
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BSP_SCHEDULE_DELAY_DEFAULT,
};

use super::Environment;
use crate::telemetry::otlp::Signal;
use crate::telemetry::otlp::metrics::INTERVAL;
use crate::telemetry::otlp::traces::{LINKS_PER_SPAN, QUEUE_SIZE};

/// The consequence of a value that is not understood: the rest of a sentence that begins with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Something else happens.
    Warning(String),
    /// The worker does not start.
    Wrong(String),
}

pub(super) type Understood = Result<(), Instead>;

/// The samplers of the standard that the library supports.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// The most attributes and events of a span, unless a variable says otherwise.
const COUNT_LIMIT: u32 = 128;

fn warn(words: String) -> Understood {
    Err(Instead::Warning(words))
}

pub(super) fn unless(holds: bool, words: impl FnOnce() -> String) -> Understood {
    if holds { Ok(()) } else { warn(words()) }
}

/// The variables, as the exporters ask for them.
pub(super) fn asked(given: &Environment) -> impl Fn(&str) -> Option<String> {
    |name| given.get(name).cloned()
}

/// A variable of a signal has an effect only if the signal is exported.
pub(super) fn has_effect(signal: Signal, given: &Environment) -> Understood {
    unless(signal.is_wanted(asked(given)), || {
        let (things, exporter) = (signal.things(), signal.exporter());
        format!("has no effect: {things} are not exported; set {exporter}=otlp, or remove it")
    })
}

/// Whether a signal's exporter is `none`, and not `otlp` beside it.
pub(super) fn is_off(signal: Signal, given: &Environment) -> bool {
    let chosen = given.get(signal.exporter()).map_or("", String::as_str);
    let is_none = chosen.split(',').any(|word| word.trim().eq_ignore_ascii_case("none"));
    is_none && !signal.is_wanted(asked(given))
}

/// Any value is understood.
pub(super) fn any(_: &str, _: &Environment) -> Understood {
    Ok(())
}

/// Whether a boolean variable is true, as the standard reads it.
pub(super) fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

pub(super) fn disabled(value: &str, _: &Environment) -> Understood {
    unless(value.eq_ignore_ascii_case("false"), || {
        "is neither true nor false, and counts as false; write true where no span is to leave"
            .to_owned()
    })
}

/// `key=value,key=value`.
pub(super) fn pairs(value: &str, _: &Environment) -> Understood {
    entries(value, "without a key and `=`", |key, _| !key.is_empty())
}

pub(super) fn entries(
    value: &str,
    fault: &str,
    is_good: impl Fn(&str, &str) -> bool,
) -> Understood {
    let entries: Vec<&str> = value.split_terminator(',').map(str::trim).collect();
    let good = entries.iter().filter_map(|entry| entry.split_once('='));
    let good = good.filter(|(key, value)| is_good(key.trim(), value.trim())).count();
    unless(good == entries.len(), || {
        format!(
            "has {} of {} entries {fault}, which are left out; write key=value,key=value",
            entries.len() - good,
            entries.len()
        )
    })
}

pub(super) fn propagators(value: &str, _: &Environment) -> Understood {
    let only = value.split(',').map(str::trim).all(|name| name == "tracecontext");
    unless(only, || {
        "has no effect: tracecontext is always in use, baggage goes on as telemetry.baggage \
         says, and no other is built in; set tracecontext"
            .to_owned()
    })
}

pub(super) fn sampler(value: &str, _: &Environment, _: Signal) -> Understood {
    unless(SAMPLERS.contains(&value), || {
        let known = SAMPLERS.join(", ");
        format!("is not a known sampler: parentbased_always_on is used; set one of {known}")
    })
}

pub(super) fn sampler_argument(value: &str, given: &Environment, _: Signal) -> Understood {
    let sampler = given.get("OTEL_TRACES_SAMPLER").map_or("parentbased_always_on", String::as_str);
    unless(sampler.ends_with("traceidratio"), || {
        format!("has no effect: the sampler {sampler} takes none; set OTEL_TRACES_SAMPLER")
    })?;
    let counts_as = match value.parse::<f64>() {
        Ok(0.0..=1.0) => return Ok(()),
        Ok(ratio) if ratio < 0.0 || ratio.is_nan() => 0,
        Ok(_) | Err(_) => 1,
    };
    Err(Instead::Warning(format!(
        "is not a ratio between 0 and 1, and counts as {counts_as}; write one such as 0.1"
    )))
}

pub(super) fn traces_exporter(value: &str, given: &Environment) -> Understood {
    let otherwise = if Signal::Traces.is_wanted(asked(given)) {
        "spans go to the collector by OTLP alone"
    } else {
        "no span is exported"
    };
    exporters(value, &["otlp", "none"], otherwise)
}

/// One or more exporters, of which only these are built in.
fn exporters(value: &str, known: &[&str], otherwise: &str) -> Understood {
    let mut words = value.split(',').map(str::trim).filter(|word| !word.is_empty());
    let unknown = words.find(|word| !known.iter().any(|known| known.eq_ignore_ascii_case(word)));
    unless(unknown.is_none(), || {
        format!("is not understood: {otherwise}; set one of {}", known.join(", "))
    })
}

pub(super) fn metrics_exporter(value: &str, _: &Environment) -> Understood {
    let otherwise = "metrics are at http.listen, and are exported by OTLP alone";
    exporters(value, &["otlp", "prometheus", "none"], otherwise)
}

pub(super) fn logs_exporter(value: &str, _: &Environment) -> Understood {
    let otherwise = "log lines go to the standard error, and are exported by OTLP alone";
    exporters(value, &["otlp", "none"], otherwise)
}

pub(super) fn positive(value: &str, instead: impl Display, what: &str) -> Understood {
    unless(value.parse::<u64>().is_ok_and(|number| number > 0), || {
        format!("is not a number of {what}: {instead} is used; write a whole number of 1 or more")
    })
}

pub(super) fn schedule_delay(value: &str, _: &Environment, signal: Signal) -> Understood {
    let instead = match signal {
        Signal::Logs => OTEL_BLRP_SCHEDULE_DELAY_DEFAULT,
        Signal::Traces | Signal::Metrics => OTEL_BSP_SCHEDULE_DELAY_DEFAULT,
    };
    positive(value, instead.as_millis(), "milliseconds")
}

pub(super) fn interval(value: &str, _: &Environment, _: Signal) -> Understood {
    positive(value, INTERVAL.as_millis(), "milliseconds")
}

pub(super) fn queue_size(value: &str, _: &Environment, signal: Signal) -> Understood {
    let instead = match signal {
        Signal::Logs => OTEL_BLRP_MAX_QUEUE_SIZE_DEFAULT,
        Signal::Traces | Signal::Metrics => QUEUE_SIZE,
    };
    positive(value, instead, signal.things())
}

pub(super) fn batch_size(value: &str, _: &Environment, signal: Signal) -> Understood {
    let instead = match signal {
        Signal::Logs => OTEL_BLRP_MAX_EXPORT_BATCH_SIZE_DEFAULT,
        Signal::Traces | Signal::Metrics => OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT,
    };
    positive(value, instead, signal.things())
}

/// The bound of one export is the shorter of this and of OTLP's own.
pub(super) fn export_timeout(value: &str, given: &Environment, signal: Signal) -> Understood {
    let instead = signal.timeout(asked(given)).as_millis();
    positive(value, instead, "milliseconds")
}

pub(super) fn temporality(value: &str, _: &Environment, _: Signal) -> Understood {
    unless(value.parse::<Temporality>().is_ok(), || {
        "is not understood: cumulative is used; set cumulative, delta or lowmemory".to_owned()
    })
}

pub(super) fn histogram_aggregation(value: &str, _: &Environment, _: Signal) -> Understood {
    unless(value.eq_ignore_ascii_case("explicit_bucket_histogram"), || {
        "has no effect: each histogram has the buckets that /metrics has; set \
         explicit_bucket_histogram"
            .to_owned()
    })
}

/// Attributes or events.
pub(super) fn count_limit(value: &str, _: &Environment, _: Signal) -> Understood {
    limit(value, COUNT_LIMIT)
}

pub(super) fn link_limit(value: &str, _: &Environment, _: Signal) -> Understood {
    limit(value, LINKS_PER_SPAN)
}

fn limit(value: &str, instead: u32) -> Understood {
    unless(value.parse::<u32>().is_ok(), || {
        format!("is not a whole number: the limit is {instead}; write one")
    })
}
