//! The lists of reasons and outcomes.

use std::collections::BTreeSet;

use super::*;
use crate::risk::{AttemptOutcome, FaultReason, FetchOutcome};

const METRICS: &str = include_str!("../../../../docs/metrics.md");

#[test]
fn reasons_and_remedies_follow_the_table() {
    let mut listed = BTreeSet::new();
    for row in table("Reasons", "") {
        for word in spans(&row[0]) {
            let reason = FaultReason::from_word(word).unwrap_or_else(|| panic!("{word} is none"));
            assert_eq!(reason.remedy().is_some(), !row[2].is_empty(), "{word}");
            assert!(listed.insert(reason), "{word} is in the table twice");
        }
    }
    assert_eq!(listed, BTreeSet::from(FaultReason::ALL));
}

#[test]
fn the_outcomes_are_those_of_the_metrics() {
    let listed = |metric: &str, part: &str| {
        let row = METRICS.lines().find(|line| line.starts_with(metric)).unwrap();
        spans(row.split_once(part).unwrap().1).into_iter().collect::<BTreeSet<_>>()
    };
    let attempts = listed("| `claimgate_attempts_total`", "`risk_calls`:");
    assert_eq!(attempts, AttemptOutcome::ALL.map(AttemptOutcome::as_str).into());
    let fetches = listed("| `claimgate_token_fetches_total`", "`outcome` |");
    assert_eq!(fetches, FetchOutcome::ALL.map(FetchOutcome::as_str).into());
}
