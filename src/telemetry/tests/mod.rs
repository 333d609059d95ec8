//! What a collector and a scraper are told, seen through a collector in memory and a recorder of
//! the test's own.

mod metered;
mod quiet;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::metrics::{ALL, Kind};
use super::otlp::{FollowLinks, Watched};
use super::*;
use crate::claim::EventError;
use crate::decision::Decision;
use crate::kafka::{Input, Partition};
use crate::risk::{AttemptOutcome, FaultReason, FetchOutcome};
use crate::trace::TraceContext;

const FACTS: ClaimFacts<'static> = ClaimFacts {
    topic: "reward.claims",
    partition: 3,
    offset: 8812,
    claim_id: Some("clm-17"),
    kind: Some("qr_code"),
};

/// A collector in memory; it can be told to refuse.
#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<SpanData>>>,
    refuses: bool,
}

impl SpanExporter for Collector {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        if self.refuses {
            return Err(OTelSdkError::InternalFailure("no".to_owned()));
        }
        self.spans.lock().unwrap().append(&mut batch);
        Ok(())
    }
}

impl Collector {
    /// Collects what this thread's spans say, for as long as the guard lives.
    fn listen(sampler: Sampler) -> (Self, Spans, DefaultGuard) {
        let collector = Self::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(FollowLinks(Box::new(sampler)))
            .with_simple_exporter(collector.clone())
            .build();
        let subscriber = tracing_subscriber::registry().with(spans::layer(provider.tracer("test")));
        (collector, Spans::on("claimgate"), tracing::subscriber::set_default(subscriber))
    }

    fn span(&self, name: &str) -> SpanData {
        let spans = self.spans.lock().unwrap();
        let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "one {name:?} among {spans:#?}");
        named[0].clone()
    }

    fn len(&self) -> usize {
        self.spans.lock().unwrap().len()
    }
}

fn parent_based() -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
}

fn incoming(flags: u8) -> TraceContext {
    let state = Some("vendor=1".to_owned());
    TraceContext { trace_id: 0x4bf9_2f35_77b3_4da6, span_id: 0xf067_aa0b, flags, state }
}

fn attributes(span: &SpanData) -> Vec<String> {
    let mut attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|KeyValue { key, value, .. }| format!("{key}={value}"))
        .collect();
    attributes.sort();
    attributes
}

#[test]
fn a_claims_span_continues_the_incoming_trace_and_goes_on_into_the_decision() {
    let (collector, spans, _guard) = Collector::listen(parent_based());
    let (claim, context) = spans.claim(&FACTS, Some(incoming(1)), 0);
    claim.decided(Decision::Approve);
    drop(claim);

    let span = collector.span("process reward.claims");
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_eq!(span.span_context.trace_id().to_bytes(), incoming(1).trace_id.to_be_bytes());
    assert_eq!(span.parent_span_id.to_bytes(), incoming(1).span_id.to_be_bytes());
    assert!(span.parent_span_is_remote);
    assert_eq!(context.trace_id, incoming(1).trace_id);
    assert_eq!(context.span_id.to_be_bytes(), span.span_context.span_id().to_bytes());
    assert_eq!((context.flags, context.state.as_deref()), (1, Some("vendor=1")));
    let expected = [
        "claimgate.claim_id=clm-17",
        "claimgate.decision=approve",
        "claimgate.kind=qr_code",
        "messaging.consumer.group.name=claimgate",
        "messaging.destination.name=reward.claims",
        "messaging.destination.partition.id=3",
        "messaging.kafka.offset=8812",
        "messaging.operation.name=process",
        "messaging.operation.type=process",
        "messaging.system=kafka",
    ];
    assert_eq!(attributes(&span), expected);
}

#[test]
fn attempts_are_children_of_their_claim() {
    let (collector, spans, _guard) = Collector::listen(parent_based());
    let (claim, _context) = spans.claim(&FACTS, None, 0);
    let peer =
        Peer::new("intelligent_qr_code", "https://user:secret@csec.example/v2?Signature=secret");
    claim.attempt(&peer, "POST", 1).ended(
        Some(503),
        AttemptOutcome::Transient,
        Some(FaultReason::Http5xx),
    );
    claim.attempt(&peer, "GET", 2).ended(Some(200), AttemptOutcome::Assessed, None);
    drop(claim);

    let (claim, failed, good) =
        (collector.span("process reward.claims"), collector.span("POST"), collector.span("GET"));
    for attempt in [&failed, &good] {
        assert_eq!(attempt.parent_span_id, claim.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), claim.span_context.trace_id());
        assert_eq!(attempt.span_kind, SpanKind::Client);
    }
    assert_eq!(failed.status, Status::error("http_5xx"));
    let expected = [
        "claimgate.api=intelligent_qr_code",
        "claimgate.outcome=transient",
        "claimgate.reason=http_5xx",
        "error.type=503",
        "http.request.method=POST",
        "http.response.status_code=503",
        "server.address=csec.example",
        "server.port=443",
    ];
    assert_eq!(attributes(&failed), expected);
    assert_eq!(good.status, Status::Unset);
    assert!(attributes(&good).contains(&"http.request.resend_count=1".to_owned()));
}

#[test]
fn attempts_without_an_answer_and_dead_letters_are_errors() {
    let (collector, spans, _guard) = Collector::listen(parent_based());
    let (claim, _context) =
        spans.claim(&ClaimFacts { claim_id: None, kind: None, ..FACTS }, None, 0);
    claim.attempt(&Peer::new("wechat_account", "http://127.0.0.1:8080"), "GET", 1).ended(
        None,
        AttemptOutcome::Unknown,
        Some(FaultReason::Timeout),
    );
    claim.dead_lettered(EventError::MissingField);
    drop(claim);

    let attempt = collector.span("GET");
    assert_eq!(attempt.status, Status::error("timeout"));
    assert!(attributes(&attempt).contains(&"error.type=timeout".to_owned()));
    assert_eq!(collector.span("process reward.claims").status, Status::error("missing_field"));
}

#[test]
fn report_d06_a_flush_links_to_its_claims_and_holds_its_steps() {
    // The sampler keeps nothing by itself: the flush is kept for the sake of the claim that is.
    let (collector, spans, _guard) =
        Collector::listen(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let (sampled, context) = spans.claim(&FACTS, Some(incoming(1)), 0);
    drop(sampled);
    let flush = spans.flush([&context, &incoming(0)]);
    drop(flush.record(3));
    flush.publish(2).failed("aborted");
    drop(flush);

    let (claim, flush) = (collector.span("process reward.claims"), collector.span("flush"));
    let links: Vec<_> = flush.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].trace_id(), claim.span_context.trace_id());
    assert_eq!(links[0].span_id(), claim.span_context.span_id());
    assert_ne!(flush.span_context.trace_id(), claim.span_context.trace_id());

    let (record, publish) = (collector.span("record"), collector.span("publish"));
    assert_eq!(record.parent_span_id, flush.span_context.span_id());
    assert_eq!(publish.parent_span_id, flush.span_context.span_id());
    assert_eq!((&record.status, &publish.status), (&Status::Unset, &Status::error("aborted")));
    let expected =
        ["db.operation.batch.size=3", "db.operation.name=INSERT", "db.system.name=postgresql"];
    assert_eq!(attributes(&record), expected);
    assert!(attributes(&publish).contains(&"messaging.batch.message_count=2".to_owned()));
}

#[test]
fn a_trace_that_is_not_sampled_costs_no_span_and_still_goes_on() {
    let (collector, spans, _guard) = Collector::listen(parent_based());
    let (claim, context) = spans.claim(&FACTS, Some(incoming(0)), 0);
    drop(claim.attempt(&Peer::new("wechat_account", "http://127.0.0.1"), "GET", 1));
    drop(claim);
    drop(spans.flush([&context]));
    assert_eq!((context.trace_id, context.flags), (incoming(0).trace_id, 0));
    assert_eq!(context.state.as_deref(), Some("vendor=1"));
    assert_eq!(collector.len(), 0);
}

#[test]
fn without_an_exporter_no_span_is_made_and_the_incoming_context_goes_on() {
    let (collector, _spans, _guard) = Collector::listen(parent_based());
    let spans = Spans::off();
    let (claim, context) = spans.claim(&FACTS, Some(incoming(1)), 0);
    claim.attempt(&Peer::new("wechat_account", "http://127.0.0.1"), "GET", 1).ended(
        None,
        AttemptOutcome::Unknown,
        Some(FaultReason::Timeout),
    );
    drop(claim);
    drop(spans.flush([&context]).record(1));
    assert_eq!(context, incoming(1));
    assert_eq!(spans.claim(&FACTS, None, 42).1, TraceContext::fresh(42));
    assert_eq!(collector.len(), 0);
}

#[test]
fn spans_that_nobody_hears_leave_the_context_as_it_is() {
    let (_claim, context) = Spans::on("claimgate").claim(&FACTS, Some(incoming(1)), 0);
    assert_eq!(context, incoming(1));
}

#[test]
fn only_spans_of_the_journey_are_exported() {
    let (collector, _spans, _guard) = Collector::listen(parent_based());
    tracing::info_span!(target: "hyper", "connection").in_scope(|| tracing::info!("an event"));
    assert_eq!(collector.len(), 0);
}

#[test]
fn spans_that_are_lost_are_counted() {
    let recorder = metrics::builder().expect("valid buckets").build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        let exporter =
            Watched::new(Collector { refuses: true, ..Collector::default() }, "http://collector");
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
        let subscriber = tracing_subscriber::registry().with(spans::layer(provider.tracer("test")));
        let _guard = tracing::subscriber::set_default(subscriber);
        drop(Spans::on("claimgate").claim(&FACTS, None, 0));
    });
    let rendered = recorder.handle().render();
    assert!(rendered.lines().any(|line| line == "claimgate_spans_lost_total 1"), "{rendered}");
}
