//! Exports log lines by OTLP, in addition to those on the standard error.
//!
//! The invariant: no line about the export is exported, because each would cause the next.
//! OpenTelemetry's library leaves out the lines of the exporters' threads; [`is_exported`] leaves
//! out those of the libraries below them.

use std::sync::Arc;

use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry::{InstrumentationScope, SpanId, TraceId};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogProcessor, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BLRP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BLRP_MAX_QUEUE_SIZE,
    OTEL_BLRP_MAX_QUEUE_SIZE_DEFAULT, OTEL_BLRP_SCHEDULE_DELAY, OTEL_BLRP_SCHEDULE_DELAY_DEFAULT,
    SdkLogRecord, SdkLoggerProvider,
};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::Signal;
use super::queue::{Queue, Queued};
use crate::telemetry::filter::EachTime;

/// The field of a log line with the id of its trace, named as in the standard.
const TRACE_ID: &str = "trace_id";
/// The libraries that exports use. The worker's own calls use some of them, too.
const LIBRARIES: [&str; 8] =
    ["h2", "hyper", "hyper_tls", "hyper_util", "opentelemetry", "reqwest", "tonic", "tower"];

/// The provider that sends log lines to the collector that the environment names.
pub(in crate::telemetry) fn exported(
    resource: Resource,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let timeout = Signal::Logs.timeout(&environment);
    let exporter = super::build(
        Signal::Logs,
        &environment,
        |client| {
            LogExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_timeout(timeout)
                .build()
        },
        || LogExporter::builder().with_tonic().with_timeout(timeout).build(),
    )?;
    let number = |key, default| super::number(key, default, &environment);
    let delay =
        super::millis(OTEL_BLRP_SCHEDULE_DELAY, OTEL_BLRP_SCHEDULE_DELAY_DEFAULT, &environment);
    let size = number(OTEL_BLRP_MAX_QUEUE_SIZE, OTEL_BLRP_MAX_QUEUE_SIZE_DEFAULT);
    let batch = number(OTEL_BLRP_MAX_EXPORT_BATCH_SIZE, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE_DEFAULT);
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(size)
        .with_max_export_batch_size(batch)
        .with_scheduled_delay(delay)
        .build();
    let queue = Queue::new(size);
    let exporter = exporter.behind(Arc::clone(&queue));
    let batches = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
    let batches = Queued::new(queue, batches);
    let provider = SdkLoggerProvider::builder().with_resource(resource);
    Ok(provider.with_log_processor(InTrace).with_log_processor(batches).build())
}

/// A layer that exports events. The caller adds the filter of log lines to it.
pub(in crate::telemetry) fn layer<S>(
    provider: &SdkLoggerProvider,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    OpenTelemetryTracingBridge::new(provider).with_filter(EachTime(is_exported)).boxed()
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    metadata.is_event() && !LIBRARIES.contains(&library)
}

/// Puts a line that names a trace into that trace.
#[derive(Debug)]
struct InTrace;

impl LogProcessor for InTrace {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        let id = record.attributes_iter().find_map(|(key, value)| match value {
            AnyValue::String(id) if key.as_str() == TRACE_ID => TraceId::from_hex(id.as_str()).ok(),
            _ => None,
        });
        if let Some(id) = id {
            record.set_trace_context(id, SpanId::INVALID, None);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}
