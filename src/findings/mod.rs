//! The findings of a check of the configuration and the surroundings: one line for each thing that
//! was checked. Pure.
//!
//! A message of claimgate says what is wrong and then, after `; `, what to do about it.
//!
//! ```
//! use claimgate::findings::{Finding, Severity};
//!
//! let refused = Err("connection refused; check kafka.bootstrap_servers".to_owned());
//! let finding = Finding::of("Kafka", refused);
//! assert_eq!(finding.severity, Severity::Wrong);
//! assert_eq!(finding.remedy.as_deref(), Some("check kafka.bootstrap_servers"));
//! ```

use std::fmt;

use serde::Serialize;

mod strict;
pub(crate) mod values;

/// The state of the thing that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is good.
    Ok,
    /// The worker can work, but operators should know.
    Warning,
    /// The worker cannot work, or would lose something.
    Wrong,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its state.
    pub severity: Severity,
    /// Which thing: `Kafka`, `risk.captcha_check`, a key, an environment variable.
    pub place: String,
    /// A description of its state, or what is wrong.
    pub message: String,
    /// What to do about it; `None` if the message says all that is known.
    pub remedy: Option<String>,
}

impl Finding {
    /// A good state.
    pub fn ok(place: impl Into<String>, message: impl Into<String>) -> Self {
        let (place, message) = (place.into(), message.into());
        Self { severity: Severity::Ok, place, message, remedy: None }
    }

    /// A warning.
    pub fn warning(place: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::wrong(place, sentence) }
    }

    /// A fault: the worker cannot work with it.
    pub fn wrong(place: impl Into<String>, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        let (message, remedy) = match sentence.split_once("; ") {
            Some((message, remedy)) => (message.to_owned(), Some(remedy.to_owned())),
            None => (sentence, None),
        };
        Self { severity: Severity::Wrong, place: place.into(), message, remedy }
    }

    /// Good, or wrong with this message.
    pub fn of(place: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(message) => Self::ok(place, message),
            Err(sentence) => Self::wrong(place, sentence),
        }
    }

    /// What is wrong and what to do about it, in one line: messages of libraries may have several.
    pub fn sentence(&self) -> String {
        let remedy = self.remedy.iter().map(|remedy| format!("; {remedy}"));
        let sentence = [self.message.clone()].into_iter().chain(remedy).collect::<String>();
        sentence.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Ok => "ok   ",
            Severity::Warning => "warn ",
            Severity::Wrong => "WRONG",
        };
        write!(f, "{severity} {}: {}", self.place, self.sentence())
    }
}

/// Adds findings, except consequences of earlier ones: a value at fault is read as its default, and
/// faults that follow from the default are not real.
pub(crate) fn add_further(faults: &mut Vec<Finding>, more: Vec<Finding>) {
    let known: Vec<String> =
        faults.iter().map(|fault| fault.place.trim_end_matches("_file").to_owned()).collect();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
    let names = |text: &str, key: &str| {
        let mut words = text.split(|letter| !is_part(letter));
        words.any(|word| {
            word.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let follows = |fault: &Finding| {
        known.iter().any(|key| names(&fault.place, key) || names(&fault.message, key))
    };
    faults.extend(more.into_iter().filter(|fault| !follows(fault)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_remedy_stands_apart() {
        let finding = Finding::wrong("Kafka", "no broker\nanswers; start one; or name another");
        assert_eq!(
            finding.to_string(),
            "WRONG Kafka: no broker answers; start one; or name another"
        );
        assert_eq!(finding.remedy.as_deref(), Some("start one; or name another"));
        let json = serde_json::to_value(Finding::warning("audit", "no key")).expect("JSON");
        let expected = serde_json::json!(
            {"severity": "warning", "place": "audit", "message": "no key", "remedy": null}
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn what_follows_from_a_known_fault_is_left_out() {
        let mut faults = vec![
            Finding::wrong("kafka.session_timeout", "no duration"),
            Finding::wrong("wechat.app_secret_file", "cannot be read"),
            Finding::wrong("postgres", "no section"),
        ];
        add_further(
            &mut faults,
            vec![
                Finding::wrong("kafka.transaction_timeout", "longer than kafka.session_timeout"),
                Finding::wrong("wechat.app_secret", "this is required"),
                Finding::wrong("postgres.url", "this is empty"),
                Finding::wrong("kafka.session_timeout_max", "another key"),
            ],
        );
        let places: Vec<&str> = faults[3..].iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places, ["kafka.session_timeout_max"]);
    }
}
