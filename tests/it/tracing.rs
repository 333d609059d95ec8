//! The trace of a claim, as a collector receives it over the wire.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;

use super::collector::Collector;
use super::lab::{Event, Lab, Seen, claim};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";
const LONG: Duration = Duration::from_secs(60);

fn word(span: &Span, key: &str) -> String {
    super::collector::word(&span.attributes, key)
}

fn traced(id: &str, account: &str) -> Event {
    let headers = vec![
        ("traceparent".to_owned(), TRACEPARENT.into()),
        ("baggage".to_owned(), "user=o-1,tenant=acme;ttl=3".into()),
    ];
    Event { headers, ..Event::of(claim(id, account)) }
}

/// A claim of three attempts: every span, parent and link.
async fn three_attempts(protocol: &str) {
    let name = format!("traced-{}", protocol.len());
    let Some(lab) = Lab::new(&name).await else { return };
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let quick = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"\n\
        [telemetry]\nbaggage = [\"tenant\"]";
    let mut worker = lab.worker_with("w1", quick, &variables);
    lab.produce(&[traced("clm-1", "user-transient-2")]);
    lab.wait("the decision", LONG, async || !lab.read("decisions").is_empty()).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_eq!(collector.compressed(), Some(true));

    let trace = collector.of_trace(TRACE_ID);
    let processes: Vec<_> = trace.iter().filter(|span| span.name.starts_with("process ")).collect();
    assert_eq!(processes.len(), 1, "{trace:#?}");
    let process = processes[0];
    assert_eq!(hex::encode(&process.parent_span_id), PRODUCER);
    assert_eq!(word(process, "claimgate.claim_id"), "clm-1");
    assert_eq!(word(process, "claimgate.decision"), "approve");
    let decision = lab.read("decisions").remove(0);
    let own = hex::encode(&process.span_id);
    let goes_on = format!("00-{TRACE_ID}-{own}-01");
    assert_eq!(decision.headers["traceparent"], goes_on.into_bytes());
    assert_eq!(decision.headers["baggage"], b"tenant=acme;ttl=3");

    let attempts: Vec<_> =
        trace.iter().filter(|span| span.parent_span_id == process.span_id).collect();
    assert_eq!(attempts.len(), 3, "{trace:#?}");
    let resent: Vec<_> =
        attempts.iter().map(|attempt| word(attempt, "http.request.resend_count")).collect();
    assert_eq!(resent, ["", "1", "2"]);
    for attempt in &attempts {
        let url = word(attempt, "url.full");
        assert!(url.starts_with("http://127.0.0.1:") && !url.contains("user"), "{url}");
    }
    assert!(process.events.iter().any(|event| event.name == "wait"), "{process:#?}");
    for name in ["recall", "record", "publish"] {
        let shared = collector.named(name);
        let both = shared.iter().filter(|step| {
            let there = step.links.iter().any(|link| link.span_id == process.span_id);
            there && process.links.iter().any(|link| link.span_id == step.span_id)
        });
        assert_ne!(both.count(), 0, "{name} and the claim link to each other: {shared:#?}");
    }
    let publish = collector.named("publish").pop().expect("a transaction");
    assert!(process.end_time_unix_nano >= publish.end_time_unix_nano, "Kafka has acknowledged it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_three_attempts_is_one_trace_by_http() {
    three_attempts("http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_three_attempts_is_one_trace_by_grpc() {
    three_attempts("grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_claim_stays_in_its_trace() {
    let Some(lab) = Lab::new("traced-deferral").await else { return };
    let collector = Collector::start().await;
    let quick = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"100ms\"\n\
        in_process_for = \"500ms\"\n\
        defer_interval = \"1s\"\n[retry.budget]\nratio = 1.0\nper_second = 1000.0\n\
        reserve = 1000.0\n\
        [breaker]\nmin_calls = 1000000";
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    let mut worker = lab.worker_with("w1", quick, &variables);
    // The other claims have no producer's span: their own traces travel in the retry records.
    let garbled = vec![("traceparent".to_owned(), b"none".to_vec())];
    lab.produce(&[
        traced("clm-1", "user-transient-15"),
        Event::of(claim("clm-2", "other-transient-15")),
        Event { headers: garbled, ..Event::of(claim("clm-3", "third-transient-15")) },
    ]);
    lab.wait("the decisions", LONG, async || lab.read("decisions").len() == 3).await;
    assert_eq!(worker.stop().await, Some(0));
    let untraced = |seen: &Seen| !seen.headers.contains_key("traceparent");
    assert!(lab.read("retry").iter().any(untraced), "the event's own headers stay as they are");
    for decision in lab.read("decisions") {
        assert!(!decision.headers.contains_key("baggage"), "no setting passes it on");
        let parent = String::from_utf8_lossy(&decision.headers["traceparent"]).into_owned();
        let trace = collector.of_trace(&parent[3..35]);
        let processes: Vec<_> =
            trace.iter().filter(|span| span.name.starts_with("process ")).collect();
        let deferred =
            processes.iter().filter(|span| !word(span, "claimgate.deferred").is_empty()).count();
        let decided =
            processes.iter().filter(|span| !word(span, "claimgate.decision").is_empty()).count();
        assert!(deferred >= 1, "{trace:#?}");
        assert_eq!(decided, 1, "{trace:#?}");
        assert!(parent.ends_with("-01"), "{parent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsampled_claims_are_kept_if_retried_often_or_failed() {
    let Some(lab) = Lab::new("traced-kept").await else { return };
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let quick = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"\n\
        [telemetry]\nkeep_slower_than = \"0s\"";
    let mut worker = lab.worker_with("w1", quick, &variables);
    lab.produce(&[
        Event::of(claim("well", "user-1")),
        Event::of(claim("often", "user-transient-2")),
        Event::of("{"),
    ]);
    let there = async || lab.read("decisions").len() == 2 && !lab.read("dead").is_empty();
    lab.wait("all ends", LONG, there).await;
    assert_eq!(worker.stop().await, Some(0));
    let name = format!("process {}", lab.topic("claims"));
    let kept = collector.named(&name);
    let mut ids: Vec<_> = kept.iter().map(|span| word(span, "claimgate.claim_id")).collect();
    ids.sort();
    assert_eq!(ids, ["", "often"], "{kept:#?}");
}
