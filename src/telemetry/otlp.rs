//! Where spans go: an OpenTelemetry collector, over OTLP with HTTP and protobuf.
//!
//! Owns the exporter, the resource and the sampler, all of them set by the standard `OTEL_*`
//! variables. Knows no claim. The invariant: spans leave on the exporter's own thread and queue; a
//! collector that is away costs spans, never time.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter as OtlpExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Config, OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_SCHEDULE_DELAY,
    OTEL_BSP_SCHEDULE_DELAY_DEFAULT, Sampler, SamplingResult, SdkTracerProvider, ShouldSample,
    SpanData, SpanExporter,
};

use super::metrics::SPANS_LOST;

/// Spans that wait for the exporter unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. The standard's
/// 2048 are less than a second's worth of claims; more than these are dropped.
pub(super) const QUEUE_SIZE: usize = 16_384;
/// Links that a span may hold, unless `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise: a flush links to
/// each of its claims.
pub(super) const LINKS_PER_SPAN: u32 = 1_024;
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Whether the environment names a collector and does not forbid its use.
pub(super) fn is_wanted(environment: impl Fn(&str) -> Option<String>) -> bool {
    let says = |key: &str, word: &str| {
        environment(key).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    let named =
        ENDPOINTS.into_iter().any(|key| environment(key).is_some_and(|value| !value.is_empty()));
    named && !says("OTEL_SDK_DISABLED", "true") && !says("OTEL_TRACES_EXPORTER", "none")
}

/// The provider whose spans go to the collector that the environment names.
pub(super) fn provider(
    service_instance: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let endpoint =
        ENDPOINTS.into_iter().find_map(|key| environment(key).filter(|value| !value.is_empty()));
    let exporter =
        Watched::new(OtlpExporter::builder().with_http().build()?, &endpoint.unwrap_or_default());
    let batches = batches(&environment);
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource(service_instance))
        .with_sampler(FollowLinks(Config::default().sampler))
        .with_span_processor(processor);
    let links = environment("OTEL_SPAN_LINK_COUNT_LIMIT");
    if links.is_none_or(|links| links.parse::<u32>().is_err()) {
        provider = provider.with_max_links_per_span(LINKS_PER_SPAN);
    }
    Ok(provider.build())
}

/// How spans wait and are sent. The library takes a 0 at its word: it would never send, or never
/// pause.
fn batches(environment: impl Fn(&str) -> Option<String>) -> BatchConfig {
    let is_usable = |key: &str| {
        environment(key).is_some_and(|value| value.parse::<usize>().is_ok_and(|value| value > 0))
    };
    let mut batches = BatchConfigBuilder::default();
    if !is_usable(OTEL_BSP_MAX_QUEUE_SIZE) {
        batches = batches.with_max_queue_size(QUEUE_SIZE);
    }
    if !is_usable(OTEL_BSP_MAX_EXPORT_BATCH_SIZE) {
        batches = batches.with_max_export_batch_size(OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT);
    }
    if !is_usable(OTEL_BSP_SCHEDULE_DELAY) {
        batches = batches.with_scheduled_delay(OTEL_BSP_SCHEDULE_DELAY_DEFAULT);
    }
    batches.build()
}

/// Who the spans come from. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word.
fn resource(service_instance: &str) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let instance = KeyValue::new("service.instance.id", service_instance.to_owned());
    let resource = Resource::builder_empty()
        .with_service_name("claimgate")
        .with_attributes([version, instance])
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// The sampler that the environment asks for, but a root span is kept if one that it links to is
/// kept: a flush has no parent, and whoever follows a claim that was sampled wants to see its
/// flush.
#[derive(Debug, Clone)]
pub(super) struct FollowLinks(pub(super) Box<dyn ShouldSample>);

impl ShouldSample for FollowLinks {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_root = parent.is_none_or(|parent| !parent.span().span_context().is_valid());
        if is_root && links.iter().any(|link| link.span_context.is_sampled()) {
            return Sampler::AlwaysOn
                .should_sample(parent, trace_id, name, kind, attributes, links);
        }
        self.0.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// An exporter that counts what it loses and says once that it began to, and once that it ended.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    /// The collector's host, as log lines name it: a URL may hold credentials.
    collector: String,
    is_failing: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, endpoint: &str) -> Self {
        let url = reqwest::Url::parse(endpoint).ok();
        let collector = url.as_ref().and_then(|url| url.host_str()).unwrap_or("?").to_owned();
        Self { exporter, collector, is_failing: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("spans reach the collector at {} again", self.collector);
            }
            Ok(()) => {}
            Err(error) => {
                metrics::counter!(SPANS_LOST.name)
                    .increment(u64::try_from(spans).unwrap_or(u64::MAX));
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let collector = &self.collector;
                    tracing::warn!(
                        "spans do not reach the collector at {collector} and are lost: {error}"
                    );
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn environment(given: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |key| given.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn spans_are_exported_only_where_a_collector_is_named() {
        assert!(is_wanted(environment(&[COLLECTOR])));
        assert!(is_wanted(environment(&[(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://collector/v1/traces"
        )])));
        assert!(!is_wanted(environment(&[])));
        assert!(!is_wanted(environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")])));
        assert!(!is_wanted(environment(&[COLLECTOR, ("OTEL_SDK_DISABLED", "true")])));
        assert!(!is_wanted(environment(&[COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")])));
    }

    /// The library takes the words of the environment itself, so these come by arguments only.
    #[test]
    fn a_queue_that_is_none_has_the_size_of_the_page() {
        for value in ["abc", "0", "-1", ""] {
            let config = format!("{:?}", batches(|_| Some(value.to_owned())));
            for number in ["16384", "512", "5s"] {
                assert!(config.contains(number), "{value:?}: {config}");
            }
        }
    }

    #[test]
    fn spans_say_whose_they_are() {
        let resource = resource("worker-1");
        let value = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
        assert_eq!(value("service.instance.id").as_deref(), Some("worker-1"));
        assert_eq!(value("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}
