//! The spans of a claim's journey: `process`, an attempt each, and the flush with its `record` and
//! `publish`.
//!
//! Owns their names and attributes (OpenTelemetry's semantic conventions for messaging, HTTP
//! clients and databases) and how a claim's trace context goes on into its decision. Knows no clock
//! and no randomness but the SDK's. The invariant: where nothing is exported no span is made at
//! all, and no span ever holds an account, a URL's query, a token or a body. None of these spans is
//! ever entered, so each may live across any `.await`.

use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::filter::EachTime;
use crate::trace::TraceContext;

mod claim;
mod flush;

pub use claim::{AttemptSpan, ClaimFacts, ClaimSpan, Peer};
pub use flush::{FlushSpan, StepSpan};

/// The target of every span made here; no other span is exported.
pub(super) const TARGET: &str = "claimgate";

/// Hands the spans made here to the tracer. Whatever `RUST_LOG` says, it sees spans and no events.
pub(super) fn layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(EachTime(|metadata| metadata.is_span() && metadata.target() == TARGET))
}

/// Makes spans; or makes none, at the cost of one look at an `Option`.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// The consumer group, where spans are exported.
    group: Option<Arc<str>>,
}

impl Spans {
    /// No spans.
    pub fn off() -> Self {
        Self::default()
    }

    /// Spans, for whatever subscriber listens.
    pub(super) fn on(consumer_group: &str) -> Self {
        Self { group: Some(consumer_group.into()) }
    }

    /// Starts a claim's span, as a child of the `incoming` context if there is one.
    ///
    /// Returns, too, the context that goes on into the decision: the span's own, or, where there is
    /// no span, the incoming one, or else a fresh one made of `seed`. The span ends with its last
    /// clone.
    pub fn claim(
        &self,
        facts: &ClaimFacts<'_>,
        incoming: Option<TraceContext>,
        seed: u128,
    ) -> (ClaimSpan, TraceContext) {
        let span = self.group.as_deref().map(|group| claim::start(facts, group));
        if let (Some(span), Some(incoming)) = (&span, &incoming) {
            // It can fail only if no layer listens, which shows below.
            span.set_parent(Context::new().with_remote_span_context(span_context(incoming, true)))
                .ok();
        }
        let context = span.as_ref().map(Span::context);
        let own = context.as_ref().map(|context| context.span().span_context().clone());
        let Some(own) = own.filter(SpanContext::is_valid) else {
            return (ClaimSpan::default(), incoming.unwrap_or_else(|| TraceContext::fresh(seed)));
        };
        let context = TraceContext {
            trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(own.span_id().to_bytes()),
            flags: own.trace_flags().to_u8(),
            state: incoming.and_then(|incoming| incoming.state),
        };
        (ClaimSpan::of(span.filter(|_| own.is_sampled())), context)
    }

    /// Starts the span of a flush, linked to the spans of its claims ([`Self::claim`]'s contexts).
    pub fn flush<'a>(&self, claims: impl IntoIterator<Item = &'a TraceContext>) -> FlushSpan {
        if self.group.is_none() {
            return FlushSpan::default();
        }
        let claims = claims.into_iter().map(|claim| span_context(claim, false));
        let mut sampled = claims.filter(SpanContext::is_sampled).peekable();
        if sampled.peek().is_none() {
            return FlushSpan::default();
        }
        FlushSpan::start(sampled)
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

/// Marks a span as failed, for a bounded reason.
fn fail(span: &Span, error_type: &str, reason: &str) {
    span.record("error.type", error_type);
    span.record("otel.status_description", reason);
}
