//! One section `[risk.<api>]` of the configuration: the keys every API has, and the rest for the
//! API's own settings.
//!
//! Owns names, defaults and bounds of the common keys, and [`SectionError`], which names a key by
//! its full path. Knows no API. The invariant: a [`Section`] that was read holds only valid values.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::cell::{OnceCell, RefCell};
use std::time::Duration;

use config::{Map, Value, ValueKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::limits::{Concurrency, Scope};
use super::{Registration, Shared};
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

/// Checks a URL that paths are appended to.
///
/// # Errors
/// [`SectionError`] with this key.
pub fn check_base_url(key: &str, base_url: &str) -> Result<(), SectionError> {
    let host = base_url
        .strip_prefix("https://")
        .or_else(|| base_url.strip_prefix("http://"))
        .unwrap_or_default();
    let authority = host.split('/').next().unwrap_or_default();
    if !is_authority(authority) || host.contains('@') || host.contains(is_no_path) {
        return Err(SectionError::new(
            key,
            "this must be a URL such as `https://host:port`, without credentials",
        ));
    }
    Ok(())
}

/// Whether it is a host with an optional port: with anything else no request could be made.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').unwrap_or_default();
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_host(host), port)
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Whether it may be the name of a host, or its IPv4 address. What ends in a number is an address;
/// one with fewer than four parts, such as `127.1`, is left to the client.
fn is_host(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let ends_in_number = parts.last().is_some_and(|last| last.parse::<u64>().is_ok());
    !text.is_empty()
        && !text.contains(['[', ']', '%', '\\', '<', '>', '^', '|'])
        && (!ends_in_number || parts.len() < 4 || text.parse::<Ipv4Addr>().is_ok())
}

fn is_no_path(character: char) -> bool {
    matches!(character, '?' | '#') || character.is_whitespace() || character.is_control()
}

/// The input of an API's constructor.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The sections that several APIs share.
    pub shared: &'a Shared,
    /// The API's.
    pub registration: &'static Registration,
    base_url: Option<String>,
    /// The result of [`Setup::base_url`].
    in_use: OnceCell<String>,
    path: Option<String>,
    own: Map<String, Value>,
    /// Faults after which the check goes on.
    faults: RefCell<Vec<SectionError>>,
}

impl<'a> Setup<'a> {
    pub(super) fn new(
        registration: &'static Registration,
        section: &Section,
        own: Map<String, Value>,
        shared: &'a Shared,
    ) -> Self {
        let (base_url, path) = (section.base_url.clone(), section.path.clone());
        let (in_use, faults) = (OnceCell::new(), RefCell::default());
        Self { shared, registration, base_url, in_use, path, own, faults }
    }

    /// The API's own settings: the keys of its section that are not common to all.
    ///
    /// # Errors
    /// [`SectionError`], naming the key.
    pub fn settings<T: DeserializeOwned>(&mut self) -> Result<T, SectionError> {
        let prefix = format!("risk.{}", self.registration.name);
        let faults = self.faults.get_mut();
        let settings = decode(&prefix, std::mem::take(&mut self.own), faults);
        settings.ok_or_else(|| {
            faults.pop().unwrap_or_else(|| SectionError::new(prefix, "this cannot be read"))
        })
    }

    /// `base_url`, or the API's default, without the slash at its end.
    pub fn base_url(&self, default: &str) -> String {
        let base_url = self.base_url.as_deref().unwrap_or(default).trim_end_matches('/').to_owned();
        self.in_use.get_or_init(|| base_url.clone());
        base_url
    }

    /// The server of the API, once the API has asked for it.
    pub(super) fn server(&self) -> String {
        self.in_use.get().cloned().unwrap_or_default()
    }

    /// The full key of a key of the section.
    pub fn key(&self, key: &str) -> String {
        format!("risk.{}.{key}", self.registration.name)
    }

    /// `path`, or the API's default.
    pub fn path(&self, default: &str) -> String {
        self.path.as_deref().unwrap_or(default).to_owned()
    }

    /// Requires a key outside the API's section. [`Registry::new`](super::Registry::new) reports it
    /// if it is missing.
    pub fn require(&self, key: &str, value: &str) {
        if value.trim().is_empty() {
            let name = self.registration.name;
            let problem = format!("this is required, because `risk.{name}` is in use");
            self.faults.borrow_mut().push(SectionError::new(key, problem));
        }
    }

    /// All faults after which the check went on, unknown keys among them.
    pub(super) fn finish(self) -> Vec<SectionError> {
        let mut faults = self.faults.into_inner();
        let mut unread: Vec<&String> = self.own.keys().collect();
        unread.sort_unstable();
        let unread = unread.into_iter().map(|key| {
            unknown_key(format!("risk.{}.{key}", self.registration.name), "unknown key")
        });
        faults.extend(unread);
        faults
    }
}

/// Reads a table as the `config` crate does: text from the environment becomes numbers. Adds every
/// fault.
fn decode<T: DeserializeOwned>(
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

fn unknown_key(key: String, problem: &str) -> SectionError {
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
