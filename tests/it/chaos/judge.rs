//! Compares every record of the claims topic with its expected result: one by one, never by counts.

use std::collections::HashMap;

use super::evidence::{Evidence, Place, Verdict};
use super::traffic::{self, SORT, Traffic};

/// The counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) claims: usize,
    pub(super) events: usize,
    /// Events that the lab had to send more than once.
    pub(super) resent: usize,
    pub(super) dead_letters: usize,
    pub(super) deferred: usize,
    /// Claims without a decision, and malformed events without a dead letter.
    pub(super) lost: usize,
    /// Claims with more than one decision, and events with more than one dead letter.
    pub(super) doubled: usize,
    /// Claims without a row.
    pub(super) unrecorded: usize,
    /// Claims whose decision is not what their row says.
    pub(super) two_verdicts: usize,
}

/// Counts, and reports faults.
pub(super) fn judge(evidence: &Evidence, traffic: &Traffic, wrong: &mut Vec<String>) -> Tally {
    let mut tally = Tally {
        claims: evidence.sent,
        events: evidence.records.len(),
        resent: evidence.resent,
        dead_letters: evidence.dead.len(),
        deferred: evidence.deferred.len(),
        ..Tally::default()
    };
    wrong.extend(evidence.wrong.iter().cloned());
    wrong.extend(evidence.strangers.iter().map(|id| format!("{id:?}: nobody sent it")));
    compare_with_what_was_sent(evidence, traffic, wrong);
    for number in 0..evidence.sent {
        judge_claim(evidence, traffic, number, &mut tally, wrong);
    }
    let sent = |number: &&usize| **number < evidence.sent;
    let all = evidence.decisions.keys().chain(evidence.verdicts.keys());
    wrong.extend(
        all.filter(|number| !sent(number)).map(|number| format!("claim {number}: nobody sent it")),
    );
    for (place, (number, sort)) in &evidence.records {
        let error = match sort.strip_prefix("dead:") {
            Some(error) => Some(error),
            None => (loses(evidence, *number, sort)).then_some("claim_id_conflict"),
        };
        judge_dead_letter(evidence, *place, error, &mut tally, wrong);
    }
    let places = evidence.dead.keys().chain(evidence.dead_rows.keys());
    let foreign = places.filter(|place| !evidence.records.contains_key(place));
    wrong.extend(foreign.map(|place| format!("a dead letter from {place:?}, where nothing is")));
    tally
}

/// The duty of the lab: Kafka has every event that was sent, and has an event twice only if it was
/// sent twice.
fn compare_with_what_was_sent(evidence: &Evidence, traffic: &Traffic, wrong: &mut Vec<String>) {
    let mut open: HashMap<(usize, String), i64> = HashMap::new();
    for (number, sort) in evidence.records.values() {
        *open.entry((*number, sort.clone())).or_default() -= 1;
    }
    for number in 0..evidence.sent {
        for event in traffic.events(number) {
            let header = |name: &str| {
                let found = event
                    .headers
                    .iter()
                    .find(|(header, _)| header == name)
                    .expect("the lab's own header");
                String::from_utf8_lossy(&found.1).into_owned()
            };
            let about: usize = header(traffic::NUMBER).parse().expect("a number");
            *open.entry((about, header(SORT))).or_default() += 1;
        }
    }
    let missing = open.iter().filter(|(_, count)| **count > 0);
    wrong.extend(
        missing
            .map(|(event, count)| format!("the lab: {event:?} is {count} times missing in Kafka")),
    );
    let surplus = open.values().map(|count| usize::try_from(-count).unwrap_or(0)).sum::<usize>();
    if surplus > evidence.resent {
        let resent = evidence.resent;
        wrong.push(format!(
            "the lab: {surplus} events too many in Kafka, and {resent} were sent again"
        ));
    }
}

fn judge_claim(
    evidence: &Evidence,
    traffic: &Traffic,
    number: usize,
    tally: &mut Tally,
    wrong: &mut Vec<String>,
) {
    let id = traffic::claim_id(number);
    let decisions = evidence.decisions.get(&number).map_or(&[][..], Vec::as_slice);
    match decisions.len() {
        0 => {
            tally.lost += 1;
            wrong.push(format!("{id}: no decision"));
        }
        1 => {}
        count => {
            tally.doubled += 1;
            wrong.push(format!("{id}: {count} decisions: {decisions:?}"));
        }
    }
    let Some(row) = evidence.verdicts.get(&number) else {
        tally.unrecorded += 1;
        return wrong.push(format!("{id}: no row, and {} decisions", decisions.len()));
    };
    if decisions.iter().any(|decision| decision.verdict != *row) {
        tally.two_verdicts += 1;
        wrong.push(format!("{id}: published {decisions:?}, recorded {row:?}"));
    }
    if row.level != traffic.level(number) {
        wrong.push(format!(
            "{id}: the API says level {:?}, recorded {row:?}",
            traffic.level(number)
        ));
    }
    let at_its_place = evidence.records.get(&row.place);
    if at_its_place.is_none_or(|(there, sort)| *there != number || sort.starts_with("dead:")) {
        wrong.push(format!("{id}: recorded from {:?}, where {at_its_place:?} is", row.place));
    }
}

/// Whether a claim's event is of other content than the one that got the verdict: whichever was
/// recorded first.
fn loses(evidence: &Evidence, number: usize, sort: &str) -> bool {
    let winner = |row: &Verdict| evidence.records.get(&row.place).map(|(_, sort)| sort.as_str());
    evidence.verdicts.get(&number).and_then(winner).is_some_and(|winner| winner != sort)
}

fn judge_dead_letter(
    evidence: &Evidence,
    place: Place,
    error: Option<&str>,
    tally: &mut Tally,
    wrong: &mut Vec<String>,
) {
    let published = evidence.dead.get(&place).map_or(&[][..], Vec::as_slice);
    let row = evidence.dead_rows.get(&place).map(String::as_str);
    match (published, error) {
        ([], Some(error)) => {
            tally.lost += 1;
            wrong.push(format!("{place:?}: {error}, and no dead letter"));
        }
        ([_, _, ..], _) => {
            tally.doubled += 1;
            wrong.push(format!("{place:?}: {} dead letters: {published:?}", published.len()));
        }
        ([found], error) if error != Some(found) => {
            wrong.push(format!("{place:?}: a dead letter {found}, and expected was {error:?}"));
        }
        _ => {}
    }
    if row != error {
        wrong.push(format!("{place:?}: the table says {row:?}, and expected was {error:?}"));
    }
}
