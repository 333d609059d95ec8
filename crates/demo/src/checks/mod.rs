//! Checks the guarantees one by one and by identity, because counts can agree if two mistakes
//! cancel out.
//!
//! Pure. Knows the expected result of each event ([`Expected`]) and compares it with the evidence.
//! From the worker's code it uses rows and headers but no rules: an oracle with the worker's rules
//! would repeat its mistakes.

use std::collections::HashMap;

use super::claims::{Expectation, Expected};
use super::evidence::Evidence;
use super::traffic::Sent;
use claimgate::schema::Verdict;

mod calls;
mod decisions;
mod kept;
mod order;

pub(super) use decisions::is_unassessed;

/// A promise, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    /// What was promised.
    pub(super) text: &'static str,
    /// How many things were compared.
    pub(super) compared: usize,
    /// What is wrong, one sentence each.
    pub(super) broken: Vec<String>,
}

impl Promise {
    fn new(text: &'static str) -> Self {
        Self { text, compared: 0, broken: Vec::new() }
    }

    /// Notes a fault, unless the condition holds.
    fn demand(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(wrong());
        }
    }
}

/// All guarantees that the evidence can show.
pub(super) fn check(mut evidence: Evidence) -> Vec<Promise> {
    evidence.sent = order::as_it_went(&evidence);
    let evidence = &evidence;
    let claims = claims(evidence);
    vec![
        one_verdict_each(evidence, &claims),
        decisions::as_the_policy_says(evidence, &claims),
        decisions::one_each(evidence, &claims),
        kept::dead_letters_in_the_topic(evidence),
        kept::dead_letters_in_the_table(evidence),
        kept::events_are_kept(evidence, &claims),
        kept::deferred_whole(evidence),
        calls::are_kept(evidence, &claims),
        calls::never_again(evidence, &claims),
    ]
}

/// The claims by id: the event that carried it first, and the expected result.
type Claims<'a> = HashMap<&'a str, (&'a Sent, &'a Expectation)>;

fn claims(evidence: &Evidence) -> Claims<'_> {
    let mut claims = Claims::new();
    for sent in &evidence.sent {
        if let Expected::Decision(expectation) = &sent.event.expected {
            claims.insert(&expectation.claim_id, (sent, expectation));
        }
    }
    claims
}

fn one_verdict_each(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new(
        "Every claim has one verdict, from the first event that carried it; nothing else has",
    );
    let rows: HashMap<&str, &Verdict> =
        evidence.tables.verdicts.iter().map(|row| (row.claim_id.as_str(), row)).collect();
    for (claim_id, (sent, expectation)) in claims {
        promise.compared += 1;
        let Some(row) = rows.get(claim_id) else {
            promise.broken.push(format!("claim {claim_id} ({}) has no verdict", sent.source));
            continue;
        };
        promise.demand(row.source == sent.source, || {
            format!(
                "claim {claim_id} came first from {}, its verdict is from {}",
                sent.source, row.source
            )
        });
        promise.demand(row.kind == expectation.kind, || {
            format!("claim {claim_id} is of kind {}, its verdict of {}", expectation.kind, row.kind)
        });
    }
    for row in &evidence.tables.verdicts {
        promise.demand(claims.contains_key(row.claim_id.as_str()), || {
            format!("there is a verdict on {:?}, which nobody sent", row.claim_id)
        });
    }
    promise
}

#[cfg(test)]
mod tests;
