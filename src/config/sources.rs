//! Reads the sources of settings: files and the environment, each as one table.
//!
//! The invariant: an error about a source quotes nothing of it.

use config::{Config as Sources, Environment, Map, Source, Value, ValueKind};

use super::PREFIX;
use super::error::WHOLE;
use crate::findings::Finding;

pub(super) fn table(map: Map<String, Value>) -> Value {
    Value::new(None, ValueKind::Table(map))
}

/// Reads one source.
pub(super) fn read(source: impl Source + Send + Sync + 'static) -> Result<Value, Finding> {
    let built = Sources::builder().add_source(source).build();
    built.map(|built| built.cache).map_err(|error| describe(&error))
}

/// The error of a source that cannot be read. The TOML parser quotes the line at fault, which may
/// hold a secret. So the message has the place and the fault, but not the line.
fn describe(error: &config::ConfigError) -> Finding {
    let config::ConfigError::FileParse { uri, cause } = error else {
        return Finding::wrong(WHOLE, error.to_string());
    };
    let cause = cause.to_string();
    let lines = cause.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    let file = uri.as_deref().unwrap_or(WHOLE);
    Finding::wrong(file, lines.collect::<Vec<_>>().join(": "))
}

/// Reads the environment. A value that is not UTF-8 is refused here, because the reader's own error
/// would print it.
pub(super) fn read_environment() -> Result<Value, Finding> {
    let ours = |name: &std::ffi::OsString| {
        name.to_string_lossy().to_uppercase().starts_with("CLAIMGATE__")
    };
    if let Some((name, _)) =
        std::env::vars_os().find(|(name, value)| ours(name) && value.to_str().is_none())
    {
        return Err(Finding::wrong(name.to_string_lossy(), "the value is not UTF-8 text"));
    }
    let environment = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__");
    read(environment.ignore_empty(false))
}

/// The sections of the configuration, as variables write them.
const SECTIONS: [&str; 14] = [
    "AUDIT",
    "BREAKER",
    "DEAD_LETTERS",
    "EGRESS",
    "HTTP",
    "KAFKA",
    "POLICY",
    "POSTGRES",
    "RETRY",
    "RISK",
    "TELEMETRY",
    "TENCENT_CLOUD",
    "WECHAT",
    "WORKER",
];

/// Findings: variables that look like settings, and are none.
pub fn mistyped_variables() -> Vec<Finding> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    names.filter_map(|name| mistyped(&name)).collect()
}

/// A variable with one underscore before the section. The prefix does not fit, so that it has no
/// effect, and no key is unknown.
fn mistyped(name: &str) -> Option<Finding> {
    let upper = name.to_uppercase();
    let rest = upper.strip_prefix("CLAIMGATE_")?;
    let (section, key) = SECTIONS.into_iter().find_map(|section| {
        let key = rest.strip_prefix(section)?.strip_prefix('_')?;
        Some((section, key))
    })?;
    let right = format!("CLAIMGATE__{section}__{}", key.trim_start_matches('_'));
    let sentence =
        format!("has no effect: it has one underscore where a setting has two; name it {right}");
    Some(Finding::warning(name, sentence))
}

#[cfg(test)]
mod tests {
    use config::{File, FileFormat};

    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn a_variable_with_too_few_underscores_is_reported() {
        for (name, right) in [
            ("CLAIMGATE_POSTGRES_URL", "CLAIMGATE__POSTGRES__URL"),
            ("CLAIMGATE_POSTGRES__URL_FILE", "CLAIMGATE__POSTGRES__URL_FILE"),
            ("claimgate_dead_letters_max_run", "CLAIMGATE__DEAD_LETTERS__MAX_RUN"),
            ("CLAIMGATE_RISK_MINI_PROGRAM__TIMEOUT", "CLAIMGATE__RISK__MINI_PROGRAM__TIMEOUT"),
        ] {
            let told = mistyped(name).expect(name);
            assert_eq!(
                (told.place.as_str(), told.remedy),
                (name, Some(format!("name it {right}")))
            );
        }
        for name in
            ["CLAIMGATE__POSTGRES__URL", "CLAIMGATE_ENV", "CLAIMGATE_COMMIT", "POSTGRES_URL"]
        {
            assert_eq!(mistyped(name), None, "{name}");
        }
    }

    #[test]
    fn every_section_is_known() {
        let defaults = read(File::from_str(DEFAULTS, FileFormat::Toml)).expect("TOML");
        for section in defaults.into_table().expect("sections").into_keys() {
            assert!(SECTIONS.contains(&section.to_uppercase().as_str()), "{section}");
        }
    }
}
