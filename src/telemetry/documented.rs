//! Holds the tables of `docs/metrics.md` against the code, in both directions.

use std::collections::BTreeSet;

use super::metrics::{ALL, Kind, Metric};
use crate::decision::Decision;
use crate::kafka::{Input, Topic};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// Names, types with units and labels; what a metric means is prose.
#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let in_code = |metric: &Metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let unit = match metric.name.rsplit('_').next() {
            Some("seconds") => ", s",
            Some("bytes") => ", bytes",
            _ => "",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("`{}` | {kind}{unit} | {}", metric.name, labels.join(", "))
    };
    let is_metric =
        |row: &&str| ["`claimgate_", "`process_"].iter().any(|name| row.starts_with(name));
    let in_page = |row: &str| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        format!("{} | {} | {}", cells[0], cells[1].trim_end_matches(", 0 or 1"), cells[2])
    };
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| "));
    let page: BTreeSet<_> = rows.filter(is_metric).map(in_page).collect();
    let code: BTreeSet<_> = ALL.iter().map(in_code).collect();
    let missing: Vec<_> = code.difference(&page).collect();
    let left_over: Vec<_> = page.difference(&code).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "docs/metrics.md lacks {missing:#?} and has {left_over:#?}"
    );
}

#[test]
fn the_documentation_explains_every_label() {
    let values = |label: &str| {
        let row = format!("| `{label}` | ");
        PAGE.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_else(|| panic!("{label}"))
    };
    for label in ALL.iter().flat_map(|metric| metric.labels) {
        assert!(!values(label).is_empty(), "{label}");
    }
    let decisions = Decision::ALL.map(|decision| ("decision", decision.as_str()));
    let topics = Topic::ALL.map(|topic| ("topic", topic.label()));
    let inputs = [Input::Claims, Input::Retry].map(|input| ("topic", input.label()));
    for (label, value) in decisions.into_iter().chain(topics).chain(inputs) {
        assert!(values(label).contains(&format!("`{value}`")), "{label}: {value}");
    }
}
