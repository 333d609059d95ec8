//! The spans as the exporter takes them: the name, kind and attributes of each, and the limits.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::trace::{TraceId, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::record::AttemptRecord;
use super::{AttemptEnd, ClaimEnd, ClaimFacts, Exported, Ids, Peer, SharedRecord, SharedStep};
use crate::risk::FaultReason;
use crate::unix_time::{as_micros, elapsed};

impl Exported {
    pub(super) fn of_claim(&self, facts: &ClaimFacts<'_>) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", facts.topic.to_owned()),
            KeyValue::new("messaging.destination.partition.id", facts.partition.to_string()),
            KeyValue::new("messaging.kafka.offset", facts.offset),
            KeyValue::new("messaging.consumer.group.name", self.group.clone()),
        ];
        let mut add = |key: &'static str, value: Option<String>| {
            attributes.extend(value.map(|value| KeyValue::new(key, value)));
        };
        add("claimgate.claim_id", facts.claim_id.map(str::to_owned));
        add("claimgate.kind", facts.kind.map(str::to_owned));
        match facts.end {
            ClaimEnd::Decided(decision) => {
                add("claimgate.decision", Some(decision.as_str().to_owned()));
            }
            ClaimEnd::Deferred(reason) => add("claimgate.deferred", Some(reason.to_owned())),
            ClaimEnd::DeadLettered(_) | ClaimEnd::Dropped => {}
        }
        attributes
    }

    /// An attempt is a child of its claim.
    pub(super) fn attempt(
        &self,
        claim: Ids,
        state: &TraceState,
        attempt: &AttemptRecord,
        now: i64,
    ) {
        let ids = Ids { span_id: child(claim.span_id, attempt.number), ..claim };
        let AttemptRecord { peer, method, from, end, .. } = attempt;
        let mut span = self.call(ids, peer, method, *from, *end, now);
        if attempt.number > 1 {
            let resent = i64::from(attempt.number - 1);
            span.attributes.push(KeyValue::new("http.request.resend_count", resent));
        }
        span.parent_span_id = SpanId::from_bytes(claim.span_id.to_be_bytes());
        span.span_context = context(ids, state.clone());
        self.emit(span);
    }

    /// A call by HTTP. A call without an end was given up at `now`.
    pub(super) fn call(
        &self,
        ids: Ids,
        peer: &Peer,
        method: &'static str,
        from: i64,
        end: Option<AttemptEnd>,
        now: i64,
    ) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("server.address", peer.address.clone()),
            KeyValue::new("url.full", peer.url.clone()),
            KeyValue::new("claimgate.api", peer.api),
        ];
        attributes.extend(peer.port.map(|port| KeyValue::new("server.port", port)));
        let Some(end) = end else {
            return self.span(ids, method, SpanKind::Client, (from, now), attributes);
        };
        let reason = end.reason.map_or("", FaultReason::as_str);
        attributes.push(KeyValue::new("claimgate.outcome", end.outcome));
        attributes.extend(end.reason.map(|_| KeyValue::new("claimgate.reason", reason)));
        let status = end.http_status.map(i64::from);
        attributes.extend(status.map(|code| KeyValue::new("http.response.status_code", code)));
        let version = end.http_version;
        attributes.extend(version.map(|text| KeyValue::new("network.protocol.version", text)));
        let latency = as_micros(end.latency);
        let to = from.saturating_add(latency);
        let mut span = self.span(ids, method, SpanKind::Client, (from, to), attributes);
        let error = match end.http_status {
            Some(status @ 400..) => Some((status.to_string(), reason)),
            _ if end.is_answer => None,
            _ => Some((reason.to_owned(), reason)),
        };
        self.finish(&mut span, Vec::new(), Vec::new(), error);
        span
    }

    /// Exports a shared step once, with links to the claims that are kept; `claim` is one of them.
    pub(super) fn shared(&self, step: &SharedRecord, claim: Ids) {
        if step.is_exported.swap(true, Ordering::Relaxed) {
            return;
        }
        let size = i64::try_from(step.claims).unwrap_or(i64::MAX);
        let of_database = |operation: &'static str| {
            let mut attributes = vec![
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.operation.name", operation),
            ];
            if size > 1 {
                attributes.push(KeyValue::new("db.operation.batch.size", size));
            }
            attributes
        };
        let attributes = match step.step {
            SharedStep::Recall => of_database("SELECT"),
            SharedStep::Record => of_database("INSERT"),
            SharedStep::Publish => vec![
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.batch.message_count", size),
            ],
        };
        let times = (step.from, step.to);
        let mut span = self.span(step.ids, step.step.as_str(), SpanKind::Client, times, attributes);
        let mut links = step.links.clone();
        if !links.contains(&claim) {
            links.push(claim);
        }
        let error = step.error.map(|error| (error.to_owned(), error));
        self.finish(&mut span, Vec::new(), links, error);
        self.emit(span);
    }

    pub(super) fn span(
        &self,
        ids: Ids,
        name: impl Into<Cow<'static, str>>,
        span_kind: SpanKind,
        (from, to): (i64, i64),
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: context(ids, TraceState::NONE),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind,
            name: name.into(),
            start_time: time(from),
            end_time: time(to.max(from)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    /// Hands a finished span to the exporter, with as many attributes as are allowed.
    pub(super) fn emit(&self, mut span: SpanData) {
        let attributes = std::mem::take(&mut span.attributes);
        (span.attributes, span.dropped_attributes_count) =
            limited(attributes, self.sink.limits.max_attributes_per_span);
        self.sink.processor.on_end(span);
    }

    /// Adds events, links and the error: a type and a description. Keeps to the limits on events
    /// and links.
    pub(super) fn finish(
        &self,
        span: &mut SpanData,
        events: Vec<Event>,
        links: Vec<Ids>,
        error: Option<(String, &'static str)>,
    ) {
        let limits = self.sink.limits;
        if let Some((error_type, description)) = error {
            span.attributes.push(KeyValue::new("error.type", Value::from(error_type)));
            span.status = Status::error(description);
        }
        let links =
            links.into_iter().map(|link| Link::with_context(context(link, TraceState::NONE)));
        (span.links.links, span.links.dropped_count) =
            limited(links.collect(), limits.max_links_per_span);
        (span.events.events, span.events.dropped_count) =
            limited(events, limits.max_events_per_span);
    }
}

/// As many as the limit allows, and how many were left out.
fn limited<T>(mut all: Vec<T>, limit: u32) -> (Vec<T>, u32) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let dropped = all.len().saturating_sub(limit);
    all.truncate(limit);
    (all, u32::try_from(dropped).unwrap_or(u32::MAX))
}

fn context(ids: Ids, state: TraceState) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(ids.trace_id.to_be_bytes()),
        SpanId::from_bytes(ids.span_id.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        state,
    )
}

/// The span id of an attempt: the claim's own id, which is random, mixed with the attempt's number
/// (`SplitMix64`).
fn child(span_id: u64, number: u32) -> u64 {
    let mut mixed = span_id.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(number)));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

pub(super) fn time(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + elapsed(0, micros)
}
