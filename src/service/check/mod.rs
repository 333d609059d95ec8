//! `claimgate check`: everything that a worker needs, and everything that is wrong with it at once.

mod configuration;
mod surroundings;

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::Failure;
use crate::config::Config;
use crate::findings::{Finding, Severity, add_further};
pub(super) use configuration::egress;

/// How `claimgate check` looks, and how it answers.
#[derive(Debug, Clone, Copy, Args)]
pub struct CheckCommand {
    /// Look at the configuration alone: nothing is asked of Kafka, PostgreSQL or a risk API
    #[arg(long)]
    offline: bool,
    /// Answer in JSON, one document
    #[arg(long)]
    json: bool,
}

/// What was found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The worst of all findings.
    severity: Severity,
    /// Whether nothing but the configuration was looked at.
    offline: bool,
    /// How many findings are wrong: each keeps the worker from working.
    wrong: usize,
    /// How many are warnings.
    warnings: usize,
    findings: &'a [Finding],
}

/// Looks at everything that a worker needs, and prints what it finds.
///
/// # Errors
/// What is wrong, in one sentence; every finding was printed.
pub async fn check(file: Option<&Path>, command: CheckCommand) -> Result<(), Failure> {
    let (config, mut findings) = Config::look(file);
    let fault = findings.first().map(|first| format!("{}: {}", first.place, first.sentence()));
    let registry = match &config {
        Some(config) => {
            let (registry, mut found) = configuration::look_at(config);
            // What a default makes well says nothing of the value at fault in its place.
            found.retain(|found| fault.is_none() || found.severity != Severity::Ok);
            add_further(&mut findings, found);
            registry
        }
        None => None,
    };
    match (&config, &fault) {
        _ if command.offline => {}
        (Some(config), None) => {
            findings.extend(surroundings::look_at(config, registry.as_ref()).await);
        }
        _ => {
            let sentence = "nothing was asked of Kafka, PostgreSQL and the risk APIs; mend the \
                            configuration, then check again";
            findings.push(Finding::warning("connections", sentence));
        }
    }
    print(&findings, command, &mut std::io::stdout().lock())
        .map_err(|error| format!("the findings cannot be written: {error}"))?;
    end(&findings, fault)
}

fn print(findings: &[Finding], command: CheckCommand, out: &mut impl Write) -> io::Result<()> {
    if command.json {
        let severity = findings.iter().map(|finding| finding.severity).max();
        let report = Report {
            severity: severity.unwrap_or(Severity::Ok),
            offline: command.offline,
            wrong: count(findings, Severity::Wrong),
            warnings: count(findings, Severity::Warning),
            findings,
        };
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
    }
    out.flush()
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

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_finding_and_what_is_worst() {
        let findings = [
            Finding::ok("risk APIs", "6 built"),
            Finding::wrong("worker.threads", "must be at least 1"),
            Finding::warning("audit", "no key; set one"),
        ];
        let print = |json, findings: &[Finding]| {
            let mut out = Vec::new();
            let command = CheckCommand { offline: true, json };
            super::print(findings, command, &mut out).expect("written");
            String::from_utf8(out).expect("text")
        };
        let expected = serde_json::json!({
            "severity": "wrong", "offline": true, "wrong": 1, "warnings": 1,
            "findings": [
                {"severity": "ok", "place": "risk APIs", "message": "6 built", "remedy": null},
                {"severity": "wrong", "place": "worker.threads", "message": "must be at least 1",
                 "remedy": null},
                {"severity": "warning", "place": "audit", "message": "no key", "remedy": "set one"},
            ],
        });
        let document: serde_json::Value =
            serde_json::from_str(&print(true, &findings)).expect("one document");
        assert_eq!(document, expected);
        assert_eq!(print(false, &findings).lines().count(), 3);
        assert!(print(true, &[]).contains("\"severity\": \"ok\""));
    }

    #[test]
    fn warnings_stop_no_worker_and_a_fault_does() {
        let (warning, wrong) = (Finding::warning("a", "b"), Finding::wrong("c", "d"));
        assert!(end(std::slice::from_ref(&warning), None).is_ok());
        let failure = end(&[warning, wrong], None).expect_err("wrong");
        assert_eq!((failure.code, failure.sentence.as_str()), (1, "1 of 2 checks failed"));
    }
}
