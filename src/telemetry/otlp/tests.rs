//! What the environment asks of the exporters, and what they do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use super::*;
use crate::telemetry::spans::{Keep, Spans, tests::export_one};

const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn environment(given: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    |key| given.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
}

#[test]
fn spans_need_a_named_collector_and_other_signals_an_exporter() {
    let of = |signal: Signal, given: &'static [(&str, &str)]| signal.is_wanted(environment(given));
    let traces = |given: &'static [(&str, &str)]| of(Signal::Traces, given);
    assert!(traces(&[COLLECTOR]));
    assert!(traces(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector/v1/traces")]));
    assert!(traces(&[("OTEL_TRACES_EXPORTER", "otlp")]), "to the standard's own endpoint");
    assert!(!traces(&[]));
    assert!(!traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
    assert!(!traces(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector/v1/metrics")]));
    assert!(!traces(&[COLLECTOR, ("OTEL_SDK_DISABLED", "true")]));
    assert!(!traces(&[COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")]));

    assert!(!of(Signal::Metrics, &[COLLECTOR]), "metrics are at /metrics");
    assert!(!of(Signal::Logs, &[COLLECTOR]));
    assert!(of(Signal::Metrics, &[("OTEL_METRICS_EXPORTER", "prometheus, OTLP")]));
    assert!(!of(Signal::Metrics, &[("OTEL_METRICS_EXPORTER", "prometheus")]));
    assert!(of(Signal::Logs, &[("OTEL_LOGS_EXPORTER", "otlp")]));
}

#[test]
fn the_start_says_what_is_exported_and_how_the_rest_would_be() {
    let told = |given: &'static [(&str, &str)]| told(environment(given)).unwrap_or_default();
    assert_eq!(told(&[]), "");
    let rest = "exported by OTLP: spans; not exported without OTEL_METRICS_EXPORTER=otlp, \
                OTEL_LOGS_EXPORTER=otlp: metrics, log lines";
    assert_eq!(told(&[COLLECTOR]), rest);
    let chosen = [COLLECTOR, ("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_LOGS_EXPORTER", "none")];
    let chosen = told(Box::leak(Box::new(chosen)));
    assert_eq!(chosen, "exported by OTLP: spans, metrics; not exported: log lines");
}

#[test]
fn a_signals_protocol_wins_and_an_unknown_one_is_ignored() {
    let of =
        |signal: Signal, given: &'static [(&str, &str)]| Protocol::of(signal, environment(given));
    assert_eq!(of(Signal::Traces, &[]), Protocol::HttpProtobuf);
    assert_eq!(of(Signal::Logs, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC")]), Protocol::Grpc);
    for signal in Signal::ALL {
        let own: &'static str = Box::leak(signal.own("PROTOCOL").into_boxed_str());
        let all = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let both = Box::leak(Box::new([(own, "http/protobuf"), all]));
        assert_eq!(of(signal, both), Protocol::HttpProtobuf);
        let unknown = Box::leak(Box::new([(own, "http/json"), all]));
        assert_eq!(of(signal, unknown), Protocol::Grpc);
    }
}

#[test]
fn the_shortest_bound_of_an_export_counts() {
    let of =
        |given: &'static [(&str, &str)]| Signal::Metrics.timeout(environment(given)).as_millis();
    let (all, own) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT");
    assert_eq!(of(&[]), 10_000);
    assert_eq!(of(Box::leak(Box::new([(all, "700"), (own, "900")]))), 900);
    assert_eq!(of(Box::leak(Box::new([(all, "700"), (own, "0")]))), 700);
    assert_eq!(of(&[("OTEL_METRIC_EXPORT_TIMEOUT", "30000")]), 10_000);
    assert_eq!(of(&[("OTEL_METRIC_EXPORT_TIMEOUT", "300")]), 300);
    assert_eq!(of(&[("OTEL_BSP_EXPORT_TIMEOUT", "300")]), 10_000);
}

/// The first bytes of HTTP/2, which only gRPC uses here.
#[test]
fn spans_go_by_grpc_to_the_collector_that_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let resource = resource::resource("w1");
    let sink = traces::sink(&resource, move |key| match key {
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        _ => None,
    });
    let sink = Arc::new(sink.expect("it is built outside a runtime"));
    export_one(&Spans::on(Arc::clone(&sink), "claimgate", Keep::default()));
    let flush = std::thread::spawn(move || drop(sink.processor.force_flush()));
    let (mut stream, _) = listener.accept().expect("the exporter comes");
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).expect("it speaks");
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop((stream, listener));
    flush.join().expect("it ends, for the collector has gone");
}

/// If the redirect were followed, the headers would go along, and the page there would count as
/// success.
#[test]
fn a_redirect_of_an_export_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = listener.local_addr().expect("an address");
    let client = client(Duration::from_secs(10)).expect("a client");
    let export = std::thread::spawn(move || {
        client.post(format!("http://{place}/v1/traces")).header("api-key", "hunter2").send()
    });
    let (mut stream, _) = listener.accept().expect("the exporter comes");
    // An answer that comes before the request would be none to it.
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it asks");
        request.extend(byte);
    }
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/login\r\n\
                 content-length: 0\r\n\r\n";
    stream.write_all(moved.as_bytes()).expect("it listens");
    let answer = export.join().expect("it ends").expect("the redirect is the answer");
    assert_eq!(answer.status(), 302);
}

/// The library reads the environment itself, so these values are given as arguments only.
#[test]
fn a_queue_that_is_none_has_the_size_of_the_page() {
    for value in ["abc", "0", "-1", ""] {
        let config = format!("{:?}", traces::batches(|_| Some(value.to_owned())));
        for number in ["16384", "512", "5s"] {
            assert!(config.contains(number), "{value:?}: {config}");
        }
    }
}
