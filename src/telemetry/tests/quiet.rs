//! What costs nothing, and what is left out.

use std::sync::Mutex;

use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLoggerProvider};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// As a library does that asks before it formats a line.
fn ask_for_what_nobody_wants() {
    let unwanted = tracing::debug_span!(target: "library", "unwanted");
    let metadata = unwanted.metadata().expect("a disabled span has its call site's");
    tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata));
}

/// Lines in memory.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_library_that_asks_whether_it_should_log_costs_no_line() {
    let lines = Lines::default();
    let (writer, filter) = (lines.clone(), log::filter("info", |_| None).expect("a filter"));
    let (layer, _change) = log::layer(LogFormat::Text, filter, move || writer.clone(), None);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    for _ in 0..2 {
        ask_for_what_nobody_wants();
        tracing::warn!("wanted");
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).expect("text");
    assert_eq!(text.lines().count(), 2, "{text}");
}

/// What a collector of log lines gets.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl LogExporter for Heard {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let bodies = batch.iter().map(|(record, _)| format!("{:?}", record.body()));
        self.0.lock().unwrap().extend(bodies);
        Ok(())
    }
}

#[test]
fn what_is_exported_follows_the_filter_of_what_is_printed() {
    let (lines, heard) = (Lines::default(), Heard::default());
    let provider = SdkLoggerProvider::builder().with_simple_exporter(heard.clone()).build();
    let filter = |text: &str| log::filter(text, |_| None).expect("a filter");
    let (writer, exported) = (lines.clone(), Some(otlp::logs::layer(&provider)));
    let writer = move || writer.clone();
    let (layer, change) = log::layer(LogFormat::Text, filter("info"), writer, exported);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    tracing::debug!("left out");
    tracing::info!("first");
    change(filter("debug")).expect("it is in use");
    tracing::debug!("second");
    tracing::info!(target: "hyper::client", "of a library that exports go through");
    ask_for_what_nobody_wants();
    tracing::warn!("third");
    let heard = heard.0.lock().unwrap().join(" ");
    let places = ["first", "second", "third"].map(|word| heard.find(word));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{heard}");
    assert!(!heard.contains("left out") && !heard.contains("library"), "{heard}");
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).expect("text");
    assert_eq!(text.lines().count(), 4, "{text}");
}
