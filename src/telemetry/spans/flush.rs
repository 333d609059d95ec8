//! The spans of one flush: `flush`, and a child for each `record` and `publish`.

use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{TARGET, fail};

/// A flush's span, or none. It ends when dropped.
#[derive(Debug, Default)]
pub struct FlushSpan(Option<Span>);

impl FlushSpan {
    /// A flush's span, linked to the spans of its claims.
    pub(super) fn start(claims: impl Iterator<Item = SpanContext>) -> Self {
        let span = info_span!(target: TARGET, parent: None, "flush", otel.kind = "internal");
        claims.for_each(|claim| span.add_link(claim));
        Self(Some(span))
    }

    /// This flush publishes what another one recorded: a link says so.
    pub fn joins(&self, other: &Self) {
        if let (Some(span), Some(other)) = (&self.0, &other.0) {
            span.add_link(other.context().span().span_context().clone());
        }
    }

    /// Starts the span of a write to Postgres: so many rows at once.
    pub fn record(&self, rows: usize) -> StepSpan {
        StepSpan(self.0.as_ref().map(|flush| {
            info_span!(
                target: TARGET,
                parent: flush,
                "record",
                otel.kind = "client",
                db.system.name = "postgresql",
                db.operation.name = "INSERT",
                db.operation.batch.size = (rows > 1).then(|| i64::try_from(rows).unwrap_or(i64::MAX)),
                error.type = Empty,
                otel.status_description = Empty,
            )
        }))
    }

    /// Starts the span of a Kafka transaction: so many messages at once.
    pub fn publish(&self, messages: usize) -> StepSpan {
        StepSpan(self.0.as_ref().map(|flush| {
            info_span!(
                target: TARGET,
                parent: flush,
                "publish",
                otel.kind = "client",
                messaging.system = "kafka",
                messaging.operation.name = "publish",
                messaging.operation.type = "send",
                messaging.batch.message_count = i64::try_from(messages).unwrap_or(i64::MAX),
                error.type = Empty,
                otel.status_description = Empty,
            )
        }))
    }
}

/// The span of a flush's `record` or `publish`, or none. Dropped, it ends well.
#[derive(Debug, Default)]
pub struct StepSpan(Option<Span>);

impl StepSpan {
    /// Ends it badly; `error` is a bounded word.
    pub fn failed(self, error: &'static str) {
        if let Some(span) = self.0 {
            fail(&span, error, error);
        }
    }
}
