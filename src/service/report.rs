//! Prints findings on the standard output: a line for each, or one document.

use std::io::{self, Write};

use serde::Serialize;

use crate::audit::shown::printable_json;
use crate::findings::{Finding, Severity};

/// The findings, as `--json` prints them.
#[derive(Debug, Serialize)]
struct Report<'a, Options> {
    /// The worst of all findings.
    severity: Severity,
    /// The options of the command.
    #[serde(flatten)]
    options: &'a Options,
    /// The number of faults: each keeps the worker from working.
    wrong: usize,
    /// The number of warnings.
    warnings: usize,
    findings: &'a [Finding],
}

/// Prints findings: a line for each, or one document with the command's options.
///
/// # Errors
/// One sentence: the output cannot be written.
pub(super) fn print(findings: &[Finding], document: Option<&impl Serialize>) -> Result<(), String> {
    write(findings, document, &mut io::stdout().lock())
        .map_err(|error| format!("the findings cannot be written: {error}"))
}

fn write(
    findings: &[Finding],
    document: Option<&impl Serialize>,
    out: &mut impl Write,
) -> io::Result<()> {
    if let Some(options) = document {
        let severity = findings.iter().map(|finding| finding.severity).max();
        let report = Report {
            severity: severity.unwrap_or(Severity::Ok),
            options,
            wrong: count(findings, Severity::Wrong),
            warnings: count(findings, Severity::Warning),
            findings,
        };
        writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(&report)?))?;
    } else {
        findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
    }
    out.flush()
}

pub(super) fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Options {
        offline: bool,
    }

    #[test]
    fn the_document_has_every_finding_and_what_is_worst() {
        let findings = [
            Finding::ok("risk APIs", "6 built"),
            Finding::wrong("worker.threads", "must be at least 1"),
            Finding::warning("audit", "no key; set one"),
        ];
        let print = |json: bool, findings: &[Finding]| {
            let mut out = Vec::new();
            let options = Options { offline: true };
            write(findings, json.then_some(&options), &mut out).expect("written");
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
}
