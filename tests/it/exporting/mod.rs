//! Metrics and log lines as a collector receives them, and collectors that are away.

mod away;
mod logs;
mod metrics;

use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// The exporters that are chosen, not taken for granted.
const BOTH: [(&str, &str); 2] = [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_LOGS_EXPORTER", "otlp")];
