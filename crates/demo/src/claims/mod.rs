//! The demo's claims: dozens of kinds of faults among ordinary traffic, and the expected result of
//! each.
//!
//! Pure: the same number and seed give the same bytes. `good` makes claims, `scripts` has the
//! accounts that cause faults, `bad` makes events that are no claims; this file mixes them and adds
//! events that come twice. The expected result of an event follows from the contract and from the
//! simulator's verdict on the account, never from the worker's code: an oracle with the worker's
//! code would repeat its mistakes.

use fastrand::Rng;

use claimgate::decision::Decision;

mod bad;
mod good;
mod kind;
mod scripts;

/// Largest event, `kafka.max_event_bytes` of the demo: small, so that one that is too large is
/// cheap to make.
pub const MAX_EVENT_BYTES: usize = 64 << 10;
/// The fewest events with room for every kind of fault.
pub const FEWEST: usize = 150;

/// Shares of the events, of a thousand each.
const MALFORMED: usize = 40;
const DUPLICATES: usize = 20;
const CONFLICTS: usize = 5;
const SCRIPTED: usize = 60;

/// An event for the input topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its key; events that must stay in order have the same key.
    pub key: Option<String>,
    /// W3C trace context, on some.
    pub traceparent: Option<String>,
    /// Its bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its expected result.
    pub expected: Expected,
}

/// The expected result of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A decision.
    Decision(Box<Expectation>),
    /// Another event carried this claim before. The same content has no result, other content makes
    /// a dead letter.
    Repeat {
        /// The claim.
        claim_id: String,
        /// Whether the content is the same.
        same: bool,
    },
    /// A dead letter.
    DeadLetter {
        /// Its `claimgate-error`.
        error: &'static str,
        /// Its `claimgate-error-field`, if it has one.
        field: Option<&'static str>,
    },
}

impl Expected {
    /// The `claimgate-error` and `claimgate-error-field` of the expected dead letter, if one is
    /// expected.
    pub fn dead_letter(&self) -> Option<(&'static str, Option<&'static str>)> {
        match self {
            Self::DeadLetter { error, field } => Some((error, *field)),
            Self::Repeat { same: false, .. } => Some(("claim_id_conflict", Some("claim_id"))),
            Self::Repeat { same: true, .. } | Self::Decision(_) => None,
        }
    }
}

/// The expected result of a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// The claim.
    pub claim_id: String,
    /// Its kind.
    pub kind: &'static str,
    /// The account, as the simulator sees it.
    pub account: String,
    /// Its decision, if the API assesses it in time: random faults may last for longer than a claim
    /// is tried.
    pub decision: Decision,
    /// Whether the API never assesses it.
    pub hopeless: bool,
}

/// Makes `count` events, at least [`FEWEST`].
pub fn generate(count: usize, seed: u64) -> Vec<Event> {
    let count = count.max(FEWEST);
    let mut random = Rng::with_seed(seed);
    let share = |of_a_thousand: usize| (count * of_a_thousand / 1000).max(2);
    let mut events: Vec<Event> = bad::events(share(MALFORMED), &mut random);
    let room = count - events.len() - share(DUPLICATES) - share(CONFLICTS);
    events.extend(good::events(room, share(SCRIPTED), &mut random));
    random.shuffle(&mut events);
    with_repeats(events, share(DUPLICATES), share(CONFLICTS), &mut random)
}

/// Repeats some claims, anywhere after the first event: some at once, while the first is in flight,
/// some much later.
fn with_repeats(
    events: Vec<Event>,
    duplicates: usize,
    conflicts: usize,
    random: &mut Rng,
) -> Vec<Event> {
    let mut claims: Vec<usize> =
        (0..events.len()).filter(|index| is_keyed_claim(&events[*index])).collect();
    random.shuffle(&mut claims);
    let mut placed: Vec<(f64, Event)> = Vec::with_capacity(events.len() + duplicates + conflicts);
    for (rank, index) in claims.into_iter().take(duplicates + conflicts).enumerate() {
        let repeat = repeat(&events[index], rank >= conflicts);
        let furthest = (events.len() - index) as f64;
        let behind = if rank % 2 == 0 { furthest.min(2.0) } else { furthest };
        placed.extend(repeat.map(|event| (index as f64 + 0.5 + random.f64() * behind, event)));
    }
    placed.extend(events.into_iter().enumerate().map(|(index, event)| (index as f64, event)));
    placed.sort_by(|one, other| one.0.total_cmp(&other.0));
    placed.into_iter().map(|(_, event)| event).collect()
}

/// Without a key the repeat could get into another partition, and it would be unknown which of the
/// two is first.
fn is_keyed_claim(event: &Event) -> bool {
    event.key.is_some() && matches!(event.expected, Expected::Decision(_))
}

/// The same content in another form (indented, and with an unknown field), or other content under a
/// used id: to drop that silently would lose a user's reward.
fn repeat(event: &Event, same: bool) -> Option<Event> {
    let Expected::Decision(expectation) = &event.expected else { return None };
    let mut claim: serde_json::Value = serde_json::from_slice(event.payload.as_deref()?).ok()?;
    let payload = if same {
        claim["resent_by"] = "gateway-2".into();
        serde_json::to_vec_pretty(&claim).ok()
    } else {
        claim["client"]["device_id"] = "another-device".into();
        serde_json::to_vec(&claim).ok()
    };
    let expected = Expected::Repeat { claim_id: expectation.claim_id.clone(), same };
    Some(Event { payload, traceparent: None, expected, ..event.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use claimgate::claim::Claim;

    #[test]
    fn events_depend_only_on_the_seed() {
        assert_eq!(generate(300, 7), generate(300, 7));
        assert_ne!(generate(300, 7), generate(300, 8));
    }

    #[test]
    fn there_are_as_many_as_asked_for_and_of_every_sort() {
        for count in [FEWEST, 1_000] {
            let events = generate(count, 1);
            assert_eq!(events.len(), count);
            let mut errors = BTreeSet::new();
            let mut kinds: BTreeMap<&str, BTreeSet<Decision>> = BTreeMap::new();
            let mut skipped = 0;
            for event in &events {
                errors.extend(event.expected.dead_letter().map(|(error, _)| error));
                match &event.expected {
                    Expected::Decision(claim) => {
                        kinds.entry(claim.kind).or_default().insert(claim.decision);
                    }
                    Expected::Repeat { same, .. } => skipped += usize::from(*same),
                    Expected::DeadLetter { .. } => {}
                }
            }
            assert_eq!(kinds.len(), 6);
            assert_eq!(kinds["qr_code"].len(), 4, "every decision");
            assert_eq!(errors.len(), 11, "{errors:?}");
            assert!(skipped > 1);
        }
    }

    #[test]
    fn claim_ids_are_unique_except_later_repeats_with_the_same_key() {
        let mut first = BTreeMap::new();
        for event in generate(2_000, 3) {
            match &event.expected {
                Expected::Decision(claim) => {
                    assert_eq!(first.insert(claim.claim_id.clone(), event.key.clone()), None);
                }
                Expected::Repeat { claim_id, .. } => assert_eq!(first[claim_id], event.key),
                Expected::DeadLetter { .. } => {}
            }
        }
    }

    /// The worker's own parsing, which the expectation does not use.
    #[test]
    fn an_event_is_a_claim_if_a_decision_is_expected() {
        for event in generate(1_000, 5) {
            let read = Claim::parse(event.payload.as_deref(), MAX_EVENT_BYTES);
            match &event.expected {
                Expected::Decision(claim) => {
                    let read = read.expect("a claim");
                    assert_eq!(
                        (read.claim_id.as_str(), read.kind.as_str()),
                        (claim.claim_id.as_str(), claim.kind)
                    );
                    assert_eq!(read.account.id, claim.account);
                }
                Expected::Repeat { claim_id, .. } => {
                    assert_eq!(&read.expect("a claim").claim_id, claim_id)
                }
                Expected::DeadLetter { error, field } => {
                    if let Err(malformed) = read {
                        assert_eq!(malformed.error.as_str(), *error, "{malformed}");
                        assert!(
                            field.is_none() || malformed.field.as_deref() == *field,
                            "{malformed}"
                        );
                    }
                }
            }
        }
    }
}
