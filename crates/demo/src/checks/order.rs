//! Which of two events with one claim id is the claim.

use std::collections::{HashMap, HashSet};

use super::kept::header_text;
use crate::claims::Expected;
use crate::evidence::Evidence;
use crate::traffic::Sent;
use claimgate::decision::Source;

/// The events with their expected results, now that it is known which were deferred. The first
/// event with an id is the claim, but while it is deferred a later one may overtake it (README,
/// "What it promises"). Then the later one is the claim, and the deferred one repeats it.
pub(super) fn as_it_went(evidence: &Evidence) -> Vec<Sent> {
    let deferred: HashSet<String> = evidence
        .messages
        .deferred
        .iter()
        .map(|message| header_text(&message.headers, "claimgate-source"))
        .collect();
    let decided: HashMap<&str, &Source> =
        evidence.tables.verdicts.iter().map(|row| (row.claim_id.as_str(), &row.source)).collect();
    let mut sent = evidence.sent.clone();
    let mut first: HashMap<String, usize> = HashMap::new();
    for index in 0..sent.len() {
        match sent[index].event.expected.clone() {
            Expected::Decision(expectation) => {
                first.insert(expectation.claim_id, index);
            }
            Expected::Repeat { claim_id, .. } => {
                let here = &sent[index].source;
                let earlier = first
                    .get(&claim_id)
                    .copied()
                    .filter(|earlier| deferred.contains(&sent[*earlier].source.to_string()));
                if let Some(earlier) =
                    earlier.filter(|_| decided.get(claim_id.as_str()) == Some(&here))
                {
                    let (before, from_here) = sent.split_at_mut(index);
                    std::mem::swap(
                        &mut before[earlier].event.expected,
                        &mut from_here[0].event.expected,
                    );
                }
            }
            Expected::DeadLetter { .. } => {}
        }
    }
    sent
}
