//! An exporter that says when its collector does not answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Runtime;

use super::Signal;
use crate::telemetry::metrics::{LOG_LINES_LOST, METRIC_EXPORTS_FAILED, Metric, SPANS_LOST};

/// An exporter that counts what it loses and says once that it began to, and once that it ended.
#[derive(Debug)]
pub(in crate::telemetry) struct Watched<E> {
    signal: Signal,
    exporter: E,
    /// The collector's host, as log lines name it: a URL may hold credentials.
    collector: String,
    is_failing: AtomicBool,
    _connection: Connection,
}

/// What the exporter's connection runs on, where it needs something. Its end waits for nobody.
#[derive(Debug)]
struct Connection(Option<Runtime>);

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl<E> Watched<E> {
    pub(in crate::telemetry) fn new(signal: Signal, exporter: E, endpoint: &str) -> Self {
        let url = reqwest::Url::parse(endpoint).ok();
        let collector = url.as_ref().and_then(|url| url.host_str()).unwrap_or("localhost");
        let (collector, is_failing) = (collector.to_owned(), AtomicBool::new(false));
        Self { signal, exporter, collector, is_failing, _connection: Connection(None) }
    }

    pub(super) fn on(self, runtime: Option<Runtime>) -> Self {
        Self { _connection: Connection(runtime), ..self }
    }

    fn lost(&self) -> (Metric, &'static str) {
        match self.signal {
            Signal::Traces => (SPANS_LOST, "and are lost"),
            Signal::Metrics => (METRIC_EXPORTS_FAILED, "and are tried again at the next interval"),
            Signal::Logs => (LOG_LINES_LOST, "and are on the standard error alone"),
        }
    }

    /// An export of so many things ended.
    fn ended(&self, things: usize, result: OTelSdkResult) -> OTelSdkResult {
        let (of, collector) = (self.signal.things(), &self.collector);
        match &result {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("{of} reach the collector at {collector} again");
            }
            Ok(()) => {}
            Err(error) => {
                let (metric, what_then) = self.lost();
                metrics::counter!(metric.name).increment(u64::try_from(things).unwrap_or(u64::MAX));
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "{of} do not reach the collector at {collector} {what_then}: {error}"
                    );
                }
            }
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.ended(spans, self.exporter.export(batch).await)
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

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.ended(1, self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let lines = batch.iter().count();
        self.ended(lines, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
