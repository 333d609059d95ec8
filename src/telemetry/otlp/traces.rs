//! Where spans go: an OpenTelemetry collector, by OTLP over HTTP or gRPC.
//!
//! Owns the exporter, the resource and the sampler, all of them set by the standard `OTEL_*`
//! variables. Knows no claim. The invariant: spans leave on the exporter's own thread and queue; a
//! collector that is away costs spans, never time.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, Config, OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE_DEFAULT, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_SCHEDULE_DELAY,
    OTEL_BSP_SCHEDULE_DELAY_DEFAULT, SpanData, SpanExporter, SpanProcessor as _,
};

use tokio::runtime::Runtime;

use super::metrics::SPANS_LOST;
use super::spans::Sink;

/// Spans that wait for the exporter unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. The standard's
/// 2048 are less than a second's worth of claims; more than these are dropped.
pub(super) const QUEUE_SIZE: usize = 16_384;
/// Links that a span may hold, unless `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise: a flush links to
/// each of its claims.
pub(super) const LINKS_PER_SPAN: u32 = 1_024;
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How OTLP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf over HTTP 1.1, with TLS where the endpoint begins with `https://`.
    HttpProtobuf,
    /// gRPC, without TLS.
    Grpc,
}

impl Protocol {
    /// Those that are built in.
    pub(super) const ALL: [Self; 2] = [Self::HttpProtobuf, Self::Grpc];

    /// The standard's word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }

    /// The one that a word names.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| word.eq_ignore_ascii_case(protocol.as_str()))
    }

    /// The one that the environment asks for: the variable of traces has the first word.
    pub(super) fn of(environment: impl Fn(&str) -> Option<String>) -> Self {
        let asked = PROTOCOLS.into_iter().find_map(|key| Self::from_word(&environment(key)?));
        asked.unwrap_or(Self::HttpProtobuf)
    }
}

/// Whether the environment names a collector and does not forbid its use.
pub(super) fn is_wanted(environment: impl Fn(&str) -> Option<String>) -> bool {
    let says = |key: &str, word: &str| {
        environment(key).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    let named =
        ENDPOINTS.into_iter().any(|key| environment(key).is_some_and(|value| !value.is_empty()));
    named && !says("OTEL_SDK_DISABLED", "true") && !says("OTEL_TRACES_EXPORTER", "none")
}

/// What sends spans to the collector that the environment names.
pub(super) fn sink(
    service_instance: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Sink, ExporterBuildError> {
    let endpoint =
        ENDPOINTS.into_iter().find_map(|key| environment(key).filter(|value| !value.is_empty()));
    let endpoint = endpoint.unwrap_or_default();
    let (exporter, runtime) = match Protocol::of(&environment) {
        Protocol::HttpProtobuf => (OtlpExporter::builder().with_http().build()?, None),
        Protocol::Grpc => grpc(&endpoint).map(|(exporter, runtime)| (exporter, Some(runtime)))?,
    };
    let exporter = Watched { _runtime: runtime, ..Watched::new(exporter, &endpoint) };
    let batches = batches(&environment);
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    processor.set_resource(&resource(service_instance));
    let Config { sampler, span_limits: mut limits, .. } = Config::default();
    let links = environment("OTEL_SPAN_LINK_COUNT_LIMIT");
    if links.is_none_or(|links| links.parse::<u32>().is_err()) {
        limits.max_links_per_span = LINKS_PER_SPAN;
    }
    Ok(Sink { processor: Box::new(processor), sampler, limits })
}

/// Whether the environment wants no span at all, whatever becomes of a claim.
pub(super) fn keeps_none(environment: impl Fn(&str) -> Option<String>) -> bool {
    environment("OTEL_TRACES_SAMPLER").is_some_and(|sampler| sampler == "always_off")
}

/// The exporter that speaks gRPC, and what its connection runs on: a thread of its own, for the
/// worker's may be the only one.
fn grpc(endpoint: &str) -> Result<(OtlpExporter, Runtime), ExporterBuildError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).thread_name("otlp-grpc").enable_all().build();
    let runtime = runtime.map_err(|error| {
        ExporterBuildError::InternalFailure(format!("no thread can be started for it: {error}"))
    })?;
    let exporter = {
        let _entered = runtime.enter();
        OtlpExporter::builder().with_tonic().with_endpoint(endpoint).build()?
    };
    Ok((exporter, runtime))
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

/// An exporter that counts what it loses and says once that it began to, and once that it ended.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    /// The collector's host, as log lines name it: a URL may hold credentials.
    collector: String,
    is_failing: AtomicBool,
    /// What the exporter's connection runs on, where it needs something. It ends with the exporter,
    /// on the exporter's own thread.
    _runtime: Option<Runtime>,
}

impl<E> Watched<E> {
    pub(super) fn new(exporter: E, endpoint: &str) -> Self {
        let url = reqwest::Url::parse(endpoint).ok();
        let collector = url.as_ref().and_then(|url| url.host_str()).unwrap_or("?").to_owned();
        Self { exporter, collector, is_failing: AtomicBool::new(false), _runtime: None }
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
    use std::io::Read as _;
    use std::net::TcpListener;

    use std::sync::Arc;

    use super::*;
    use crate::telemetry::spans::{Keep, Spans, tests::export_one};

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

    #[test]
    fn the_protocol_of_traces_wins_and_one_that_is_not_built_in_does_not_count() {
        let of = |given: &'static [(&str, &str)]| Protocol::of(environment(given));
        let (traces, all) = (PROTOCOLS[0], PROTOCOLS[1]);
        assert_eq!(of(&[]), Protocol::HttpProtobuf);
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC")]), Protocol::Grpc);
        let both: [(&str, &str); 2] = [(traces, "http/protobuf"), (all, "grpc")];
        assert_eq!(of(Box::leak(Box::new(both))), Protocol::HttpProtobuf);
        let unknown: [(&str, &str); 2] = [(traces, "http/json"), (all, "grpc")];
        assert_eq!(of(Box::leak(Box::new(unknown))), Protocol::Grpc);
    }

    /// The first bytes of HTTP/2, which gRPC alone speaks here.
    #[test]
    fn spans_go_by_grpc_to_the_collector_that_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let sink = sink("w1", move |key| match key {
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            _ => None,
        });
        let sink = Arc::new(sink.expect("it is built outside a runtime"));
        export_one(&Spans::on(Arc::clone(&sink), "claimgate", Keep::default()));
        let flush = std::thread::spawn(move || drop(sink.processor.force_flush()));
        let (mut stream, _) = listener.accept().expect("the exporter comes");
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).expect("it speaks");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        drop((stream, listener));
        flush.join().expect("it ends, for the collector has gone");
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
