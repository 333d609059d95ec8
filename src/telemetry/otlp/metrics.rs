//! Exports metrics by OTLP: the same numbers as at `/metrics`.
//!
//! [`Bridge`] is a second recorder beside that of Prometheus. It keeps counters and gauges as
//! atomics, which are read when an export is due; a histogram's values go into an instrument of
//! OpenTelemetry's with the metric's own buckets. The invariant: names, labels, help and buckets
//! are those of [`ALL`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_util::registry::{AtomicStorage, Registry};
use opentelemetry::metrics::{Histogram as Instrument, Meter, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};

use super::Signal;
use crate::telemetry::metrics::{ALL, Kind};

/// How often metrics are exported unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise.
pub(in crate::telemetry) const INTERVAL: Duration = Duration::from_secs(60);

/// The provider that sends metrics to the collector that the environment names, and the recorder
/// for it.
pub(in crate::telemetry) fn exported(
    resource: Resource,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(SdkMeterProvider, Bridge), ExporterBuildError> {
    let timeout = Signal::Metrics.timeout(&environment);
    let exporter = super::build(
        Signal::Metrics,
        &environment,
        |client| {
            MetricExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_timeout(timeout)
                .build()
        },
        || MetricExporter::builder().with_tonic().with_timeout(timeout).build(),
    )?;
    let interval = super::millis("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL, environment);
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
    let scope = InstrumentationScope::builder("claimgate").with_version(env!("CARGO_PKG_VERSION"));
    let bridge = Bridge::new(&provider.meter_with_scope(scope.build()));
    Ok((provider, bridge))
}

/// A recorder that passes what the worker counts to OpenTelemetry.
pub(in crate::telemetry) struct Bridge {
    numbers: Arc<Registry<Key, AtomicStorage>>,
    histograms: HashMap<&'static str, Instrument<f64>>,
}

impl Bridge {
    /// A recorder whose metrics belong to this meter.
    pub(in crate::telemetry) fn new(meter: &Meter) -> Self {
        let numbers = Arc::new(Registry::atomic());
        let mut histograms = HashMap::new();
        for metric in ALL {
            let (name, help, unit) = (metric.name, metric.help, unit(metric.name));
            let numbers = Arc::clone(&numbers);
            match metric.kind {
                Kind::Counter => {
                    let counter = meter.u64_observable_counter(name).with_description(help);
                    let counter = counter.with_unit(unit).with_callback(move |observer| {
                        numbers.visit_counters(|key, value| {
                            read(name, key, value, |value, labels| observer.observe(value, labels));
                        });
                    });
                    let _kept_by_the_meter = counter.build();
                }
                Kind::Gauge => {
                    let gauge = meter.f64_observable_gauge(name).with_description(help);
                    let gauge = gauge.with_unit(unit).with_callback(move |observer| {
                        numbers.visit_gauges(|key, value| {
                            read(name, key, value, |value, labels| {
                                observer.observe(f64::from_bits(value), labels);
                            });
                        });
                    });
                    let _kept_by_the_meter = gauge.build();
                }
                Kind::Histogram(buckets) => {
                    let histogram = meter.f64_histogram(name).with_description(help);
                    let histogram = histogram.with_unit(unit).with_boundaries(buckets.to_vec());
                    histograms.insert(name, histogram.build());
                }
            }
        }
        Self { numbers, histograms }
    }
}

/// The unit in OpenTelemetry's notation; a number of things has none.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn labels(key: &Key) -> Vec<KeyValue> {
    let label =
        |label: &metrics::Label| KeyValue::new(label.key().to_owned(), label.value().to_owned());
    key.labels().map(label).collect()
}

/// Passes the value of a metric to `observe` if the metric has this name.
fn read(name: &str, key: &Key, value: &AtomicU64, observe: impl FnOnce(u64, &[KeyValue])) {
    if key.name() == name {
        observe(value.load(Ordering::Acquire), &labels(key));
    }
}

/// A histogram with these labels.
struct Labelled(Instrument<f64>, Vec<KeyValue>);

impl HistogramFn for Labelled {
    fn record(&self, value: f64) {
        self.0.record(value, &self.1);
    }
}

/// The help texts come from the table.
impl Recorder for Bridge {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.numbers.get_or_create_counter(key, |counter| Counter::from_arc(Arc::clone(counter)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.numbers.get_or_create_gauge(key, |gauge| Gauge::from_arc(Arc::clone(gauge)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let Some(instrument) = self.histograms.get(key.name()) else { return Histogram::noop() };
        Histogram::from_arc(Arc::new(Labelled(instrument.clone(), labels(key))))
    }
}
