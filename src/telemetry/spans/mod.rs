//! The spans of a claim, made when its journey has ended.
//!
//! While a claim is under way, the worker notes what happens to it ([`record`]). When Kafka has its
//! decision, [`build`] makes spans from the notes of claims that are kept: those that were sampled
//! when they were taken on, and those that failed, took many attempts or took long ([`Keep`]). Owns
//! the names and attributes of spans (OpenTelemetry's semantic conventions for messaging, HTTP
//! clients and databases) and how a claim's trace context is passed on to its decision. Knows no
//! clock and no randomness. The invariant: if nothing is exported, nothing is noted; no span ever
//! holds an account, the query of a URL, a token or a body.

use std::sync::Arc;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample, SpanLimits, SpanProcessor};

use crate::trace::TraceContext;

mod build;
mod data;
mod peer;
mod record;

pub use build::{ClaimEnd, ClaimFacts};
pub use peer::Peer;
pub use record::{AttemptEnd, ClaimRecord, Ids, Keep, SharedRecord, SharedStep, Wait};

/// The scope's name.
const SCOPE: &str = "claimgate";
/// The version of the semantic conventions that attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Where spans go, and which spans are kept.
#[derive(Debug)]
pub(super) struct Sink {
    /// Takes finished spans. It does not block.
    pub(super) processor: Box<dyn SpanProcessor>,
    /// Decides whether a claim is sampled when it is taken on.
    pub(super) sampler: Box<dyn ShouldSample>,
    /// How many links, events and attributes a span may have.
    pub(super) limits: SpanLimits,
}

/// Makes spans, or makes none: then each call costs one check of an `Option`.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Exported>>);

#[derive(Debug)]
struct Exported {
    sink: Arc<Sink>,
    scope: InstrumentationScope,
    group: String,
    keep: Keep,
}

impl Spans {
    /// No spans.
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans of a worker of this consumer group.
    pub(super) fn on(sink: Arc<Sink>, consumer_group: &str, keep: Keep) -> Self {
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        Self(Some(Arc::new(Exported { sink, scope, group: consumer_group.to_owned(), keep })))
    }

    /// Whether anything is to be noted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A claim is taken on. Returns its record, if anything is to be noted, and the context that is
    /// passed on to its decision.
    ///
    /// That context names the claim's own span, made from `seed`. If no spans are made, it is the
    /// incoming context or, without one, a new one. The sampler is asked here, once per claim.
    pub fn claim(
        &self,
        incoming: Option<TraceContext>,
        seed: u128,
        now: i64,
    ) -> (Option<ClaimRecord>, TraceContext) {
        let fresh = TraceContext::fresh(seed);
        let Some(exported) = &self.0 else {
            return (None, incoming.unwrap_or(fresh));
        };
        let parent = incoming.as_ref().map(|incoming| incoming.span_id);
        let trace_id = incoming.as_ref().map_or(fresh.trace_id, |incoming| incoming.trace_id);
        let own = Ids { trace_id, span_id: fresh.span_id };
        let is_sampled = exported.samples(incoming.as_ref(), trace_id, &SpanKind::Consumer);
        let others = incoming.as_ref().map_or(0, |incoming| incoming.flags & !SAMPLED);
        let context = TraceContext {
            trace_id,
            span_id: own.span_id,
            flags: others | u8::from(is_sampled),
            state: incoming.and_then(|incoming| incoming.state),
            baggage: None,
        };
        (Some(ClaimRecord::new(own, parent, is_sampled, now)), context)
    }

    /// The claim has ended, but its end is not recorded yet. Says in its context whether it is
    /// kept, as far as that is known now.
    pub fn weigh(&self, claim: &mut ClaimRecord, context: &mut TraceContext, now: i64) {
        let Some(exported) = &self.0 else { return };
        if claim.weigh(&exported.keep, now) {
            context.flags |= SAMPLED;
        }
    }

    /// Whether the claim is kept, now that everything is known.
    pub fn is_kept(&self, claim: &mut ClaimRecord, now: i64) -> bool {
        self.0.as_ref().is_some_and(|exported| claim.weigh(&exported.keep, now))
    }
}

/// Bit 0 of the flags.
const SAMPLED: u8 = 1;

impl Exported {
    fn samples(&self, parent: Option<&TraceContext>, trace_id: u128, kind: &SpanKind) -> bool {
        let parent = parent
            .map(|parent| Context::new().with_remote_span_context(span_context(parent, true)));
        let trace_id = TraceId::from_bytes(trace_id.to_be_bytes());
        let sampler = &self.sink.sampler;
        let sampled = sampler.should_sample(parent.as_ref(), trace_id, "process", kind, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }
}

fn span_context(context: &TraceContext, is_remote: bool) -> SpanContext {
    let state = context.state.as_deref().and_then(|state| state.parse::<TraceState>().ok());
    SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_be_bytes()),
        SpanId::from_bytes(context.span_id.to_be_bytes()),
        TraceFlags::new(context.flags),
        is_remote,
        state.unwrap_or_default(),
    )
}

#[cfg(test)]
pub(super) mod tests;
