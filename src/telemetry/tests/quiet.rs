//! What costs nothing.

use std::sync::Mutex;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// As a library does that asks before it makes up a line.
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
