//! The notes about a claim that its spans are made from. Pure.
//!
//! Notes are ids, times (UNIX microseconds) and bounded words. Most notes are never exported;
//! [`super::build`] makes spans from those that are kept.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Peer;
use crate::risk::{AttemptOutcome, FaultReason};
use crate::words::words;

/// A shorter wait, in microseconds, is not noted.
const SHORTEST_WAIT: i64 = 1_000;

words! {
    /// What a claim waits for.
    pub enum Wait {
        Deferral = "deferral": "It stands in the retry topic.",
        Room = "room": "Its API's claims take up all their room.",
        SameClaim = "same_claim": "A record with the same claim id goes first.",
        LookUp = "look_up": "Postgres is asked whether it is decided.",
        Lane = "lane": "Other claims of its subject go first.",
        Permit = "permit": "Its API's limits permit no call.",
        BackOff = "back_off": "It is asked about again after a pause.",
    }
}

words! {
    /// A step that many claims take together. The word is the name of its span.
    pub enum SharedStep {
        Recall = "recall": "Postgres is asked which claims are decided.",
        Record = "record": "A batch is written to Postgres.",
        Publish = "publish": "A batch goes to Kafka, in a transaction.",
    }
}

/// The ids of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub span_id: u64,
}

/// Which claims are kept even if they are not sampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Claims that failed.
    pub failed: bool,
    /// Claims that took this many attempts or more; 0 switches it off.
    pub attempts: u32,
    /// Claims that took longer than this; zero switches it off.
    pub slower_than: Duration,
}

/// One attempt at a risk API.
#[derive(Debug)]
pub(super) struct AttemptRecord {
    pub(super) peer: Arc<Peer>,
    pub(super) method: &'static str,
    pub(super) number: u32,
    pub(super) from: i64,
    pub(super) end: Option<AttemptEnd>,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnd {
    /// How long it took.
    pub latency: Duration,
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The version of HTTP, if an answer came.
    pub http_version: Option<&'static str>,
    /// The outcome, as in `risk_calls` or `token_exchanges`.
    pub outcome: &'static str,
    /// Whether that is an answer for good: an assessment, or the API's statement that it cannot
    /// assess.
    pub is_answer: bool,
    /// Why it is no assessment.
    pub reason: Option<FaultReason>,
}

/// A step that many claims took together. It is exported once, with the first of them that is kept.
#[derive(Debug)]
pub struct SharedRecord {
    pub(super) step: SharedStep,
    pub(super) ids: Ids,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) claims: usize,
    pub(super) error: Option<&'static str>,
    /// The claims that were to be kept when it ended.
    pub(super) links: Vec<Ids>,
    pub(super) is_exported: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Note {
    Waited {
        what: Wait,
        from: i64,
        to: i64,
    },
    /// Boxed, because thousands of claims wait, with short notes, for their first attempt.
    Attempted(Box<AttemptRecord>),
    Shared(Arc<SharedRecord>),
}

/// The notes about one claim.
#[derive(Debug)]
pub struct ClaimRecord {
    pub(super) own: Ids,
    /// The producer's span.
    pub(super) parent: Option<u64>,
    pub(super) from: i64,
    /// Why it failed, in a bounded word.
    pub(super) error: Option<&'static str>,
    pub(super) notes: Vec<Note>,
    is_kept: bool,
    attempts: u32,
    waits: Option<(Wait, i64, Option<i64>)>,
}

impl ClaimRecord {
    /// The record of a claim that was just taken on.
    pub(super) fn new(own: Ids, parent: Option<u64>, is_sampled: bool, now: i64) -> Self {
        let (error, attempts, waits, notes) = (None, 0, None, Vec::new());
        Self { own, parent, from: now, error, notes, is_kept: is_sampled, attempts, waits }
    }

    /// The ids of its span.
    pub fn ids(&self) -> Ids {
        self.own
    }

    /// Whether its spans are to be exported, as far as that is known so far.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// It waits for this from `from` on, until `until` if that is known, and after that for a
    /// permit. One that goes on waiting for the same may say so again.
    pub fn waits(&mut self, what: Wait, from: i64, until: Option<i64>) {
        if until.is_none()
            && self.waits.is_some_and(|(before, _, until)| (before, until) == (what, None))
        {
            return;
        }
        self.moves(from);
        self.waits = Some((what, from, until));
    }

    /// It waits no longer.
    pub fn moves(&mut self, now: i64) {
        let Some((what, from, until)) = self.waits.take() else { return };
        let to = until.map_or(now, |until| until.min(now));
        self.waited(what, from, to);
        self.waited(Wait::Permit, to, now);
    }

    fn waited(&mut self, what: Wait, from: i64, to: i64) {
        if to.saturating_sub(from) >= SHORTEST_WAIT {
            self.notes.push(Note::Waited { what, from, to });
        }
    }

    /// An attempt begins; `number` is 1 for the first.
    pub fn called(&mut self, peer: Arc<Peer>, method: &'static str, number: u32, now: i64) {
        self.moves(now);
        self.attempts = number;
        let attempt = AttemptRecord { peer, method, number, from: now, end: None };
        self.notes.push(Note::Attempted(Box::new(attempt)));
    }

    /// The attempt under way has ended.
    pub fn answered(&mut self, end: AttemptEnd) {
        let last = self.notes.iter_mut().rev().find_map(|note| match note {
            Note::Attempted(attempt) => Some(attempt),
            Note::Waited { .. } | Note::Shared(_) => None,
        });
        if let Some(attempt) = last {
            attempt.end = Some(end);
        }
    }

    /// It failed, for a bounded reason.
    pub fn failed(&mut self, reason: &'static str) {
        self.error = Some(reason);
    }

    /// It took part in a shared step. Where it takes part in one again and again, as in an outage
    /// of hours, the first and the last are kept.
    pub fn shares(&mut self, step: Arc<SharedRecord>) {
        let is_same =
            |note: &Note| matches!(note, Note::Shared(before) if before.step == step.step);
        if let [.., first, last] = self.notes.as_slice()
            && is_same(first)
            && is_same(last)
        {
            self.notes.pop();
        }
        self.notes.push(Note::Shared(step));
    }

    /// Decides whether it is kept, by what is known now.
    pub fn weigh(&mut self, keep: &Keep, now: i64) -> bool {
        let took = u64::try_from(now.saturating_sub(self.from)).unwrap_or(0);
        let is_slow = !keep.slower_than.is_zero() && Duration::from_micros(took) > keep.slower_than;
        let is_denied = || {
            self.notes.iter().any(|note| {
                matches!(note, Note::Attempted(attempt) if attempt.end.is_some_and(|end|
                    end.outcome == AttemptOutcome::AccessDenied.as_str()))
            })
        };
        let has_failed = || keep.failed && (self.error.is_some() || is_denied());
        let is_tried = keep.attempts > 0 && self.attempts >= keep.attempts;
        self.is_kept = self.is_kept || is_tried || is_slow || has_failed();
        self.is_kept
    }
}
