//! Compares the calls of the risk APIs with the records: every call has a row or was lost with its
//! worker, and every superfluous call has a cause.

use std::collections::{BTreeMap, HashMap, HashSet};

use claimgate_simulator::{Api, Call};

use super::evidence::{Attempt, Evidence};
use super::journal::{End, Life, Story};
use super::settings::{CALL_TIMEOUT, DRAIN_TIMEOUT, MAX_IN_FLIGHT, SESSION_TIMEOUT};
use super::traffic;

/// Clocks are read to the millisecond, and rounded.
const ROUNDING_MS: i64 = 2;
/// How late a busy machine may do work that is due at once.
const SLACK_MS: i64 = 3_000;
/// Within this time after its look-up a claim is called for the last time: it waits for a permit
/// and for its retries at most `retry.in_process_for` each, before it is deferred.
const SOON_MS: i64 = 4_000;

/// The calls.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) calls: usize,
    /// Calls without a row, by how the worker that made them ended.
    pub(super) unrecorded: BTreeMap<&'static str, usize>,
    /// Calls about a claim that its API had answered for good, by their cause.
    pub(super) repeated: BTreeMap<&'static str, usize>,
    /// Those of them that were made after the decision was sent.
    pub(super) after_decision: usize,
    /// The most claims whose answers were lost with one process.
    pub(super) most_lost_at_once: usize,
}

/// A call in the simulator's log, with its row.
struct Seen<'a> {
    call: &'a Call,
    number: usize,
    row: Option<&'a Attempt>,
}

/// Counts the calls, and reports those without an explanation.
pub(super) fn judge(evidence: &Evidence, story: &Story, wrong: &mut Vec<String>) -> Asked {
    let seen = matched(evidence, wrong);
    let lives: HashMap<&str, &Life> =
        story.lives.iter().map(|life| (life.caller.as_str(), life)).collect();
    let mut asked = Asked { calls: seen.len(), ..Asked::default() };
    judge_unrecorded(&seen, &lives, &mut asked, wrong);
    let mut by_claim: HashMap<usize, Vec<&Seen<'_>>> = HashMap::new();
    for call in &seen {
        by_claim.entry(call.number).or_default().push(call);
    }
    for (number, calls) in by_claim {
        judge_repeats(number, &calls, evidence, story, &lives, &mut asked, wrong);
    }
    asked
}

/// Finds the row of each call. Each call of Tencent Cloud has a nonce. WeChat's message ids can
/// repeat after a crash: a row's call is then the first one after the request was made. Rows with
/// an answer choose first, because a request without one may never have arrived.
fn matched<'a>(evidence: &'a Evidence, wrong: &mut Vec<String>) -> Vec<Seen<'a>> {
    let mut seen = Vec::new();
    let mut open: HashMap<String, Vec<usize>> = HashMap::new();
    for call in evidence.calls.iter().filter(|call| call.api != Api::AccessToken) {
        let Some(number) = traffic::claim_of(call) else {
            wrong.push(format!("a call about nobody: {call:?}"));
            continue;
        };
        let key = call.nonce.map_or_else(|| call.claim.to_string(), |nonce| nonce.to_string());
        open.entry(key).or_default().push(seen.len());
        seen.push(Seen { call, number, row: None });
    }
    let mut rows: Vec<&Attempt> = evidence.attempts.iter().collect();
    rows.sort_by_key(|row| (!row.has_response, row.at_ms));
    for row in rows {
        let candidates = open.get_mut(&row.key).map_or(&mut [][..], Vec::as_mut_slice);
        let is_free = |index: &&mut usize| {
            let seen = &seen[**index];
            seen.row.is_none() && seen.call.at_ms >= row.at_ms - ROUNDING_MS
        };
        match candidates.iter_mut().find(is_free) {
            Some(index) if seen[*index].number == row.number => seen[*index].row = Some(row),
            Some(index) => {
                wrong.push(format!(
                    "{row:?} is about another claim than its call {:?}",
                    seen[*index].call
                ));
            }
            None if row.has_response => {
                wrong.push(format!("an answer is recorded that the simulator never gave: {row:?}"));
            }
            None => {}
        }
    }
    seen
}

/// A call without a row was in flight, or its answer was not recorded yet, when its worker ended.
fn judge_unrecorded(
    seen: &[Seen<'_>],
    lives: &HashMap<&str, &Life>,
    asked: &mut Asked,
    wrong: &mut Vec<String>,
) {
    let mut newest_row: HashMap<&str, i64> = HashMap::new();
    for (caller, row) in seen.iter().filter_map(|seen| Some((&*seen.call.caller, seen.row?))) {
        let newest = newest_row.entry(caller).or_insert(row.at_ms);
        *newest = row.at_ms.max(*newest);
    }
    let mut lost: HashMap<&str, HashSet<usize>> = HashMap::new();
    for Seen { call, number, .. } in seen.iter().filter(|seen| seen.row.is_none()) {
        let Some(life) = lives.get(&*call.caller) else {
            wrong.push(format!("a call of a worker that never was: {call:?}"));
            continue;
        };
        let cause = loss(life);
        // Answers are recorded in order: a call that was made long before another recorded one was
        // not merely in flight.
        let newest = newest_row.get(&*call.caller).copied().unwrap_or(0);
        if cause.is_none() || newest > call.at_ms + CALL_TIMEOUT.as_millis() as i64 + SLACK_MS {
            wrong.push(format!(
                "a call without a row, and {:?} does not explain it: {call:?}",
                life.end
            ));
        }
        *asked.unrecorded.entry(cause.unwrap_or("unexplained")).or_default() += 1;
        lost.entry(&call.caller).or_default().insert(*number);
    }
    asked.most_lost_at_once = lost.values().map(HashSet::len).max().unwrap_or(0);
    let too_many = lost.iter().filter(|(_, claims)| claims.len() > MAX_IN_FLIGHT);
    wrong.extend(too_many.map(|(caller, claims)| {
        format!(
            "{caller} lost the answers about {} claims, and had {MAX_IN_FLIGHT} in flight at most",
            claims.len()
        )
    }));
}

/// How a process may lose answers.
fn loss(life: &Life) -> Option<&'static str> {
    match life.end? {
        (_, End::Killed) => Some("SIGKILL"),
        (_, End::GaveUp) => Some("the worker gave up"),
        (end, End::Drained { told }) => {
            (end - told >= DRAIN_TIMEOUT.as_millis() as i64).then_some("the drain ran out of time")
        }
    }
}

/// The calls of a claim that came after the API had answered for good.
fn judge_repeats(
    number: usize,
    calls: &[&Seen<'_>],
    evidence: &Evidence,
    story: &Story,
    lives: &HashMap<&str, &Life>,
    asked: &mut Asked,
    wrong: &mut Vec<String>,
) {
    let recorded_at = evidence.recorded_at.get(&number).copied();
    let decided_at = evidence
        .decisions
        .get(&number)
        .and_then(|decisions| decisions.first())
        .map(|decision| decision.at_ms);
    let deferred_twice = evidence.deferred.contains(&number) && evidence.events_of(number) > 1;
    let mut answered: Option<&Seen<'_>> = None;
    for seen in calls {
        if let Some(first) = answered {
            let causes = Causes { story, lives, recorded_at, deferred_twice };
            let cause = causes.of(first, seen);
            *asked.repeated.entry(cause.unwrap_or("unexplained")).or_default() += 1;
            let after = decided_at.is_some_and(|at| seen.call.at_ms > at + ROUNDING_MS);
            asked.after_decision += usize::from(after);
            if cause.is_none() || (after && cause != Some(SLEEP) && !deferred_twice) {
                let decided =
                    if after { "after its decision was sent" } else { "before its decision" };
                wrong.push(format!(
                    "{}: asked again {decided} ({decided_at:?}; {cause:?}): {:?} (row {:?}) and \
                     {:?} (row {:?})",
                    traffic::claim_id(number),
                    first.call,
                    first.row,
                    seen.call,
                    seen.row
                ));
            }
        }
        if traffic::is_conclusive(seen.call) {
            answered = Some(seen);
        }
    }
}

const SLEEP: &str = "a stop longer than the session";
const LATE: &str = "the answer came too late or not whole";
/// A deferred claim belongs to no worker until it is due: another worker may assess another event
/// of it at the same time.
const TWICE: &str = "sent twice, one of the two deferred";

/// The possible causes of a repeated call.
struct Causes<'a> {
    story: &'a Story,
    lives: &'a HashMap<&'a str, &'a Life>,
    recorded_at: Option<i64>,
    deferred_twice: bool,
}

impl Causes<'_> {
    /// Why the API was called again after it had answered.
    fn of(&self, first: &Seen<'_>, again: &Seen<'_>) -> Option<&'static str> {
        // A worker that takes a claim on looks it up first, and then calls the API soon or defers
        // the claim: this long after the row only a frozen worker makes a call.
        if self
            .recorded_at
            .is_some_and(|at| again.call.at_ms > self.visible_at(first, at) + SOON_MS)
        {
            return self.has_just_woken(again).then_some(SLEEP);
        }
        if first.row.is_some_and(|row| row.outcome == "unknown") {
            return Some(LATE);
        }
        let life = self.lives.get(&*first.call.caller)?;
        // The row of the first answer was lost with the worker, which had waited for the answer for
        // as long as it may.
        let waited =
            again.call.at_ms - first.call.at_ms >= CALL_TIMEOUT.as_millis() as i64 - ROUNDING_MS;
        if first.row.is_none()
            && first.call.caller == again.call.caller
            && waited
            && loss(life).is_some()
        {
            return Some(LATE);
        }
        let ended = life.end.is_some_and(|(end, _)| end <= again.call.at_ms + ROUNDING_MS);
        if first.row.is_none() && ended {
            return loss(life);
        }
        // A worker that was frozen past its session does not know who did its work meanwhile, nor
        // do they know of it.
        let (from, to) = (first.call.at_ms, again.call.at_ms);
        let session = SESSION_TIMEOUT.as_millis() as i64;
        let meets = |begin: i64, end: i64| begin <= to && end + session + SLACK_MS >= from;
        let sleeps =
            [first, again].into_iter().filter_map(|seen| self.lives.get(&*seen.call.caller));
        if sleeps.flat_map(|life| &life.sleeps).any(|(begin, end)| meets(*begin, *end)) {
            return Some(SLEEP);
        }
        if self.deferred_twice {
            return Some(TWICE);
        }
        if self.story.outages.iter().any(|outage| meets(outage.begin, outage.end)) {
            return Some("broker or database away");
        }
        None
    }

    /// When others could see the row: its time is that of the transaction's beginning, and its
    /// worker may have been frozen before the end.
    fn visible_at(&self, first: &Seen<'_>, recorded_at: i64) -> i64 {
        let sleeps = self.lives.get(&*first.call.caller).map_or(&[][..], |life| &life.sleeps);
        let asleep =
            sleeps.iter().find(|(begin, end)| (begin - SOON_MS..*end).contains(&recorded_at));
        asleep.map_or(recorded_at, |(_, end)| *end)
    }

    fn has_just_woken(&self, seen: &Seen<'_>) -> bool {
        let sleeps = self.lives.get(&*seen.call.caller).map_or(&[][..], |life| &life.sleeps);
        sleeps
            .iter()
            .any(|(_, end)| (*end..end + SOON_MS).contains(&(seen.call.at_ms + ROUNDING_MS)))
    }
}
