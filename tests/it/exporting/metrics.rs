//! Metrics by OTLP: those of `/metrics`, and no others.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};

use super::LONG;
use crate::collector::{Collector, word};
use crate::lab::{Event, Lab, claim};

/// Values by series, as Prometheus writes them: `name{label="value"}`.
type Series = BTreeMap<String, f64>;

fn series(name: &str, mut labels: Vec<(String, String)>) -> String {
    labels.sort();
    let labels: Vec<_> =
        labels.into_iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn labels(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes.iter().map(|label| (label.key.clone(), word(attributes, &label.key))).collect()
}

fn point(name: &str, point: &NumberDataPoint) -> (String, f64) {
    let value = match point.value.expect("a value") {
        Value::AsDouble(value) => value,
        Value::AsInt(value) => value as f64,
    };
    (series(name, labels(&point.attributes)), value)
}

/// The series of one metric in Prometheus.
fn of_metric(metric: &Metric) -> Series {
    let name = &metric.name;
    match metric.data.as_ref().expect("data") {
        Data::Gauge(gauge) => gauge.data_points.iter().map(|it| point(name, it)).collect(),
        Data::Sum(sum) => {
            assert!(sum.is_monotonic, "{name}");
            sum.data_points.iter().map(|it| point(name, it)).collect()
        }
        Data::Histogram(histogram) => {
            let mut all = Series::new();
            for point in &histogram.data_points {
                let labels = labels(&point.attributes);
                let bounds = point.explicit_bounds.iter().map(ToString::to_string);
                let mut below = 0;
                for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
                    below += count;
                    let le = [labels.clone(), vec![("le".to_owned(), bound)]].concat();
                    all.insert(series(&format!("{name}_bucket"), le), below as f64);
                }
                all.insert(series(&format!("{name}_sum"), labels.clone()), point.sum());
                all.insert(series(&format!("{name}_count"), labels), point.count as f64);
            }
            all
        }
        other => panic!("{name} is of another kind: {other:?}"),
    }
}

/// The values in the text of `/metrics`.
fn of_text(text: &str) -> Series {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let of_line = |line: &str| {
        let (of, value) = line.rsplit_once(' ').expect("a value");
        let (name, inside) = of.split_once('{').unwrap_or((of, "}"));
        let inside = inside.trim_end_matches('}');
        let pairs = inside.split("\",").filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (label, value) = pair.split_once("=\"").expect("a label");
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        };
        (series(name, pairs.map(pair).collect()), value.parse().expect("a number"))
    };
    lines.map(of_line).collect()
}

/// Without the histograms that have no value yet, which OpenTelemetry leaves out.
fn with_values(mut series: Series) -> Series {
    let empty: Vec<_> = series
        .iter()
        .filter(|(series, value)| series.contains("_count{") && **value == 0.0)
        .map(|(series, _)| series.trim_end_matches('}').to_owned())
        .collect();
    series.retain(|series, _| {
        let is_part = |empty: &String| {
            let (name, labels) = empty.split_once("_count{").unwrap_or_default();
            series.starts_with(&format!("{name}_")) && series.contains(labels)
        };
        !empty.iter().any(is_part)
    });
    series
}

/// Whether a series moves while nothing happens.
fn moves(series: &str) -> bool {
    let still = ["_total{", "_count{", "_bucket{", "_info{"];
    series.starts_with("process_") || !still.iter().any(|end| series.contains(end))
}

async fn scrape(url: &str) -> Option<String> {
    reqwest::get(url).await.ok()?.text().await.ok()
}

fn names_whose_it_is(collector: &Collector) {
    let resource = collector.taken().resources.pop().expect("a resource").attributes;
    for (key, value) in [
        ("service.name", "claimgate"),
        ("service.instance.id", "w1"),
        ("deployment.environment.name", "lab"),
        ("process.executable.name", "claimgate"),
        ("os.type", std::env::consts::OS),
    ] {
        assert_eq!(word(&resource, key), value, "{key}");
    }
    assert!(!word(&resource, "host.name").is_empty() && !word(&resource, "process.pid").is_empty());
}

/// The collector gets everything that `/metrics` has, and nothing else.
async fn the_same_as_scraped(protocol: &str) {
    let Some(lab) = Lab::new(&format!("metrics-{}", protocol.len())).await else { return };
    let collector = Collector::start().await;
    let (listen, url) = crate::health::with_metrics();
    let variables = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/v1/metrics", collector.url)),
        ("OTEL_METRICS_EXPORTER", "otlp".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300".to_owned()),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab".to_owned()),
    ];
    let mut variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    if protocol == "grpc" {
        variables[0].1 = &collector.url;
    }
    let quick = format!("{listen}[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"");
    let mut worker = lab.worker_with("w1", &quick, &variables);
    let events = [("clm-1", "user-1"), ("clm-2", "user-transient-2"), ("clm-3", "user-3")];
    let mut events: Vec<_> =
        events.into_iter().map(|(id, account)| Event::of(claim(id, account))).collect();
    events.push(Event::of("{"));
    lab.produce(&events);
    lab.wait("the decisions", LONG, async || lab.read("decisions").len() == 3).await;

    let mut difference = Vec::new();
    lab.wait("an export that equals a scrape", LONG, async || {
        let Some(text) = scrape(&url).await else { return false };
        let scraped = with_values(of_text(&text));
        let sent: Series = collector.taken().metrics.iter().flat_map(of_metric).collect();
        let differ = |(series, value): (&String, &f64)| match sent.get(series) {
            Some(sent) => {
                (!moves(series) && sent != value).then(|| format!("{series} {value}, {sent}"))
            }
            None => Some(format!("{series} is not sent")),
        };
        difference = scraped.iter().filter_map(differ).collect();
        let more = sent.keys().filter(|series| !scraped.contains_key(*series));
        difference.extend(more.map(|series| format!("{series} is not scraped")));
        if !difference.is_empty() {
            eprintln!("{difference:#?}");
        }
        difference.is_empty() && scraped.len() > 100
    })
    .await;

    let decided = |metric: &&Metric| metric.name == "claimgate_claim_duration_seconds";
    let metrics = collector.taken().metrics.clone();
    let metric = metrics.iter().find(decided).expect("claims were decided");
    assert_eq!(
        (metric.unit.as_str(), of_metric(metric)[r"claimgate_claim_duration_seconds_count{}"]),
        ("s", 3.0)
    );
    assert!(!metric.description.is_empty());
    assert_eq!(collector.compressed(), Some(true));
    assert_eq!(worker.stop().await, Some(0));
    names_whose_it_is(&collector);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_has_by_http_what_a_scraper_has() {
    the_same_as_scraped("http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_has_by_grpc_what_a_scraper_has() {
    the_same_as_scraped("grpc").await;
}
