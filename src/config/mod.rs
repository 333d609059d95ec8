//! Configuration: one value, checked whole, before anything starts.
//!
//! Owns where settings come from and in which order; what a section means belongs to the module that it configures. The invariants: an
//! unknown key is an error that names it; a secret is never printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use config::{Config as Sources, Environment, File, FileFormat, Map, Value, ValueKind};
use secrecy::SecretString;
use serde::Deserialize;

use crate::assess::{breaker, retry};
use crate::decision::Policy;
use crate::outbox::postgres;
use crate::risk::{Registry, Shared, tencent_cloud, wechat};
use crate::{audit, dead_letters, kafka, telemetry};

/// The defaults, embedded: the binary needs no file beside it.
const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Prefix of the environment's keys: `CLAIMGATE__SECTION__KEY`.
const PREFIX: &str = "CLAIMGATE";
/// Keys that may be given as a file's path, with `_file` appended.
const SECRETS: [(&str, &str); 6] = [
    ("audit", "subject_key"),
    ("postgres", "url"),
    ("tencent_cloud", "secret_id"),
    ("tencent_cloud", "secret_key"),
    ("tencent_cloud", "token"),
    ("wechat", "app_secret"),
];

/// Everything that can be set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[kafka]`
    pub kafka: kafka::Settings,
    /// `[postgres]`
    pub postgres: postgres::Settings,
    /// `[worker]`
    pub worker: Worker,
    /// `[retry]`
    pub retry: retry::Settings,
    /// `[breaker]`
    pub breaker: breaker::Settings,
    /// `[dead_letters]`
    pub dead_letters: dead_letters::Settings,
    /// `[tencent_cloud]`
    pub tencent_cloud: tencent_cloud::Settings,
    /// `[wechat]`
    pub wechat: wechat::Settings,
    /// `[risk.<api>]`, read by the APIs themselves.
    pub risk: BTreeMap<String, Value>,
    /// `[http]`
    pub http: telemetry::http::Settings,
    /// `[telemetry]`
    pub telemetry: telemetry::Settings,
    /// `[audit]`
    pub audit: audit::Settings,
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Threads of the worker's runtime.
    pub threads: usize,
    /// Records taken on and not yet published; at the bound intake waits.
    pub max_in_flight: usize,
    /// The same, in bytes of their keys, headers and payloads.
    pub max_in_flight_bytes: usize,
    /// Records recorded and published at once; what is more waits for the next flush.
    pub max_batch: usize,
    /// How long a stop or a revoked partition waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// What becomes of an event whose claim was decided from another event with the same content.
    pub on_duplicate: OnDuplicate,
}

/// What becomes of an event whose claim was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDuplicate {
    /// It is counted, and nothing is published.
    Skip,
    /// The decision is published once more.
    Republish,
}

/// What is wrong with the configuration: one sentence that names the key.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads the defaults, `config/<CLAIMGATE_ENV>.toml`, the `file` and the environment, in this order.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, an unknown key, a value of the wrong type or out of range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut sources = Sources::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        sources = sources.add_source(File::new("config/default.toml", FileFormat::Toml).required(false));
        if let Ok(name) = std::env::var("CLAIMGATE_ENV") {
            sources = sources.add_source(File::new(&format!("config/{name}.toml"), FileFormat::Toml));
        }
        if let Some(file) = file {
            sources = sources.add_source(File::from(file).format(FileFormat::Toml));
        }
        let environment =
            Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").ignore_empty(false);
        Self::of(sources.add_source(environment).build().map_err(|error| ConfigError(error.to_string()))?)
    }

    /// Reads the defaults and these overrides, a TOML text, and nothing of the environment: for tests and the demo.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(overrides: &str) -> Result<Self, ConfigError> {
        let sources = [DEFAULTS, overrides].map(|text| File::from_str(text, FileFormat::Toml));
        let built = Sources::builder().add_source(sources.to_vec()).build();
        Self::of(built.map_err(|error| ConfigError(error.to_string()))?)
    }

    fn of(sources: Sources) -> Result<Self, ConfigError> {
        let mut root = sources.cache;
        read_secret_files(&mut root)?;
        let config: Self = serde_path_to_error::deserialize(root).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner().to_string();
            ConfigError(if path == "." { problem } else { format!("{path}: {problem}") })
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.kafka.check().map_err(ConfigError)?;
        self.dead_letters.check().map_err(ConfigError)?;
        let positive = [
            ("worker.threads", self.worker.threads),
            ("worker.max_in_flight", self.worker.max_in_flight),
            ("worker.max_in_flight_bytes", self.worker.max_in_flight_bytes),
            ("worker.max_batch", self.worker.max_batch),
            ("kafka.max_event_bytes", self.kafka.max_event_bytes),
            ("kafka.max_message_bytes", self.kafka.max_message_bytes),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError(format!("{key}: must be at least 1")));
        }
        if !(self.retry.multiplier >= 1.0 && self.retry.multiplier.is_finite()) {
            return Err(ConfigError("retry.multiplier: must be at least 1".to_owned()));
        }
        if self.retry.initial_interval.is_zero() || self.retry.initial_interval > self.retry.max_interval {
            return Err(ConfigError(
                "retry.initial_interval: must be more than 0 and no more than retry.max_interval".to_owned(),
            ));
        }
        let ratio = |key: &str, value: f64| match value {
            0.0..=1.0 => Ok(()),
            _ => Err(ConfigError(format!("{key}: must be between 0 and 1"))),
        };
        ratio("breaker.failure_ratio", self.breaker.failure_ratio)?;
        ratio("retry.budget.ratio", self.retry.budget.ratio)?;
        // With less, a retry could wait for ever, and a breaker could stay open for ever.
        if !(self.retry.budget.per_second > 0.0 && self.retry.budget.reserve >= 1.0) {
            return Err(ConfigError(
                "retry.budget: per_second must be more than 0 and reserve at least 1".to_owned(),
            ));
        }
        if self.breaker.open_for.is_zero() || self.breaker.min_calls == 0 || self.breaker.probes == 0 {
            return Err(ConfigError(
                "breaker: open_for, min_calls and probes must be more than 0".to_owned(),
            ));
        }
        Ok(())
    }

    /// Builds the risk APIs and the policy.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn risk_apis(&self) -> Result<(Registry, Policy), ConfigError> {
        let shared = Shared {
            tencent_cloud: self.tencent_cloud.clone(),
            wechat: self.wechat.clone(),
            transient_codes: self.retry.transient_codes.clone(),
        };
        let registry =
            Registry::new(self.risk.clone(), &shared).map_err(|error| ConfigError(error.to_string()))?;
        if registry.is_empty() {
            return Err(ConfigError("risk: no API serves any kind of claim; give one a `serves`".to_owned()));
        }
        let policy = registry.policy(self.retry.on_unassessed);
        Ok((registry, policy))
    }

    /// The key of subject hashes, where one was given.
    pub fn subject_key(&self) -> Option<&SecretString> {
        self.audit.subject_key()
    }
}

/// Puts the content of `<key>_file` in the place of `<key>`.
fn read_secret_files(root: &mut Value) -> Result<(), ConfigError> {
    let ValueKind::Table(sections) = &mut root.kind else { return Ok(()) };
    for (section, key) in SECRETS {
        let Some(ValueKind::Table(table)) = sections.get_mut(section).map(|value| &mut value.kind) else {
            continue;
        };
        read_secret_file(table, section, key)?;
    }
    Ok(())
}

fn read_secret_file(table: &mut Map<String, Value>, section: &str, key: &str) -> Result<(), ConfigError> {
    let Some(path) = table.remove(&format!("{key}_file")) else { return Ok(()) };
    let path = path.into_string().unwrap_or_default();
    let secret = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError(format!("{section}.{key}_file: cannot read {path:?}: {error}")))?;
    table.insert(key.to_owned(), Value::new(None, secret.trim_end_matches(['\r', '\n'])));
    Ok(())
}

#[cfg(test)]
mod tests;
