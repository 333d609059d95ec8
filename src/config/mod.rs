//! Configuration: read and checked as a whole before anything starts.
//!
//! Owns where settings come from and in which order. The meaning of a section belongs to the module
//! that it configures. The invariants: an unknown key is an error that names it; a secret is never
//! printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use config::{File, FileFormat, Map, Value};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

mod check;
mod error;
mod layers;
mod origin;
mod secrets;
mod sources;

use crate::assess::{breaker, egress, retry};
use crate::decision::Policy;
use crate::findings::values::{self, Flaw};
use crate::findings::{Finding, add_further};
use crate::outbox::postgres;
use crate::risk::{self, Registry, Shared, tencent_cloud, wechat};
use crate::{audit, dead_letters, kafka, policy, telemetry};
pub use error::ConfigError;
use error::WHOLE;
pub use origin::Origin;
pub use sources::mistyped_variables;
use sources::{read, read_environment, table};

/// The defaults, embedded: the binary needs no file beside it.
const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Prefix of the environment's keys: `CLAIMGATE__SECTION__KEY`.
const PREFIX: &str = "CLAIMGATE";
/// A placeholder for a credential that is not used.
const NOT_GIVEN: &str = "not-given";

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
    /// `[policy]`
    #[serde(default)]
    pub policy: policy::Settings,
    /// Where the settings came from.
    #[serde(skip)]
    pub origin: Origin,
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Threads of the worker's runtime.
    pub threads: usize,
    /// The most records that are taken on and not yet published. At the bound intake waits.
    pub max_in_flight: usize,
    /// The same bound in bytes of their keys, headers and payloads.
    pub max_in_flight_bytes: usize,
    /// The most records of a flush. Further ones wait for the next flush.
    pub max_batch: usize,
    /// The longest time that a finished record waits for others to share its flush.
    #[serde(with = "humantime_serde")]
    pub max_linger: Duration,
    /// How long a stop or a revocation waits for records in flight.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// What happens to an event whose claim was decided from another event with the same content.
    pub on_duplicate: OnDuplicate,
}

/// What happens to an event whose claim was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDuplicate {
    /// The event is counted, and nothing is published.
    Skip,
    /// The decision is published again.
    Republish,
}

impl Config {
    /// Reads the defaults, `config/<CLAIMGATE_ENV>.toml`, the `file` and the environment, in this
    /// order.
    ///
    /// # Errors
    /// [`ConfigError`]: a file that cannot be read, an unknown key, a value of the wrong type or
    /// out of range.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::whole(Self::look(file))
    }

    /// The same with all faults: a value at fault is replaced by its default. `None` if a whole
    /// source cannot be read.
    pub fn look(file: Option<&Path>) -> (Option<Self>, Vec<Finding>) {
        let mut layers = vec![
            read(File::from_str(DEFAULTS, FileFormat::Toml)),
            read(File::new("config/default.toml", FileFormat::Toml).required(false)),
        ];
        if let Some(name) = std::env::var_os("CLAIMGATE_ENV").filter(|name| !name.is_empty()) {
            let path = format!("config/{}.toml", name.to_string_lossy());
            layers.push(read(File::new(&path, FileFormat::Toml)));
        }
        layers.extend(file.map(|file| read(File::from(file).format(FileFormat::Toml))));
        layers.push(read_environment());
        let (mut config, faults) = Self::of(layers);
        if let Some(config) = &mut config {
            config.origin.file = file.map(Path::to_path_buf);
            config.origin.is_of_files = true;
        }
        (config, faults)
    }

    /// Reads the defaults and these overrides, a TOML text, but not the environment: for tests and
    /// the demo.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(overrides: &str) -> Result<Self, ConfigError> {
        let layers = [DEFAULTS, overrides].map(|text| read(File::from_str(text, FileFormat::Toml)));
        Self::whole(Self::of(layers.into()))
    }

    fn whole((config, faults): (Option<Self>, Vec<Finding>)) -> Result<Self, ConfigError> {
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigError(faults)),
        }
    }

    fn of(layers: Vec<Result<Value, Finding>>) -> (Option<Self>, Vec<Finding>) {
        let (mut root, mut faults) = (table(Map::new()), Vec::new());
        for layer in layers {
            match layer {
                Ok(layer) => layers::overlay(&mut root, layer),
                Err(fault) => faults.push(fault),
            }
        }
        // If a source is missing, the other faults say little.
        if !faults.is_empty() {
            return (None, faults);
        }
        let secret_files = layers::secret_files(&mut root);
        faults = layers::resolve(&mut root);
        let defaults = read(File::from_str(DEFAULTS, FileFormat::Toml));
        let defaults = defaults.unwrap_or_else(|_| table(Map::new()));
        let (mut config, flaws) = values::read::<Self>(root, &defaults);
        faults.extend(flaws.into_iter().map(|Flaw { path, problem }| {
            let place = if path.is_empty() { WHOLE.to_owned() } else { path };
            Finding::wrong(place, problem)
        }));
        if let Some(config) = &mut config {
            config.origin.secret_files = secret_files;
            add_further(&mut faults, config.faults());
        }
        (config, faults)
    }

    /// Builds the risk APIs and the policy.
    ///
    /// # Errors
    /// [`ConfigError`], naming the keys.
    pub fn risk_apis(&self) -> Result<(Registry, Policy), ConfigError> {
        self.risk_apis_with(&self.shared())
    }

    /// The same for commands that call no API: missing credentials are accepted.
    ///
    /// # Errors
    /// As [`Config::risk_apis`].
    pub fn policy(&self) -> Result<(Registry, Policy), ConfigError> {
        let (mut tencent_cloud, mut wechat) = (self.tencent_cloud.clone(), self.wechat.clone());
        for text in [&mut tencent_cloud.secret_id, &mut wechat.app_id] {
            if text.trim().is_empty() {
                NOT_GIVEN.clone_into(text);
            }
        }
        for secret in [&mut tencent_cloud.secret_key, &mut wechat.app_secret] {
            if secret.expose_secret().trim().is_empty() {
                *secret = NOT_GIVEN.into();
            }
        }
        self.risk_apis_with(&Shared {
            tencent_cloud: tencent_cloud.into(),
            wechat: wechat.into(),
            ..self.shared()
        })
    }

    fn shared(&self) -> Shared {
        Shared {
            tencent_cloud: self.tencent_cloud.clone().into(),
            wechat: self.wechat.clone().into(),
            transient_codes: self.retry.transient_codes.clone(),
        }
    }

    fn risk_apis_with(&self, shared: &Shared) -> Result<(Registry, Policy), ConfigError> {
        let registry = Registry::new(self.risk.clone(), shared).map_err(|faults| {
            let finding = |fault: risk::SectionError| Finding::wrong(fault.key, fault.problem);
            ConfigError(faults.into_iter().map(finding).collect())
        })?;
        if registry.is_empty() {
            let sentence = "no API serves any kind of claim; give one a `serves`";
            return Err(ConfigError(vec![Finding::wrong("risk", sentence)]));
        }
        let faults = self.faults_together(&registry);
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        let policy = registry.policy(self.retry.on_unassessed);
        Ok((registry, policy))
    }

    /// The policy in shadow, if there is one. Settings that it lacks are as in the policy in force.
    pub fn shadow(&self, in_force: &Policy) -> Option<Policy> {
        self.policy.shadow.as_ref().map(|shadow| shadow.over(in_force))
    }

    /// The key of subject hashes, if one was given.
    pub fn subject_key(&self) -> Option<&SecretString> {
        self.audit.subject_key()
    }
}

#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod tests;
