//! Whether any broker answers, by what the client counts of itself (librdkafka's statistics). Pure.
//!
//! A worker that has nothing to do sends nothing of its own accord, but its consumer always asks for records and beats for its group: a
//! connection over which nothing comes back is as good as none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// How often the client counts.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// Of the statistics, what is looked at.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    state: String,
    /// Microseconds since anything was received; -1 for never.
    #[serde(default)]
    rxidle: i64,
}

impl Broker {
    fn answers(&self, silent_max: Duration) -> bool {
        let silent = u64::try_from(self.rxidle).map(Duration::from_micros);
        self.state == "UP" && silent.is_ok_and(|silent| silent <= silent_max)
    }
}

/// Whether any broker was heard of within `silent_max`. `None` where the statistics cannot be read.
pub(super) fn any_answers(statistics: &[u8], silent_max: Duration) -> Option<bool> {
    let statistics: Statistics = serde_json::from_slice(statistics).ok()?;
    Some(statistics.brokers.values().any(|broker| broker.answers(silent_max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(brokers: &str) -> Option<bool> {
        any_answers(format!("{{\"ts\": 1, \"brokers\": {{{brokers}}}}}").as_bytes(), Duration::from_secs(5))
    }

    #[test]
    fn one_broker_that_was_heard_of_lately_is_enough() {
        let up = r#""a": {"state": "UP", "rxidle": 400000, "nodeid": 1}"#;
        let down = r#""b": {"state": "DOWN", "rxidle": 400000}"#;
        assert_eq!(answers(&format!("{up}, {down}")), Some(true));
        assert_eq!(answers(down), Some(false));
        assert_eq!(answers(""), Some(false));
    }

    #[test]
    fn a_connection_over_which_nothing_comes_is_none() {
        assert_eq!(answers(r#""a": {"state": "UP", "rxidle": 6000000}"#), Some(false));
        assert_eq!(answers(r#""a": {"state": "UP", "rxidle": -1}"#), Some(false));
        assert_eq!(any_answers(b"garbage", Duration::from_secs(5)), None);
    }
}
