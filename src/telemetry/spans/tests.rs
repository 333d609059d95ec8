//! What a collector gets about claims, seen by a collector in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SimpleSpanProcessor, SpanData, SpanExporter, SpanLimits};

use super::*;
use crate::decision::Decision;
use crate::risk::{AttemptOutcome, FaultReason};

/// A collector in memory.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collector {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().append(&mut batch);
        Ok(())
    }
}

/// Keeps the claims that operators are most likely to ask about.
const KEEP: Keep = Keep { failed: true, attempts: 3, slower_than: Duration::from_secs(5) };

impl Collector {
    fn listen(sampler: Sampler, keep: Keep) -> (Self, Spans) {
        let collector = Self::default();
        let sink = sink(sampler, collector.clone());
        (collector, Spans::on(Arc::new(sink), "claimgate", keep))
    }

    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }

    fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "one {name:?} among {spans:#?}");
        named[0].clone()
    }
}

/// A sink that exports at once.
pub(in crate::telemetry) fn sink(sampler: Sampler, exporter: impl SpanExporter + 'static) -> Sink {
    let processor = Box::new(SimpleSpanProcessor::new(exporter));
    Sink { processor, sampler: Box::new(sampler), limits: SpanLimits::default() }
}

/// One claim that is decided at once.
pub(in crate::telemetry) fn export_one(spans: &Spans) {
    let (claim, trace) = spans.claim(None, 42, 0);
    ends(spans, &mut claim.expect("spans are on"), &trace, ClaimEnd::Decided(Decision::Approve), 1);
}

fn ends(spans: &Spans, claim: &mut ClaimRecord, trace: &TraceContext, end: ClaimEnd<'_>, at: i64) {
    let (claim_id, kind) = (Some("clm-17"), Some("qr_code"));
    let place = ("reward.claims", 3, 8_812);
    let (topic, partition, offset) = place;
    let facts = ClaimFacts { topic, partition, offset, claim_id, kind, trace, end };
    if spans.is_kept(claim, at) {
        spans.export(&facts, claim, at);
    }
}

fn parent_based() -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
}

fn incoming(flags: u8) -> TraceContext {
    let state = Some("vendor=1".to_owned());
    TraceContext {
        trace_id: 0x4bf9_2f35_77b3_4da6,
        span_id: 0xf067_aa0b,
        flags,
        state,
        baggage: None,
    }
}

fn attributes(span: &SpanData) -> Vec<String> {
    let shown = |KeyValue { key, value, .. }: &KeyValue| format!("{key}={value}");
    let mut attributes: Vec<_> = span.attributes.iter().map(shown).collect();
    attributes.sort();
    attributes
}

fn peer() -> Arc<Peer> {
    let url = "https://user:hunter2@csec.example/v2/index.php?Signature=s3cret&accountUid=o-1234";
    Arc::new(Peer::new("intelligent_qr_code", url))
}

const APPROVED: ClaimEnd<'static> = ClaimEnd::Decided(Decision::Approve);
const BUSY: AttemptEnd = AttemptEnd {
    latency: Duration::from_millis(20),
    http_status: Some(503),
    http_version: Some("2"),
    outcome: AttemptOutcome::Transient.as_str(),
    is_answer: false,
    reason: Some(FaultReason::Http5xx),
};
const GOOD: AttemptEnd = AttemptEnd {
    latency: Duration::from_millis(30),
    http_status: Some(200),
    http_version: Some("2"),
    outcome: AttemptOutcome::Assessed.as_str(),
    is_answer: true,
    reason: None,
};

/// A claim that is looked up, asked about three times, recorded and published.
fn three_attempts(spans: &Spans, incoming: Option<TraceContext>) -> (ClaimRecord, TraceContext) {
    let (claim, mut trace) = spans.claim(incoming, 7 << 64 | 9, 1_000_000);
    let mut claim = claim.expect("spans are on");
    let shared = |step, span_id, from, to, links| {
        Spans::shared(step, Ids { trace_id: 77, span_id }, (from, to), 3, None, links)
    };
    let links = |claim: &ClaimRecord| claim.is_kept().then_some(claim.ids()).into_iter().collect();
    claim.waits(Wait::LookUp, 1_000_000, None);
    claim.shares(shared(SharedStep::Recall, 1, 1_000_000, 1_003_000, links(&claim)));
    claim.waits(Wait::Lane, 1_003_000, None);
    claim.waits(Wait::Permit, 1_008_000, None);
    for number in 1..=3 {
        let from = 1_010_000 + i64::from(number) * 100_000;
        claim.called(peer(), "POST", number, from);
        claim.answered(if number == 3 { GOOD } else { BUSY });
        if number < 3 {
            claim.waits(Wait::BackOff, from + 20_000, Some(from + 60_000));
        }
    }
    claim.moves(1_350_000);
    spans.weigh(&mut claim, &mut trace, 1_350_000);
    claim.shares(shared(SharedStep::Record, 2, 1_350_000, 1_360_000, links(&claim)));
    spans.is_kept(&mut claim, 1_370_000);
    claim.shares(shared(SharedStep::Publish, 3, 1_360_000, 1_370_000, links(&claim)));
    (claim, trace)
}

#[test]
fn a_claim_of_three_attempts_is_one_trace_until_kafka_has_its_decision() {
    let (collector, spans) = Collector::listen(parent_based(), Keep::default());
    let (mut claim, trace) = three_attempts(&spans, Some(incoming(1)));
    ends(&spans, &mut claim, &trace, APPROVED, 1_370_000);

    let span = collector.span("process reward.claims");
    assert_eq!(span.span_kind, SpanKind::Consumer);
    assert_eq!(span.span_context.trace_id().to_bytes(), incoming(1).trace_id.to_be_bytes());
    assert_eq!(span.parent_span_id.to_bytes(), incoming(1).span_id.to_be_bytes());
    assert!(span.parent_span_is_remote);
    assert_eq!(trace.span_id.to_be_bytes(), span.span_context.span_id().to_bytes());
    assert_eq!((trace.flags, trace.state.as_deref()), (1, Some("vendor=1")));
    let took = span.end_time.duration_since(span.start_time).expect("forwards");
    assert_eq!(took, Duration::from_millis(370), "Kafka's acknowledgement ends it");
    let waits: Vec<_> =
        span.events.iter().map(|wait| wait.attributes[0].value.to_string()).collect();
    assert_eq!(waits, ["look_up", "lane", "permit", "back_off", "permit", "back_off", "permit"]);
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

    let all = collector.spans();
    let attempts: Vec<_> = all.iter().filter(|span| span.name == "POST").collect();
    assert_eq!(attempts.len(), 3);
    for attempt in &attempts {
        assert_eq!(attempt.parent_span_id, span.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), span.span_context.trace_id());
        assert_eq!(attempt.span_kind, SpanKind::Client);
    }
    let expected = [
        "claimgate.api=intelligent_qr_code",
        "claimgate.outcome=transient",
        "claimgate.reason=http_5xx",
        "error.type=503",
        "http.request.method=POST",
        "http.response.status_code=503",
        "network.protocol.version=2",
        "server.address=csec.example",
        "server.port=443",
        "url.full=https://csec.example/v2/index.php?REDACTED",
    ];
    assert_eq!(attributes(attempts[0]), expected);
    assert_eq!(attempts[0].status, Status::error("http_5xx"));
    assert!(attributes(attempts[2]).contains(&"http.request.resend_count=2".to_owned()));
    assert_eq!(attempts[2].status, Status::Unset);

    links_go_both_ways(&collector, &span);
}

fn links_go_both_ways(collector: &Collector, span: &SpanData) {
    for (name, id) in [("recall", 1_u64), ("record", 2), ("publish", 3)] {
        let shared = collector.span(name);
        let links: Vec<_> = shared.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [span.span_context.span_id()], "{name} links to the claim");
        assert_eq!(shared.parent_span_id, SpanId::INVALID);
        let back = |link: &&opentelemetry::trace::Link| {
            link.span_context.span_id().to_bytes() == id.to_be_bytes()
        };
        assert_eq!(span.links.iter().filter(back).count(), 1, "the claim links to {name}");
    }
    for span in collector.spans() {
        assert_eq!(span.instrumentation_scope.version(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(span.instrumentation_scope.schema_url(), Some(SCHEMA_URL));
    }
}

/// In an outage each claim hears twice a second that it waits, and that a try has failed: a worker
/// that exports spans grew by gigabytes an hour.
#[test]
fn an_outage_of_hours_is_noted_in_a_few_words() {
    let (collector, spans) = Collector::listen(Sampler::AlwaysOn, KEEP);
    let (claim, trace) = spans.claim(None, 5, 0);
    let mut claim = claim.expect("spans are on");
    for step in [SharedStep::Recall, SharedStep::Record, SharedStep::Publish] {
        for number in 1..=1_000 {
            let (at, error) = (number * 500_000, (number < 1_000).then_some("away"));
            claim.waits(Wait::Room, at, None);
            let ids = Ids { trace_id: 77, span_id: number.unsigned_abs() };
            claim.shares(Spans::shared(step, ids, (at, at + 1), 1, error, vec![claim.ids()]));
        }
        claim.moves(500_000_000);
    }
    ends(&spans, &mut claim, &trace, APPROVED, 500_000_001);
    let all = collector.spans();
    for name in ["recall", "record", "publish"] {
        let ids =
            all.iter().filter(|span| span.name == name).map(|span| span.span_context.span_id());
        let ids: Vec<_> = ids.map(|id| u64::from_be_bytes(id.to_bytes())).collect();
        assert_eq!(ids, [1, 1_000], "the first that failed, and the one that did not");
    }
    assert_eq!(collector.span("process reward.claims").events.len(), 3, "one wait each");
}

#[test]
fn what_is_sampled_out_makes_no_span_and_goes_on() {
    let (collector, spans) = Collector::listen(parent_based(), Keep::default());
    let (mut claim, trace) = three_attempts(&spans, Some(incoming(0)));
    ends(&spans, &mut claim, &trace, APPROVED, 60_000_000);
    assert_eq!((trace.trace_id, trace.flags), (incoming(0).trace_id, 0));
    assert_eq!(trace.span_id, claim.ids().span_id);
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn a_span_has_no_more_than_the_limits_allow() {
    let collector = Collector::default();
    let mut sink = sink(Sampler::AlwaysOn, collector.clone());
    sink.limits.max_attributes_per_span = 2;
    sink.limits.max_links_per_span = 0;
    let spans = Spans::on(Arc::new(sink), "claimgate", Keep::default());
    let (mut claim, trace) = three_attempts(&spans, None);
    ends(&spans, &mut claim, &trace, APPROVED, 60_000_000);
    let span = collector.span("process reward.claims");
    assert_eq!((span.attributes.len(), span.links.links.len()), (2, 0));
    assert!(span.dropped_attributes_count > 0 && span.links.dropped_count > 0, "{span:#?}");
}

#[test]
fn failed_retried_or_slow_claims_are_kept_unsampled() {
    let off = || Sampler::AlwaysOff;
    let kept = |keep: Keep, change: fn(&mut ClaimRecord), at: i64| {
        let (collector, spans) = Collector::listen(off(), keep);
        let (claim, mut trace) = spans.claim(None, 7 << 64 | 9, 0);
        let mut claim = claim.expect("spans are on");
        change(&mut claim);
        spans.weigh(&mut claim, &mut trace, 1);
        ends(&spans, &mut claim, &trace, APPROVED, at);
        (collector.spans().len(), trace.flags)
    };
    let nothing: fn(&mut ClaimRecord) = |_| {};
    assert_eq!(kept(KEEP, nothing, 5_000_000), (0, 0));
    assert_eq!(kept(KEEP, nothing, 5_000_001), (1, 0), "slow, which the decision cannot know");
    assert_eq!(kept(KEEP, |claim| claim.failed("http_5xx"), 1), (1, 1));
    let denied: fn(&mut ClaimRecord) = |claim| {
        claim.called(peer(), "GET", 1, 0);
        let outcome = AttemptOutcome::AccessDenied.as_str();
        claim.answered(AttemptEnd { outcome, ..BUSY });
    };
    assert_eq!(kept(KEEP, denied, 1), (2, 1));
    assert_eq!(kept(KEEP, |claim| claim.called(peer(), "GET", 2, 0), 1), (0, 0));
    assert_eq!(kept(KEEP, |claim| claim.called(peer(), "GET", 3, 0), 1), (2, 1));
    assert_eq!(kept(Keep::default(), denied, 9_000_000), (0, 0));
}

#[test]
fn a_dead_letter_and_a_deferred_claim_say_so() {
    let (collector, spans) = Collector::listen(Sampler::AlwaysOn, KEEP);
    let (claim, trace) = spans.claim(None, 5, 0);
    let mut claim = claim.expect("spans are on");
    claim.called(peer(), "GET", 1, 0);
    ends(&spans, &mut claim, &trace, ClaimEnd::DeadLettered("missing_field"), 9);
    assert_eq!(collector.span("process reward.claims").status, Status::error("missing_field"));
    let given_up = collector.span("GET");
    assert!(!attributes(&given_up).iter().any(|one| one.starts_with("claimgate.outcome")));

    let (collector, spans) = Collector::listen(Sampler::AlwaysOn, KEEP);
    let (claim, trace) = spans.claim(None, 5, 0);
    ends(&spans, &mut claim.expect("on"), &trace, ClaimEnd::Deferred("http_5xx"), 9);
    let deferred = collector.span("process reward.claims");
    assert!(attributes(&deferred).contains(&"claimgate.deferred=http_5xx".to_owned()));
}

#[test]
fn no_secret_and_no_identity_is_in_any_span() {
    let (collector, spans) = Collector::listen(Sampler::AlwaysOn, KEEP);
    let (mut claim, trace) = three_attempts(&spans, Some(incoming(1)));
    ends(&spans, &mut claim, &trace, APPROVED, 1_370_000);
    let token = "https://api.weixin.qq.com/cgi-bin/token?appid=wx-1234&secret=s3cret#o-1234";
    let peer = Peer::new("wechat", token);
    spans.token_fetch(Ids { trace_id: 1, span_id: 1 }, &peer, "GET", 0, GOOD);
    let shown = format!("{:?}", collector.spans());
    for secret in ["hunter2", "s3cret", "o-1234", "wx-1234", "accountUid", "Signature"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(shown.contains("https://api.weixin.qq.com/cgi-bin/token?REDACTED"), "{shown}");
}

#[test]
fn without_an_exporter_only_the_incoming_context_is_kept() {
    let spans = Spans::off();
    let (claim, trace) = spans.claim(Some(incoming(1)), 0, 0);
    assert!(claim.is_none());
    assert_eq!(trace, incoming(1));
    assert_eq!(spans.claim(None, 42, 0).1, TraceContext::fresh(42));
}
