//! The spans of one claim: `process`, and a child for each attempt at a risk API.

use tracing::field::Empty;
use tracing::{Span, info_span};

use super::{TARGET, fail};
use crate::claim::EventError;
use crate::decision::Decision;
use crate::risk::{AttemptOutcome, FaultReason};

/// What a claim's span says about it from the start.
#[derive(Debug, Clone, Copy)]
pub struct ClaimFacts<'a> {
    /// The topic that the event was read from.
    pub topic: &'a str,
    /// The partition within it.
    pub partition: i32,
    /// The offset within that.
    pub offset: i64,
    /// The claim's id; `None` for a malformed event.
    pub claim_id: Option<&'a str>,
    /// The claim's kind; `None` for a malformed event.
    pub kind: Option<&'a str>,
}

/// A claim's span, without its parent yet.
pub(super) fn start(facts: &ClaimFacts<'_>, group: &str) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format!("process {}", facts.topic),
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = facts.topic,
        messaging.destination.partition.id = %facts.partition,
        messaging.kafka.offset = facts.offset,
        messaging.consumer.group.name = group,
        claimgate.claim_id = facts.claim_id,
        claimgate.kind = facts.kind,
        claimgate.decision = Empty,
        error.type = Empty,
        otel.status_description = Empty,
    )
}

/// A claim's span, or none. It ends when its last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct ClaimSpan(Option<Span>);

impl ClaimSpan {
    pub(super) fn of(span: Option<Span>) -> Self {
        Self(span)
    }

    /// Notes what was decided.
    pub fn decided(&self, decision: Decision) {
        if let Some(span) = &self.0 {
            span.record("claimgate.decision", decision.as_str());
        }
    }

    /// Notes that the event becomes a dead letter.
    pub fn dead_lettered(&self, error: EventError) {
        if let Some(span) = &self.0 {
            fail(span, error.as_str(), error.as_str());
        }
    }

    /// Starts the span of one attempt at a risk API; `number` is 1 for the first.
    pub fn attempt(&self, peer: &Peer, method: &'static str, number: u32) -> AttemptSpan {
        let Some(claim) = &self.0 else {
            return AttemptSpan::default();
        };
        AttemptSpan(Some(info_span!(
            target: TARGET,
            parent: claim,
            "attempt",
            otel.name = method,
            otel.kind = "client",
            http.request.method = method,
            http.request.resend_count = (number > 1).then(|| i64::from(number - 1)),
            http.response.status_code = Empty,
            server.address = peer.address.as_str(),
            server.port = peer.port,
            claimgate.api = peer.api,
            claimgate.outcome = Empty,
            claimgate.reason = Empty,
            error.type = Empty,
            otel.status_description = Empty,
        )))
    }
}

/// A risk API as its callers' spans name it. Made once per API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    api: &'static str,
    address: String,
    port: Option<i64>,
}

impl Peer {
    /// The API called `api`, at the host of `base_url`.
    pub fn new(api: &'static str, base_url: &str) -> Self {
        let url = reqwest::Url::parse(base_url).ok();
        let address = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default().to_owned();
        Self { api, address, port: url.and_then(|url| url.port_or_known_default()).map(i64::from) }
    }
}

/// The span of one attempt, or none. Dropped without [`Self::ended`] it says that the attempt was
/// given up.
#[derive(Debug, Default)]
pub struct AttemptSpan(Option<Span>);

impl AttemptSpan {
    /// Ends it with what `risk_calls` has: the HTTP status where an answer came, the outcome and
    /// its reason.
    pub fn ended(
        self,
        http_status: Option<u16>,
        outcome: AttemptOutcome,
        reason: Option<FaultReason>,
    ) {
        let Some(span) = self.0 else { return };
        span.record("claimgate.outcome", outcome.as_str());
        if let Some(reason) = reason {
            span.record("claimgate.reason", reason.as_str());
        }
        let reason = reason.map_or("", FaultReason::as_str);
        if let Some(status) = http_status {
            span.record("http.response.status_code", i64::from(status));
        }
        match http_status {
            Some(status @ 400..) => fail(&span, &status.to_string(), reason),
            // What the API found or refused for good is an answer like any other.
            _ if matches!(outcome, AttemptOutcome::Assessed | AttemptOutcome::Unassessable) => {}
            _ => fail(&span, reason, reason),
        }
    }
}
