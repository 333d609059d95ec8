//! Tests a policy by examples. Pure.

use std::fmt;

use super::case::{Case, Given, NO_DECISION, is_reason};
use crate::audit::shown;
use crate::decision::{Policy, Ruling};
use crate::risk::{ApiResult, Registry, rule, rule_unassessed};

/// The results of the examples.
#[derive(Debug)]
pub struct Trial {
    /// One line for each example that failed.
    pub failures: Vec<String>,
    cases: usize,
    policy_version: String,
}

impl fmt::Display for Trial {
    /// The failures, then a line with the counts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "FAIL {failure}")?;
        }
        let Self { failures, cases, policy_version } = self;
        let held = cases - failures.len();
        writeln!(f, "{held} of {cases} cases come out as expected, policy {policy_version}")
    }
}

/// Tries every example.
pub fn try_cases(cases: &[Case], registry: &Registry, policy: &Policy) -> Trial {
    let failures = cases.iter().filter_map(|case| {
        let line = failure(case, registry, policy)?;
        Some(shown::printable_line(&line))
    });
    let policy_version = policy.version().to_owned();
    Trial { failures: failures.collect(), cases: cases.len(), policy_version }
}

/// Why it fails; `None` if it passes.
fn failure(case: &Case, registry: &Registry, policy: &Policy) -> Option<String> {
    let api = registry.api(case.api);
    let ruling = match &case.given {
        Given::Read(result) => rule(policy, api, result),
        Given::Unassessed(reason, code) => Some(rule_unassessed(policy, reason.as_str(), *code)),
    };
    let is_expected = ruling.as_ref().map(|ruling| ruling.decision) == case.decision
        && case.reasons.as_ref().is_none_or(|wanted| has_reasons(ruling.as_ref(), wanted));
    if is_expected {
        return None;
    }
    let expected = case.decision.map_or(NO_DECISION, |decision| decision.as_str());
    let reasons = case.reasons.as_ref().map(|reasons| format!(" ({})", reasons.join("; ")));
    let came = match &ruling {
        Some(ruling) => format!("{} ({})", ruling.decision, shown::reasons(&ruling.reasons)),
        None => format!("{NO_DECISION}: the claim is asked about again ({})", why(&case.given)),
    };
    let Case { name, .. } = case;
    Some(format!("{name}: expected {expected}{}, got {came}", reasons.unwrap_or_default()))
}

fn has_reasons(ruling: Option<&Ruling>, wanted: &[String]) -> bool {
    let reasons = ruling.map(|ruling| ruling.reasons.as_slice()).unwrap_or_default();
    reasons.len() == wanted.len()
        && wanted.iter().zip(reasons).all(|(wanted, reason)| is_reason(wanted, reason))
}

/// Why an answer leads to no decision.
fn why(given: &Given) -> String {
    let result: Option<&ApiResult> = match given {
        Given::Read(result) => Some(result),
        Given::Unassessed(..) => None,
    };
    let fault = result.and_then(|result| Some((result.outcome(), result.fault()?.reason)));
    fault.map(|(outcome, reason)| format!("{outcome}: {reason}")).unwrap_or_default()
}
