//! `claimgate check`: checks everything that a worker needs, and reports all faults at once.

mod configuration;
mod surroundings;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::report::{count, print};
use crate::config::Config;
use crate::findings::{Finding, Severity, add_further};
pub(super) use configuration::egress;

/// The options of `claimgate check`.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub struct CheckCommand {
    /// Check the configuration alone, without a connection to Kafka, PostgreSQL or a risk API
    #[arg(long)]
    offline: bool,
    /// Answer in JSON, one document
    #[arg(long)]
    #[serde(skip)]
    json: bool,
}

/// Checks everything that a worker needs, and prints the findings.
///
/// # Errors
/// What is wrong, in one sentence; every finding was printed.
pub async fn check(file: Option<&Path>, command: CheckCommand) -> Result<(), Failure> {
    let (config, mut findings) = Config::look(file);
    let fault = findings.first().map(|first| format!("{}: {}", first.place, first.sentence()));
    let apis = match &config {
        Some(config) => {
            let (apis, mut found) = configuration::look_at(config);
            // A good finding about a default says nothing about the value at fault that it
            // replaces.
            found.retain(|found| fault.is_none() || found.severity != Severity::Ok);
            add_further(&mut findings, found);
            apis
        }
        None => None,
    };
    match (&config, &fault) {
        _ if command.offline => {}
        (Some(config), None) => {
            findings.extend(surroundings::look_at(config, apis.as_ref()).await);
        }
        _ => {
            let sentence = "Kafka, PostgreSQL and the risk APIs were not contacted; correct the \
                            configuration, then check again";
            findings.push(Finding::warning("connections", sentence));
        }
    }
    print(&findings, command.json.then_some(&command))?;
    end(&findings, fault)
}

/// How the command ends: `fault` is that of a configuration that cannot be read.
fn end(findings: &[Finding], fault: Option<String>) -> Result<(), Failure> {
    let failed = match count(findings, Severity::Wrong) {
        0 => return Ok(()),
        wrong => format!("{wrong} of {} checks failed", findings.len()),
    };
    let sentence = match fault {
        Some(fault) => format!("configuration: {fault} ({failed})"),
        None => failed,
    };
    Err(Failure::from(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_stop_no_worker_and_a_fault_does() {
        let (warning, wrong) = (Finding::warning("a", "b"), Finding::wrong("c", "d"));
        assert!(end(std::slice::from_ref(&warning), None).is_ok());
        let failure = end(&[warning, wrong], None).expect_err("wrong");
        assert_eq!((failure.code, failure.sentence.as_deref()), (1, Some("1 of 2 checks failed")));
    }
}
