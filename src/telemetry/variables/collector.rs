//! Which values of the `OTEL_EXPORTER_OTLP_*` variables are understood: how a collector is reached.
//! Pure.

use axum::http::{HeaderName, Uri};

use super::understood::{Instead, Understood, asked, entries, is_off, is_true, positive, unless};
use super::{CheckOf, Environment};
use crate::telemetry::otlp::{Protocol, Signal, TIMEOUT_MS};

/// The supported compressions of OTLP.
const COMPRESSIONS: [&str; 2] = ["none", "gzip"];

/// A variable of all signals has an effect only if one of them is exported. If spans are switched
/// off, it is the standard that leaves it without one.
fn reaches_a_collector(given: &Environment) -> Understood {
    let is_any_wanted = Signal::ALL.into_iter().any(|signal| signal.is_wanted(asked(given)));
    unless(is_any_wanted || is_off(Signal::Traces, given), || {
        "has no effect: nothing is exported; name a collector in OTEL_EXPORTER_OTLP_ENDPOINT, or \
         remove it"
            .to_owned()
    })
}

/// The signals that a common variable is for: those that are exported and whose own variable `end`
/// does not decide.
fn those_without_own(end: &str, given: &Environment, decides: fn(&str) -> bool) -> Vec<Signal> {
    let has_own = |signal: &Signal| given.get(&signal.own(end)).is_some_and(|own| decides(own));
    let is_for = |signal: &Signal| signal.is_wanted(asked(given)) && !has_own(signal);
    Signal::ALL.into_iter().filter(is_for).collect()
}

/// A common variable is understood if each signal that it is for understands it.
fn for_each_signal(end: &str, value: &str, given: &Environment, check: CheckOf) -> Understood {
    reaches_a_collector(given)?;
    let signals = those_without_own(end, given, |_| true);
    signals.into_iter().try_for_each(|signal| check(value, given, signal))
}

pub(super) fn endpoint(value: &str, given: &Environment) -> Understood {
    those_without_own("ENDPOINT", given, |_| true).into_iter().try_for_each(|signal| {
        match Protocol::of(signal, asked(given)) {
            Protocol::HttpProtobuf => own_endpoint(
                &format!("{}{}", value.trim_end_matches('/'), signal.path()),
                given,
                signal,
            ),
            Protocol::Grpc => own_endpoint(value, given, signal),
        }
    })
}

pub(super) fn own_endpoint(url: &str, given: &Environment, signal: Signal) -> Understood {
    let is_grpc = Protocol::of(signal, asked(given)) == Protocol::Grpc;
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
        false if is_insecure(given, signal) => "http://",
        false => "https://",
    };
    let Ok(uri) = format!("{scheme}{url}").parse::<Uri>() else {
        return wrong("is not a URL", remedy);
    };
    if is_grpc && uri.scheme_str() == Some("https") {
        let other = "export by http/protobuf, or to a collector on this host that sends on";
        return wrong("asks for TLS, which gRPC is built without", other);
    }
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    unless(is_http && uri.host().is_some_and(|host| !host.is_empty()), || {
        format!("is not an HTTP URL, so {} do not arrive; {remedy}", signal.things())
    })
}

fn is_insecure(given: &Environment, signal: Signal) -> bool {
    let own = given.get(&signal.own("INSECURE"));
    is_true(own.or_else(|| given.get("OTEL_EXPORTER_OTLP_INSECURE")))
}

pub(super) fn insecure(value: &str, given: &Environment) -> Understood {
    reaches_a_collector(given)?;
    let signals = those_without_own("INSECURE", given, |_| true);
    let by_grpc = |signal: &&Signal| Protocol::of(**signal, asked(given)) == Protocol::Grpc;
    match signals.iter().find(by_grpc).or_else(|| signals.first()) {
        Some(signal) => own_insecure(value, given, *signal),
        None => Ok(()),
    }
}

pub(super) fn own_insecure(_: &str, given: &Environment, signal: Signal) -> Understood {
    unless(Protocol::of(signal, asked(given)) == Protocol::Grpc, || {
        "has no effect: http:// or https:// in the endpoint decides; change it there".to_owned()
    })
}

/// `name=value,name=value`. The library also leaves out a header without a value, as
/// `name=$UNSET` makes it, and one whose name no header can have.
fn header_pairs(value: &str) -> Understood {
    let is_header = |key: &str, value: &str| key.parse::<HeaderName>().is_ok() && !value.is_empty();
    entries(value, "without a header's name, `=` and a value", is_header)
}

pub(super) fn headers(value: &str, given: &Environment) -> Understood {
    reaches_a_collector(given)?;
    header_pairs(value)
}

pub(super) fn own_headers(value: &str, _: &Environment, _: Signal) -> Understood {
    header_pairs(value)
}

pub(super) fn protocol(value: &str, given: &Environment) -> Understood {
    for_each_signal("PROTOCOL", value, given, own_protocol)
}

pub(super) fn own_protocol(value: &str, given: &Environment, signal: Signal) -> Understood {
    unless(Protocol::from_word(value).is_some(), || {
        let [one, other] = Protocol::ALL.map(Protocol::as_str);
        let (things, used) = (signal.things(), Protocol::of(signal, asked(given)).as_str());
        format!("is not built in: {things} are exported by {used}; set {one} or {other}")
    })
}

pub(super) fn timeout(value: &str, given: &Environment) -> Understood {
    reaches_a_collector(given)?;
    those_without_own("TIMEOUT", given, |own| own.parse::<u64>().is_ok())
        .into_iter()
        .try_for_each(|_| positive(value, TIMEOUT_MS, "milliseconds"))
}

pub(super) fn own_timeout(value: &str, given: &Environment, signal: Signal) -> Understood {
    positive(value, signal.timeout(asked(given)).as_millis(), "milliseconds")
}

pub(super) fn compression(value: &str, given: &Environment) -> Understood {
    for_each_signal("COMPRESSION", value, given, own_compression)
}

/// With an unknown one the collector could read nothing, or the data would go uncompressed, which
/// costs money.
pub(super) fn own_compression(value: &str, _: &Environment, _: Signal) -> Understood {
    if COMPRESSIONS.iter().any(|known| known.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    let known = COMPRESSIONS.join(" or ");
    Err(Instead::Wrong(format!("is not built in, and the worker does not start; set {known}")))
}
