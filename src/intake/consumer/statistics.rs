//! Reads the client's statistics and debug lines: whether any broker answers, how far each log was
//! read, which topic was deleted and recreated. Pure.
//!
//! A consumer always sends fetches and heartbeats, even if the worker has nothing to do. So a
//! connection over which nothing comes back is dead.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::progress::Log;

/// How often the client reports statistics.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// The part of the statistics that is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    state: String,
    /// Microseconds since anything was received; -1 for never.
    #[serde(default)]
    rxidle: i64,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<i32, Fetched>,
}

/// A partition. Unknown values are negative.
#[derive(Debug, Deserialize)]
struct Fetched {
    #[serde(default)]
    fetch_state: String,
    /// How many records of all partitions wait to be handed over.
    fetchq_cnt: i64,
    next_offset: i64,
    lo_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
}

impl Broker {
    fn answers(&self, silent_max: Duration) -> bool {
        let silent = u64::try_from(self.rxidle).map(Duration::from_micros);
        self.state == "UP" && silent.is_ok_and(|silent| silent <= silent_max)
    }
}

impl Fetched {
    fn log(&self) -> Option<Log> {
        let is_drained =
            self.fetch_state == "active" && self.fetchq_cnt == 0 && self.next_offset >= 0;
        let log = Log {
            start: self.lo_offset,
            end: self.hi_offset,
            stable: if self.ls_offset < 0 { self.hi_offset } else { self.ls_offset },
            position: is_drained.then_some(self.next_offset),
        };
        (log.start >= 0 && log.end >= 0).then_some(log)
    }
}

impl Statistics {
    /// `None` if they cannot be parsed.
    pub(super) fn read(statistics: &[u8]) -> Option<Self> {
        serde_json::from_slice(statistics).ok()
    }

    /// Whether any broker sent something within `silent_max`.
    pub(super) fn any_answers(&self, silent_max: Duration) -> bool {
        self.brokers.values().any(|broker| broker.answers(silent_max))
    }

    /// The log of each fetched partition.
    pub(super) fn logs(&self) -> impl Iterator<Item = (&str, i32, Log)> {
        self.topics.iter().flat_map(|(name, topic)| {
            topic
                .partitions
                .iter()
                .filter_map(|(number, fetched)| Some((name.as_str(), *number, fetched.log()?)))
        })
    }
}

/// The topic that a debug line reports as recreated: its id has changed.
pub(super) fn recreated(line: &str) -> Option<&str> {
    let (before, ids) = line.split_once(" changed id from ")?;
    let (_, topic) = before.split_once("Topic ")?;
    // The first id replaces none: an id of all zeros.
    (!ids.starts_with("AAAAAAAAAAAAAAAAAAAAA")).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recreated_topic_is_known_by_its_new_id() {
        let line = "[thrd:main]: Topic reward.claims changed id from 0dk5OcUnTSyvdVlVZfuaoQ to \
            1U8YmdZ0R0qTfHZ2rmPWSw";
        assert_eq!(recreated(line), Some("reward.claims"));
        let first =
            "Topic reward.claims changed id from AAAAAAAAAAAAAAAAAAAAAA to 1U8YmdZ0R0qTfHZ2rmPWSw";
        assert_eq!(recreated(first), None);
        assert_eq!(recreated("[thrd:main]: Topic reward.claims [0] Leader 1 Epoch 0"), None);
    }

    fn answers(brokers: &str) -> Option<bool> {
        let text = format!("{{\"ts\": 1, \"brokers\": {{{brokers}}}}}");
        Some(Statistics::read(text.as_bytes())?.any_answers(Duration::from_secs(5)))
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
        assert!(Statistics::read(b"garbage").is_none());
    }

    #[test]
    fn logs_are_those_of_which_something_is_known() {
        let fetched = |number: i32, waiting: i32, start: i64| {
            format!(
                r#""{number}": {{"partition": {number}, "fetch_state": "active", "fetchq_cnt": {waiting},
                "next_offset": 7, "app_offset": 5, "lo_offset": {start}, "hi_offset": 9, "ls_offset": 8}}"#
            )
        };
        let partitions = [fetched(-1, 0, -1001), fetched(0, 0, 3), fetched(1, 2, 3)].join(",");
        let text = format!(
            "{{\"topics\": {{\"claims\": {{\"topic\": \"claims\", \"partitions\": \
             {{{partitions}}}}}}}}}"
        );
        let statistics = Statistics::read(text.as_bytes()).expect("statistics");
        let log = Log { start: 3, end: 9, stable: 8, position: Some(7) };
        let logs: Vec<_> = statistics.logs().collect();
        assert_eq!(logs, [("claims", 0, log), ("claims", 1, Log { position: None, ..log })]);
    }
}
