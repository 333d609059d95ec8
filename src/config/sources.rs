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
