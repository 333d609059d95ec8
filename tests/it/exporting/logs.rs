//! Log lines by OTLP: those of the standard error, with the trace of a line that names one.

use std::collections::BTreeSet;

use claimgate_simulator::{APP_SECRET, SECRET_KEY};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::{BOTH, LONG};
use crate::collector::{Collector, word};
use crate::lab::{Event, Lab, claim};
use crate::publishing::set_max_bytes;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Lines of the exporters' threads and libraries are not exported.
const KEPT_HERE: [&str; 2] = ["reach the collector", "exported by OTLP"];
const IMPATIENT: &str = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"\n\
    in_process_for = \"500ms\"\ndefer_interval = \"1s\"\n\
    [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0\n\
    [breaker]\nmin_calls = 1000000\n\
    [telemetry]\nlog = \"info,claimgate=debug,hyper=debug,reqwest=debug,h2=debug\"\n\
    log_format = \"json\"\n";

fn body(line: &LogRecord) -> String {
    match line.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(body)) => body.clone(),
        other => panic!("no body: {other:?}"),
    }
}

/// The messages of the standard error, by level.
fn printed(lab: &Lab) -> BTreeSet<(String, String)> {
    let log = std::fs::read_to_string(lab.log("w1")).expect("a log");
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &serde_json::Value| {
            let target = line["target"].as_str().unwrap_or_default();
            target.starts_with("claimgate") || target == "librdkafka"
        })
        .map(|line| {
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (word("level"), word("message"))
        })
        .filter(|(_, message)| !KEPT_HERE.iter().any(|words| message.contains(words)))
        .collect()
}

/// A claim that can neither be assessed in time nor be deferred has a log line of its own.
async fn lines_arrive(protocol: &str, compression: &str) {
    let Some(lab) = Lab::new(&format!("lines-{}", protocol.len())).await else { return };
    let collector = Collector::start().await;
    let variables = [
        BOTH[1],
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100"),
    ];
    let mut worker = lab.worker_with("w1", IMPATIENT, &variables);
    lab.produce(&[Event::of(claim("first", "user-first"))]);
    lab.wait("the first decision", LONG, async || !lab.read("decisions").is_empty()).await;
    set_max_bytes(&lab, "retry", 3_000).await;
    let headers = vec![("traceparent".to_owned(), TRACEPARENT.into())];
    let event = Event::of(claim("clm-1", "user-1-transient-12"));
    lab.produce(&[Event { headers, key: Some(vec![b'k'; 6_000]), ..event }]);
    lab.wait("the decision", LONG, async || lab.read("decisions").len() == 2).await;
    assert_eq!(worker.stop().await, Some(0));

    let lines = collector.taken().lines.clone();
    let large = lines.iter().find(|line| body(line).starts_with("a claim is too large"));
    let all = || lines.iter().map(body).collect::<Vec<_>>();
    let large = large.unwrap_or_else(|| panic!("the line arrives among {:#?}", all()));
    assert_eq!((large.severity_number, large.severity_text.as_str()), (13, "WARN"));
    assert_eq!(hex::encode(&large.trace_id), TRACE_ID);
    assert_eq!(word(&large.attributes, "claim.id"), "clm-1");
    let sent: BTreeSet<_> =
        lines.iter().map(|line| (line.severity_text.clone(), body(line))).collect();
    let missing: Vec<_> = printed(&lab).difference(&sent).cloned().collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let about_exports =
        |line: &&LogRecord| KEPT_HERE[..1].iter().any(|words| body(line).contains(words));
    assert_eq!(lines.iter().filter(about_exports).count(), 0);
    for secret in [SECRET_KEY, APP_SECRET, "hunter2", "user-1-transient"] {
        assert!(!collector.has_heard(secret), "{secret} was sent");
    }
    assert_eq!(collector.compressed(), Some(compression == "gzip"));
    let targets = collector.taken().targets.clone();
    let is_of = |library: &str| targets.iter().any(|target| target.starts_with(library));
    assert!(is_of("claimgate::"), "{targets:?}");
    let log = std::fs::read_to_string(lab.log("w1")).expect("a log");
    assert!(log.contains("\"target\":\"hyper"), "the libraries speak, so this could fail");
    for library in ["hyper", "h2", "reqwest", "tonic", "tower", "opentelemetry"] {
        assert!(!is_of(library), "{targets:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_go_by_http_as_they_are_printed() {
    lines_arrive("http/protobuf", "none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_go_by_grpc_as_they_are_printed() {
    lines_arrive("grpc", "gzip").await;
}
