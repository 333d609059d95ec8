//! `claimgate policy …`: reads the files that the command names, and writes the answer to the
//! standard output.

use std::io::Write;
use std::path::Path;

use super::Failure;
use super::commands::DISAGREES;
use crate::config::Config;
use crate::policy::{PolicyCommand, cases, try_cases};
use crate::risk::Registry;

/// Shows a policy, or tests it by the examples of a file.
///
/// # Errors
/// One sentence: a file cannot be read (each fault was printed), or the policy decides otherwise.
pub fn policy(config: &Config, command: &PolicyCommand) -> Result<(), Failure> {
    let other = command.other().map(|file| Config::load(Some(file))).transpose();
    let other = other.map_err(|error| error.to_string())?;
    let config = other.as_ref().unwrap_or(config);
    let (registry, mut policy) = config.policy().map_err(|error| error.to_string())?;
    let mut shadow = config.shadow(&policy);
    if command.is_of_shadow() {
        policy = shadow.take().ok_or_else(|| "there is no [policy.shadow]".to_owned())?;
    }
    let mut out = std::io::stdout().lock();
    let unwritten = |error: std::io::Error| format!("the answer cannot be written: {error}");
    let Some(file) = command.examples() else {
        return Ok(command
            .show(&registry, &policy, shadow.as_ref(), &mut out)
            .map_err(unwritten)?);
    };
    let trial = try_cases(&read(file, &registry)?, &registry, &policy);
    write!(out, "{trial}").and_then(|()| out.flush()).map_err(unwritten)?;
    if trial.failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(DISAGREES, "the policy does not decide as the examples expect"))
}

/// The examples of a file. The last fault is the command's own sentence.
fn read(file: &Path, registry: &Registry) -> Result<Vec<crate::policy::Case>, String> {
    let place = file.display();
    let toml = std::fs::read_to_string(file)
        .map_err(|error| format!("{place} cannot be read: {error}"))?;
    cases(&toml, registry).map_err(|mut faults| {
        let last = faults.pop().unwrap_or_default();
        faults.iter().for_each(|fault| eprintln!("claimgate: {place}: {fault}"));
        format!("{place}: {last}")
    })
}
