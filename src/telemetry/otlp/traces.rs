//! Exports spans by OTLP: the exporter, the queue before it, and the sampler.

use std::sync::Arc;

use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Config, OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_SCHEDULE_DELAY,
    OTEL_BSP_SCHEDULE_DELAY_DEFAULT, SpanProcessor as _,
};

use super::Signal;
use super::queue::{Queue, Queued};
use crate::telemetry::spans::Sink;

/// Spans that wait for the exporter unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. The standard's
/// 2048 are less than a second's worth of claims; more than these are dropped.
pub(in crate::telemetry) const QUEUE_SIZE: usize = 16_384;
/// The most links of a span, unless `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise: a flush links to
/// each of its claims.
pub(in crate::telemetry) const LINKS_PER_SPAN: u32 = 1_024;

/// The processor that sends spans to the collector that the environment names.
pub(in crate::telemetry) fn sink(
    resource: &Resource,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Sink, ExporterBuildError> {
    let timeout = Signal::Traces.timeout(&environment);
    let endpoint = Signal::Traces.endpoint(&environment).unwrap_or_default();
    let exporter = super::build(
        Signal::Traces,
        &environment,
        |client| {
            SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_timeout(timeout)
                .build()
        },
        || {
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(timeout)
                .build()
        },
    )?;
    let queue = Queue::new(queue_size(&environment));
    let exporter = exporter.behind(Arc::clone(&queue));
    let batches = batches(&environment);
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let mut processor = Queued::new(queue, processor);
    processor.set_resource(resource);
    let Config { sampler, span_limits: mut limits, .. } = Config::default();
    let links = environment("OTEL_SPAN_LINK_COUNT_LIMIT");
    if links.is_none_or(|links| links.parse::<u32>().is_err()) {
        limits.max_links_per_span = LINKS_PER_SPAN;
    }
    Ok(Sink { processor: Box::new(processor), sampler, limits })
}

/// Whether the environment switches all spans off, even those of claims that fail.
pub(in crate::telemetry) fn keeps_none(environment: impl Fn(&str) -> Option<String>) -> bool {
    environment("OTEL_TRACES_SAMPLER").is_some_and(|sampler| sampler == "always_off")
}

fn queue_size(environment: impl Fn(&str) -> Option<String>) -> usize {
    super::number(OTEL_BSP_MAX_QUEUE_SIZE, QUEUE_SIZE, environment)
}

/// The settings of the queue. A 0 counts as not set: the library would never send, or never pause.
pub(super) fn batches(environment: impl Fn(&str) -> Option<String>) -> BatchConfig {
    let number = |key, default| super::number(key, default, &environment);
    let delay =
        super::millis(OTEL_BSP_SCHEDULE_DELAY, OTEL_BSP_SCHEDULE_DELAY_DEFAULT, &environment);
    let batch = number(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT);
    BatchConfigBuilder::default()
        .with_max_queue_size(queue_size(&environment))
        .with_max_export_batch_size(batch)
        .with_scheduled_delay(delay)
        .build()
}
