//! The promises, checked: one by one and by identity, for counts can agree where two mistakes do.
//!
//! Pure. Knows what must come of each event ([`Expected`]) and compares it with the evidence; uses no code of the worker's.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::claims::{Expectation, Expected};
use super::evidence::{CallRow, Evidence, VerdictRow};
use super::traffic::Sent;
use super::watch::Message;
use crate::decision::Source;
use crate::simulator::{self, Api};

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

/// Every promise that the evidence can speak of.
pub(super) fn check(evidence: &Evidence) -> Vec<Promise> {
    let claims = claims(evidence);
    vec![
        one_verdict_each(evidence, &claims),
        as_the_policy_says(evidence, &claims),
        one_decision_each(evidence),
        dead_letters_in_the_topic(evidence),
        dead_letters_in_the_table(evidence),
        events_are_kept(evidence, &claims),
        calls_are_kept(evidence, &claims),
        never_asked_again(evidence, &claims),
    ]
}

/// The claims, by id: the event that came first, and what must come of it.
type Claims<'a> = HashMap<&'a str, (&'a Sent, &'a Expectation)>;

fn claims(evidence: &Evidence) -> Claims<'_> {
    let claim = |sent: &'_ Sent| match &sent.event.expected {
        Expected::Decision(expectation) => Some(&**expectation as *const Expectation),
        _ => None,
    };
    let _ = claim;
    let mut claims = HashMap::new();
    for sent in &evidence.sent {
        if let Expected::Decision(expectation) = &sent.event.expected {
            claims.insert(expectation.claim_id.as_str(), (sent, &**expectation));
        }
    }
    claims
}
