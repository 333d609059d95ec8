//! A collector that keeps what it gets by OTLP, over HTTP or gRPC, compressed or not.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri, header};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A gRPC message begins with a flag, which says whether it is compressed, and its length.
const GRPC_PREFIX: usize = 5;

/// A collector that accepts everything.
pub(crate) struct Collector {
    pub(crate) url: String,
    taken: Arc<Mutex<Taken>>,
}

/// What came.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) spans: Vec<Span>,
    pub(crate) lines: Vec<LogRecord>,
    /// The places in the program that the lines come from.
    pub(crate) targets: BTreeSet<String>,
    /// Of the last export.
    pub(crate) metrics: Vec<Metric>,
    pub(crate) resources: Vec<Resource>,
    /// Of each request.
    compressed: Vec<bool>,
    /// Every message, decompressed.
    bytes: Vec<u8>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let taken = Arc::new(Mutex::new(Taken::default()));
        let takes = Arc::clone(&taken);
        let take = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let is_grpc = headers[header::CONTENT_TYPE] == "application/grpc";
            let encoding = if is_grpc { "grpc-encoding" } else { "content-encoding" };
            let is_gzip = headers.get(encoding).is_some_and(|encoding| encoding == "gzip");
            let message = if is_grpc { body.slice(GRPC_PREFIX..) } else { body };
            takes.lock().expect("not poisoned").take(uri.path(), &message, is_gzip);
            let content_type = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
            let empty: &[u8] = if is_grpc { &[0; GRPC_PREFIX] } else { &[] };
            let headers = [(header::CONTENT_TYPE.as_str(), content_type), ("grpc-status", "0")];
            async move { (headers, empty.to_vec()) }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        Self { url, taken }
    }

    pub(crate) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("not poisoned")
    }

    /// Whether all messages were compressed, or none; `None` if both occurred, or nothing came.
    pub(crate) fn compressed(&self) -> Option<bool> {
        let taken = self.taken();
        let first = *taken.compressed.first()?;
        taken.compressed.iter().all(|compressed| *compressed == first).then_some(first)
    }

    /// Whether these words came, in any place.
    pub(crate) fn has_heard(&self, words: &str) -> bool {
        self.taken().bytes.windows(words.len()).any(|window| window == words.as_bytes())
    }

    pub(crate) fn of_trace(&self, trace: &str) -> Vec<Span> {
        let taken = self.taken();
        let of_trace = |span: &&Span| hex::encode(&span.trace_id) == trace;
        taken.spans.iter().filter(of_trace).cloned().collect()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.taken().spans.iter().filter(|span| span.name == name).cloned().collect()
    }
}

impl Taken {
    fn take(&mut self, path: &str, message: &[u8], is_gzip: bool) {
        let mut plain = message.to_vec();
        if is_gzip {
            plain.clear();
            GzDecoder::new(message).read_to_end(&mut plain).expect("gzip");
        }
        self.compressed.push(is_gzip);
        self.bytes.extend_from_slice(&plain);
        let resource = match path.rsplit(['/', '.']).find(|part| part.ends_with("Service")) {
            Some("TraceService") => self.take_spans(&plain),
            Some("MetricsService") => self.take_metrics(&plain),
            Some("LogsService") => self.take_lines(&plain),
            _ if path == "/v1/traces" => self.take_spans(&plain),
            _ if path == "/v1/metrics" => self.take_metrics(&plain),
            _ if path == "/v1/logs" => self.take_lines(&plain),
            _ => panic!("a collector is not asked for {path}"),
        };
        self.resources.extend(resource);
    }

    fn take_spans(&mut self, message: &[u8]) -> Option<Resource> {
        let request = ExportTraceServiceRequest::decode(message).expect("OTLP");
        let of = request.resource_spans.into_iter().next()?;
        self.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
        of.resource
    }

    fn take_metrics(&mut self, message: &[u8]) -> Option<Resource> {
        let request = ExportMetricsServiceRequest::decode(message).expect("OTLP");
        let of = request.resource_metrics.into_iter().next()?;
        self.metrics = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
        of.resource
    }

    fn take_lines(&mut self, message: &[u8]) -> Option<Resource> {
        let request = ExportLogsServiceRequest::decode(message).expect("OTLP");
        let of = request.resource_logs.into_iter().next()?;
        let name = |scope: &ScopeLogs| scope.scope.as_ref().map(|scope| scope.name.clone());
        self.targets.extend(of.scope_logs.iter().filter_map(name));
        self.lines.extend(of.scope_logs.into_iter().flat_map(|scope| scope.log_records));
        of.resource
    }
}

/// A text or a whole number as text; empty if there is neither.
pub(crate) fn word(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key);
    match value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(word)) => word.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
