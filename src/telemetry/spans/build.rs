//! Makes spans from the notes about a claim: which spans it has, and how they belong together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanId, SpanKind};

use super::data::time;
use super::record::Note;
use super::{
    AttemptEnd, ClaimRecord, Ids, Peer, SAMPLED, SharedRecord, SharedStep, Spans, span_context,
};
use crate::decision::Decision;
use crate::trace::TraceContext;
use crate::unix_time::elapsed;

/// The facts about a claim that its span has.
#[derive(Debug, Clone, Copy)]
pub struct ClaimFacts<'a> {
    /// The topic that the event was read from.
    pub topic: &'a str,
    /// The partition within it.
    pub partition: i32,
    /// The offset within the partition.
    pub offset: i64,
    /// The claim's id; `None` for a malformed event.
    pub claim_id: Option<&'a str>,
    /// The claim's kind, where it has a verdict.
    pub kind: Option<&'a str>,
    /// The trace context in the headers of its decision.
    pub trace: &'a TraceContext,
    /// How it ended.
    pub end: ClaimEnd<'a>,
}

/// How a claim ended.
#[derive(Debug, Clone, Copy)]
pub enum ClaimEnd<'a> {
    /// It was decided.
    Decided(Decision),
    /// It was deferred to the retry topic, for this reason.
    Deferred(&'a str),
    /// It became a dead letter, for this reason.
    DeadLettered(&'static str),
    /// Its partition went to another worker, which starts over.
    Dropped,
}

impl Spans {
    /// A step that many claims took together, from `from` to `to`. `links` are the claims that are
    /// kept.
    #[must_use]
    pub fn shared(
        step: SharedStep,
        ids: Ids,
        (from, to): (i64, i64),
        claims: usize,
        error: Option<&'static str>,
        links: Vec<Ids>,
    ) -> Arc<SharedRecord> {
        let is_exported = AtomicBool::new(false);
        Arc::new(SharedRecord { step, ids, from, to, claims, error, links, is_exported })
    }

    /// Exports the spans of a claim: its own, those of its attempts, and those of the steps that it
    /// shared.
    pub fn export(&self, facts: &ClaimFacts<'_>, claim: &ClaimRecord, now: i64) {
        let Some(exported) = &self.0 else { return };
        let (mut events, mut links) = (Vec::new(), Vec::new());
        let state = span_context(facts.trace, false).trace_state().clone();
        for note in &claim.notes {
            match note {
                Note::Waited { what, from, to } => {
                    let waited = elapsed(*from, *to);
                    let attributes = vec![
                        KeyValue::new("claimgate.wait.for", what.as_str()),
                        KeyValue::new("claimgate.wait.duration", waited.as_secs_f64()),
                    ];
                    events.push(Event::new("wait", time(*from), attributes, 0));
                }
                Note::Attempted(attempt) => exported.attempt(claim.own, &state, attempt, now),
                Note::Shared(step) => {
                    links.push(step.ids);
                    exported.shared(step, claim.own);
                }
            }
        }
        let error = match facts.end {
            ClaimEnd::DeadLettered(reason) => Some(reason),
            _ => claim.error,
        };
        let mut span = exported.span(
            claim.own,
            format!("process {}", facts.topic),
            SpanKind::Consumer,
            (claim.from, now),
            exported.of_claim(facts),
        );
        exported.finish(&mut span, events, links, error.map(|error| (error.to_owned(), error)));
        span.span_context = span_context(
            &TraceContext { flags: facts.trace.flags | SAMPLED, ..facts.trace.clone() },
            false,
        );
        if let Some(parent) = claim.parent {
            span.parent_span_id = SpanId::from_bytes(parent.to_be_bytes());
            span.parent_span_is_remote = true;
        }
        exported.emit(span);
    }

    /// Exports the span of an access token's fetch, if it is sampled or failed. It is a trace of
    /// its own.
    pub fn token_fetch(
        &self,
        ids: Ids,
        peer: &Peer,
        method: &'static str,
        from: i64,
        end: AttemptEnd,
    ) {
        let Some(exported) = &self.0 else { return };
        let is_kept = exported.keep.failed && !end.is_answer;
        if !is_kept && !exported.samples(None, ids.trace_id, &SpanKind::Client) {
            return;
        }
        let mut span = exported.call(ids, peer, method, from, Some(end), from);
        span.name = "fetch token".into();
        exported.emit(span);
    }
}
