//! Configuration: one value, checked whole, before anything starts.
//!
//! Owns where settings come from and in which order; what a section means belongs to the module
//! that it configures. The invariants: an unknown key is an error that names it; a secret is never
//! printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use config::{Config as Sources, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use secrecy::SecretString;
use serde::Deserialize;

mod check;
mod layers;
mod secrets;

use crate::assess::{breaker, egress, retry};
use crate::decision::Policy;
use crate::outbox::postgres;
use crate::risk::{Registry, Shared, tencent_cloud, wechat};
use crate::{audit, dead_letters, kafka, telemetry};

/// The defaults, embedded: the binary needs no file beside it.
const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Prefix of the environment's keys: `CLAIMGATE__SECTION__KEY`.
const PREFIX: &str = "CLAIMGATE";
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
    /// `[egress]`
    pub egress: egress::Settings,
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
    /// How long a claim that has its end waits at most for others to share its flush.
    #[serde(with = "humantime_serde")]
    pub max_linger: Duration,
    /// How long a stop or a revoked partition waits for what is in flight.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// What happens to an event whose claim was decided from another event with the same content.
    pub on_duplicate: OnDuplicate,
}

/// What happens to an event whose claim was decided before.
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
    /// Reads the defaults, `config/<CLAIMGATE_ENV>.toml`, the `file` and the environment, in this
    /// order.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, an unknown key, a value of the wrong type or
    /// out of range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut root = table(Map::new());
        layers::overlay(&mut root, read(File::from_str(DEFAULTS, FileFormat::Toml))?);
        layers::overlay(
            &mut root,
            read(File::new("config/default.toml", FileFormat::Toml).required(false))?,
        );
        if let Some(name) = std::env::var_os("CLAIMGATE_ENV").filter(|name| !name.is_empty()) {
            let path = format!("config/{}.toml", name.to_string_lossy());
            layers::overlay(&mut root, read(File::new(&path, FileFormat::Toml))?);
        }
        if let Some(file) = file {
            layers::overlay(&mut root, read(File::from(file).format(FileFormat::Toml))?);
        }
        check_environment()?;
        let environment = Environment::with_prefix(PREFIX)
            .prefix_separator("__")
            .separator("__")
            .ignore_empty(false);
        layers::overlay(&mut root, read(environment)?);
        Self::of(root)
    }

    /// Reads the defaults and these overrides, a TOML text, and nothing of the environment: for
    /// tests and the demo.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(overrides: &str) -> Result<Self, ConfigError> {
        let mut root = table(Map::new());
        for text in [DEFAULTS, overrides] {
            layers::overlay(&mut root, read(File::from_str(text, FileFormat::Toml))?);
        }
        Self::of(root)
    }

    fn of(mut root: Value) -> Result<Self, ConfigError> {
        layers::resolve(&mut root)?;
        let config: Self = serde_path_to_error::deserialize(root).map_err(|error| {
            let path = error.path().to_string();
            let problem = error.into_inner().to_string();
            ConfigError(if path == "." { problem } else { format!("{path}: {problem}") })
        })?;
        config.check()?;
        Ok(config)
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
        let registry = Registry::new(self.risk.clone(), &shared)
            .map_err(|error| ConfigError(error.to_string()))?;
        if registry.is_empty() {
            return Err(ConfigError(
                "risk: no API serves any kind of claim; give one a `serves`".to_owned(),
            ));
        }
        self.check_together(&registry)?;
        let policy = registry.policy(self.retry.on_unassessed);
        Ok((registry, policy))
    }

    /// The key of subject hashes, where one was given.
    pub fn subject_key(&self) -> Option<&SecretString> {
        self.audit.subject_key()
    }
}

fn table(map: Map<String, Value>) -> Value {
    Value::new(None, ValueKind::Table(map))
}

/// Reads one source.
fn read(source: impl Source + Send + Sync + 'static) -> Result<Value, ConfigError> {
    let built = Sources::builder().add_source(source).build();
    built.map(|built| built.cache).map_err(|error| ConfigError(describe(&error)))
}

/// The words of a source that cannot be read. The TOML parser quotes the line at fault, which may
/// hold a secret: its place and what is wrong with it are kept, the line is left out.
fn describe(error: &config::ConfigError) -> String {
    let config::ConfigError::FileParse { uri, cause } = error else { return error.to_string() };
    let cause = cause.to_string();
    let lines = cause.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    let file = uri.as_deref().unwrap_or("the configuration");
    format!("{file}: {}", lines.collect::<Vec<_>>().join(": "))
}

/// Refuses a value that is no text; the reader's own error would print it.
fn check_environment() -> Result<(), ConfigError> {
    let ours = |name: &std::ffi::OsString| {
        name.to_string_lossy().to_uppercase().starts_with("CLAIMGATE__")
    };
    match std::env::vars_os().find(|(name, value)| ours(name) && value.to_str().is_none()) {
        Some((name, _)) => {
            Err(ConfigError(format!("{}: the value is not UTF-8 text", name.to_string_lossy())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod tests;
