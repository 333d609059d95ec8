//! One section `[risk.<api>]` of the configuration: the keys every API has, and the rest for the
//! API's own settings.
//!
//! Owns names, defaults and bounds of the common keys, and [`SectionError`], which names a key by
//! its full path. Knows no API. The invariant: a [`Section`] that was read holds only valid values.

use std::time::Duration;

use config::{Map, Value, ValueKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::base_url::{check_base_url, is_no_path};
use super::limits::{Concurrency, Scope};
use crate::decision::Levels;
use crate::findings::values::{self, Flaw};

/// The keys that every section has. All others are the API's own.
const COMMON: [&str; 10] = [
    "serves",
    "base_url",
    "path",
    "timeout",
    "concurrency",
    "concurrency_max",
    "concurrency_scope",
    "rate_limit",
    "rate_limit_scope",
    "policy",
];

/// The bound of `concurrency = "auto"` without `concurrency_max`.
const AUTO_MAX: u32 = 1_000;

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SectionError {
    /// The whole key, such as `risk.intelligent_qr_code.path`.
    pub key: String,
    /// One sentence for the operator.
    pub problem: String,
}

impl SectionError {
    /// A fault of one key.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// The keys that every risk API's section has.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// The kinds of claim that the API serves; its usual kind if the key is absent, none if the
    /// list is empty.
    pub serves: Option<Vec<String>>,
    /// Scheme, host and port of the server or of the gateway before it; the API knows its default.
    pub base_url: Option<String>,
    /// The path below it; the API knows its default.
    pub path: Option<String>,
    /// How long one call may take, from the first byte sent to the last received.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Calls at once. At the bound claims wait.
    pub concurrency: Concurrency,
    /// The bound if `concurrency` is `"auto"`.
    pub concurrency_max: Option<u32>,
    /// The scope of `concurrency`.
    pub concurrency_scope: Scope,
    /// Calls per second; absent means no limit. At the bound claims wait.
    pub rate_limit: Option<f64>,
    /// The scope of `rate_limit`.
    pub rate_limit_scope: Scope,
    /// Which levels lead to which decision; the API knows its default.
    pub policy: Option<Levels>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            serves: None,
            base_url: None,
            path: None,
            timeout: Duration::from_secs(2),
            concurrency: Concurrency::Fixed(64),
            concurrency_max: None,
            concurrency_scope: Scope::Worker,
            rate_limit: None,
            rate_limit_scope: Scope::Worker,
            policy: None,
        }
    }
}

impl Section {
    /// Splits the section of the API `name` into the common keys, checked, and the API's own. Adds
    /// every fault.
    pub fn read(
        name: &str,
        section: Value,
        faults: &mut Vec<SectionError>,
    ) -> Option<(Self, Map<String, Value>)> {
        let prefix = format!("risk.{name}");
        let Ok(table) = section.into_table() else {
            faults.push(SectionError::new(&prefix, "this must be a section"));
            return None;
        };
        let (mut common, own): (Map<_, _>, Map<_, _>) =
            table.into_iter().partition(|(key, _)| COMMON.contains(&key.as_str()));
        if let Some(serves) = common.get_mut("serves") {
            split_list(serves);
        }
        let section: Self = decode(&prefix, common, faults)?;
        faults.extend(section.faults(&prefix));
        Some((section, own))
    }

    /// The bound of calls at once, and whether the worker finds the best number.
    pub fn concurrency(&self) -> (u32, bool) {
        match self.concurrency {
            Concurrency::Fixed(calls) => (calls, false),
            Concurrency::Auto => (self.concurrency_max.unwrap_or(AUTO_MAX), true),
        }
    }

    fn faults(&self, prefix: &str) -> Vec<SectionError> {
        let unless = |holds: bool, key: &str, problem: &str| {
            (!holds).then(|| SectionError::new(format!("{prefix}.{key}"), problem))
        };
        let none = "at least one call at once must be allowed";
        let is_fixed = matches!(self.concurrency, Concurrency::Fixed(_));
        let is_path = |path: &String| path.starts_with('/') && !path.contains(is_no_path);
        let rules = [
            unless(
                !self.serves.iter().flatten().any(String::is_empty),
                "serves",
                "a kind of claim must not be empty",
            ),
            unless(!self.timeout.is_zero(), "timeout", "a call must be given some time"),
            unless(self.concurrency != Concurrency::Fixed(0), "concurrency", none),
            unless(self.concurrency_max != Some(0), "concurrency_max", none),
            unless(
                !is_fixed || matches!(self.concurrency_max, None | Some(0)),
                "concurrency_max",
                "this needs concurrency = \"auto\"",
            ),
            unless(
                self.rate_limit.is_none_or(|rate| rate.is_finite() && rate > 0.0),
                "rate_limit",
                "the calls per second must be more than 0; leave the key out for no limit",
            ),
            self.base_url
                .as_ref()
                .and_then(|url| check_base_url(&format!("{prefix}.base_url"), url).err()),
            unless(
                self.path.as_ref().is_none_or(is_path),
                "path",
                "a path begins with `/` and has neither query nor blanks",
            ),
        ];
        rules.into_iter().flatten().collect()
    }
}

/// Reads a table as the `config` crate does: text from the environment becomes numbers. Adds every
/// fault.
pub(super) fn decode<T: DeserializeOwned>(
    prefix: &str,
    table: Map<String, Value>,
    faults: &mut Vec<SectionError>,
) -> Option<T> {
    let none = Value::new(None, ValueKind::Table(Map::new()));
    let (settings, flaws) = values::read(Value::new(None, ValueKind::Table(table)), &none);
    faults.extend(flaws.into_iter().map(|Flaw { path, problem }| {
        let key = if path.is_empty() { prefix.to_owned() } else { format!("{prefix}.{path}") };
        if problem.starts_with("unknown field") {
            unknown_key(key, &problem)
        } else {
            SectionError { key, problem }
        }
    }));
    settings
}

pub(super) fn unknown_key(key: String, problem: &str) -> SectionError {
    SectionError {
        key,
        problem: format!("{problem}; every section also takes {}", COMMON.join(", ")),
    }
}

/// A list that came from the environment is one text: `qr_code,coupon`.
fn split_list(value: &mut Value) {
    if let ValueKind::String(text) = &value.kind {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        value.kind = ValueKind::Array(words.map(|word| Value::new(None, word)).collect());
    }
}
