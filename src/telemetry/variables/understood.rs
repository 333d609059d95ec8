//! Which values of the `OTEL_*` variables are understood, and what happens where one is not. Pure.
//!
//! Each check says what the exporter will do, and so has to agree with [`super::super::otlp`] and
//! with the library below it.

use std::fmt::Display;

use axum::http::Uri;
use opentelemetry_sdk::trace::{
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BSP_SCHEDULE_DELAY_DEFAULT,
};

use super::Environment;
use crate::telemetry::otlp::{LINKS_PER_SPAN, Protocol, QUEUE_SIZE};

/// What follows from a value that is not understood: the rest of a sentence that begins with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Something else happens.
    Warning(String),
    /// The worker does not start.
    Wrong(String),
}

type Understood = Result<(), Instead>;

/// The samplers of the standard that the library has.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// The milliseconds that an export may take unless a variable says otherwise.
const TIMEOUT_MS: u64 = 10_000;
/// Attributes and events that a span may hold unless a variable says otherwise.
const COUNT_LIMIT: u32 = 128;

fn unless(holds: bool, words: impl FnOnce() -> String) -> Understood {
    if holds { Ok(()) } else { Err(Instead::Warning(words())) }
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
    let is_pair =
        |entry: &&str| entry.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    let entries: Vec<&str> = value.split_terminator(',').map(str::trim).collect();
    let left_out = entries.len() - entries.iter().filter(|entry| is_pair(entry)).count();
    unless(left_out == 0, || {
        format!(
            "has {left_out} of {} entries without a key and `=`, which are left out; write \
             key=value,key=value",
            entries.len()
        )
    })
}

pub(super) fn propagators(value: &str, _: &Environment) -> Understood {
    let only = value.split(',').map(str::trim).all(|name| name == "tracecontext");
    unless(only, || {
        "is not understood: tracecontext alone is built in, and is always in use; set tracecontext"
            .to_owned()
    })
}

pub(super) fn sampler(value: &str, _: &Environment) -> Understood {
    unless(SAMPLERS.contains(&value), || {
        let known = SAMPLERS.join(", ");
        format!("is no sampler here: parentbased_always_on is used; set one of {known}")
    })
}

pub(super) fn sampler_argument(value: &str, given: &Environment) -> Understood {
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
        "is no ratio between 0 and 1, and counts as {counts_as}; write one such as 0.1"
    )))
}

pub(super) fn traces_exporter(value: &str, given: &Environment) -> Understood {
    if value.eq_ignore_ascii_case("none") {
        return Ok(());
    }
    let has_collector = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .iter()
        .any(|name| given.contains_key(*name));
    unless(has_collector, || {
        "exports no span, because no collector is named; set OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()
    })?;
    unless(value.eq_ignore_ascii_case("otlp"), || {
        "is not understood: spans go to the collector by OTLP alone; set otlp or none".to_owned()
    })
}

pub(super) fn metrics_exporter(value: &str, _: &Environment) -> Understood {
    let is_so = ["none", "prometheus"].iter().any(|word| value.eq_ignore_ascii_case(word));
    unless(is_so, || format!("has no effect: {}", super::METRICS))
}

pub(super) fn logs_exporter(value: &str, _: &Environment) -> Understood {
    unless(value.eq_ignore_ascii_case("none"), || format!("has no effect: {}", super::LOGS))
}

fn positive(value: &str, instead: impl Display, what: &str) -> Understood {
    unless(value.parse::<u64>().is_ok_and(|number| number > 0), || {
        format!("is no number of {what}: {instead} is used; write a whole number of 1 or more")
    })
}

pub(super) fn schedule_delay(value: &str, _: &Environment) -> Understood {
    positive(value, OTEL_BSP_SCHEDULE_DELAY_DEFAULT.as_millis(), "milliseconds")
}

pub(super) fn queue_size(value: &str, _: &Environment) -> Understood {
    positive(value, QUEUE_SIZE, "spans")
}

pub(super) fn batch_size(value: &str, _: &Environment) -> Understood {
    positive(value, OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, "spans")
}

/// Attributes or events.
pub(super) fn count_limit(value: &str, _: &Environment) -> Understood {
    limit(value, COUNT_LIMIT)
}

pub(super) fn link_limit(value: &str, _: &Environment) -> Understood {
    limit(value, LINKS_PER_SPAN)
}

fn limit(value: &str, instead: u32) -> Understood {
    unless(value.parse::<u32>().is_ok(), || {
        format!("is no whole number: the limit is {instead}; write one")
    })
}

pub(super) fn endpoint(value: &str, given: &Environment) -> Understood {
    if given.contains_key("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return Ok(());
    }
    match asked_protocol(given) {
        Protocol::HttpProtobuf => url(&format!("{}/v1/traces", value.trim_end_matches('/')), given),
        Protocol::Grpc => url(value, given),
    }
}

pub(super) fn traces_endpoint(value: &str, given: &Environment) -> Understood {
    url(value, given)
}

fn asked_protocol(given: &Environment) -> Protocol {
    Protocol::of(|key| given.get(key).cloned())
}

fn url(url: &str, given: &Environment) -> Understood {
    let exporter = given.get("OTEL_TRACES_EXPORTER").map(String::as_str).unwrap_or_default();
    if exporter.eq_ignore_ascii_case("none") {
        return Ok(());
    }
    let is_grpc = asked_protocol(given) == Protocol::Grpc;
    if is_grpc && url.starts_with("unix:") {
        return Ok(());
    }
    let remedy = match is_grpc {
        true => "write one such as http://collector:4317",
        false => "write one such as http://collector:4318",
    };
    let wrong = |what: &str, remedy: &str| {
        Err(Instead::Wrong(format!("{what}, and the worker does not start; {remedy}")))
    };
    // gRPC alone takes a place without a scheme.
    let scheme = match url.contains("://") || !is_grpc {
        true => "",
        false if is_insecure(given) => "http://",
        false => "https://",
    };
    let Ok(uri) = format!("{scheme}{url}").parse::<Uri>() else {
        return wrong("is no URL", remedy);
    };
    if is_grpc && uri.scheme_str() == Some("https") {
        let other = "export by http/protobuf, or to a collector on this host that sends on";
        return wrong("asks for TLS, which gRPC is built without", other);
    }
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    unless(is_http && uri.host().is_some_and(|host| !host.is_empty()), || {
        format!("is no URL of HTTP, so no span arrives; {remedy}")
    })
}

fn is_insecure(given: &Environment) -> bool {
    let of_traces = given.get("OTEL_EXPORTER_OTLP_TRACES_INSECURE");
    is_true(of_traces.or_else(|| given.get("OTEL_EXPORTER_OTLP_INSECURE")))
}

pub(super) fn insecure(_: &str, given: &Environment) -> Understood {
    unless(asked_protocol(given) == Protocol::Grpc, || {
        "has no effect: http:// or https:// in the endpoint decides; change it there".to_owned()
    })
}

pub(super) fn protocol(value: &str, given: &Environment) -> Understood {
    match given.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") {
        Some(_) => Ok(()),
        None => traces_protocol(value, given),
    }
}

pub(super) fn traces_protocol(value: &str, given: &Environment) -> Understood {
    unless(Protocol::from_word(value).is_some(), || {
        let [one, other] = Protocol::ALL.map(Protocol::as_str);
        let used = asked_protocol(given).as_str();
        format!("is not built in: spans are exported by {used}; set {one} or {other}")
    })
}

pub(super) fn timeout(value: &str, given: &Environment) -> Understood {
    match given.get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").map(|value| value.parse::<u64>()) {
        Some(Ok(_)) => Ok(()),
        _ => positive(value, TIMEOUT_MS, "milliseconds"),
    }
}

pub(super) fn traces_timeout(value: &str, given: &Environment) -> Understood {
    let other = given.get("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|value| value.parse().ok());
    positive(value, other.unwrap_or(TIMEOUT_MS), "milliseconds")
}

pub(super) fn compression(value: &str, _: &Environment) -> Understood {
    unless(value.eq_ignore_ascii_case("none"), || {
        "is not built in: spans are sent uncompressed; set none".to_owned()
    })
}
