//! An exporter that logs when its collector stops answering and when it answers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Uri;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, OTEL_BLRP_MAX_QUEUE_SIZE};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{OTEL_BSP_MAX_QUEUE_SIZE, SpanData, SpanExporter};
use tokio::runtime::Runtime;

use super::Signal;
use super::queue::Queue;
use crate::telemetry::metrics::{LOG_LINES_LOST, METRIC_EXPORTS_FAILED, Metric, SPANS_LOST};

const SPANS_FATE: &str = " and are lost";
const LINES_FATE: &str = " and are on the standard error alone";

/// An exporter that counts what is lost and logs once that losses began, and once that they ended.
#[derive(Debug)]
pub(in crate::telemetry) struct Watched<E> {
    signal: Signal,
    exporter: E,
    /// The collector's name in log lines: a URL may hold credentials.
    collector: String,
    is_failing: AtomicBool,
    /// The queue of what is exported. Metrics have none: they are read when they are due.
    queue: Option<Arc<Queue>>,
    is_overrun: AtomicBool,
    _connection: Connection,
}

/// The runtime of the exporter's connection, if it needs one. Its end waits for nothing.
#[derive(Debug)]
struct Connection(Option<Runtime>);

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The host of this endpoint: it holds no secret.
fn collector(endpoint: &str) -> String {
    if endpoint.starts_with("unix:") {
        return endpoint.to_owned();
    }
    let scheme = if endpoint.contains("://") { "" } else { "http://" };
    let uri = format!("{scheme}{endpoint}").parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::host).unwrap_or("localhost").to_owned()
}

/// What happens to the numbers of an export that failed: the words after "metrics do not arrive".
fn fate_of_metrics(temporality: Temporality) -> &'static str {
    match temporality {
        Temporality::Cumulative => ", and the next ones have what these had",
        Temporality::Delta => ", and what they counted since the last ones is lost",
        Temporality::LowMemory => ", and what their histograms counted since the last ones is lost",
        _ => "",
    }
}

impl<E> Watched<E> {
    pub(in crate::telemetry) fn new(signal: Signal, exporter: E, endpoint: &str) -> Self {
        Self {
            signal,
            exporter,
            collector: collector(endpoint),
            is_failing: AtomicBool::new(false),
            queue: None,
            is_overrun: AtomicBool::new(false),
            _connection: Connection(None),
        }
    }

    pub(super) fn on(self, runtime: Option<Runtime>) -> Self {
        Self { _connection: Connection(runtime), ..self }
    }

    pub(super) fn behind(self, queue: Arc<Queue>) -> Self {
        Self { queue: Some(queue), ..self }
    }

    fn lost(&self) -> Metric {
        match self.signal {
            Signal::Traces => SPANS_LOST,
            Signal::Metrics => METRIC_EXPORTS_FAILED,
            Signal::Logs => LOG_LINES_LOST,
        }
    }

    /// An export of this many entries of the queue begins.
    fn begun(&self, things: usize, fate: &str, size: &str) {
        let Some(queue) = &self.queue else { return };
        let left_out = queue.leave(things);
        if left_out == 0 {
            self.is_overrun.store(false, Ordering::Relaxed);
            return;
        }
        metrics::counter!(self.lost().name).increment(left_out);
        if !self.is_overrun.swap(true, Ordering::Relaxed) {
            let (of, collector) = (self.signal.things(), &self.collector);
            tracing::warn!(
                "{of} come faster than the collector at {collector} takes them: {left_out} did \
                 not fit into the queue{fate}; make it faster, or raise {size} for a peak"
            );
        }
    }

    /// An export of this many entries ended.
    fn ended(&self, things: usize, fate: &str, result: OTelSdkResult) -> OTelSdkResult {
        let (of, collector) = (self.signal.things(), &self.collector);
        match &result {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("{of} reach the collector at {collector} again");
            }
            Ok(()) => {}
            Err(error) => {
                let things = u64::try_from(things).unwrap_or(u64::MAX);
                metrics::counter!(self.lost().name).increment(things);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{of} do not reach the collector at {collector}{fate}: {error}");
                }
            }
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.begun(spans, SPANS_FATE, OTEL_BSP_MAX_QUEUE_SIZE);
        self.ended(spans, SPANS_FATE, self.exporter.export(batch).await)
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
        let fate = fate_of_metrics(self.exporter.temporality());
        self.ended(1, fate, self.exporter.export(metrics).await)
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
        self.begun(lines, LINES_FATE, OTEL_BLRP_MAX_QUEUE_SIZE);
        self.ended(lines, LINES_FATE, self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::telemetry::metrics::builder;

    #[test]
    fn a_collector_is_named_by_its_host_without_secrets() {
        for (endpoint, named) in [
            ("", "localhost"),
            ("http://user:hunter2@collector:4318/v1/traces?key=hunter2", "collector"),
            ("https://collector.example", "collector.example"),
            ("collector:4317", "collector"),
            ("10.0.0.5:4317", "10.0.0.5"),
            ("user:hunter2@collector:4317", "collector"),
            ("http://[::1]:4318", "[::1]"),
            ("unix:/run/collector", "unix:/run/collector"),
        ] {
            assert_eq!(collector(endpoint), named, "{endpoint}");
        }
    }

    #[test]
    fn a_failed_export_is_repeated_only_for_cumulative_metrics() {
        assert!(fate_of_metrics(Temporality::Cumulative).contains("the next ones have"));
        for temporality in [Temporality::Delta, Temporality::LowMemory] {
            assert!(fate_of_metrics(temporality).ends_with("is lost"), "{temporality:?}");
        }
    }

    /// A collector that accepts everything.
    #[derive(Debug)]
    struct Takes;

    impl SpanExporter for Takes {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn spans_that_found_no_place_are_counted_as_lost() {
        let queue = Queue::new(2);
        assert_eq!((0..5).filter(|_| queue.enter()).count(), 2);
        let exporter = Watched::new(Signal::Traces, Takes, "http://collector").behind(queue);
        let recorder = builder().expect("valid buckets").build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            let exported = SpanExporter::export(&exporter, Vec::new()).now_or_never();
            assert!(exported.is_some_and(|result| result.is_ok()));
        });
        let rendered = recorder.handle().render();
        assert!(rendered.lines().any(|line| line == "claimgate_spans_lost_total 3"), "{rendered}");
    }
}
