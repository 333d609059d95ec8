//! The queue of one API: jobs that wait for a call, and what permits the call. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, CallHealth};
use super::budget::Budget;
use super::limit::Limit;
use super::permit::Permit;
use crate::intake::timetable::take_matching;
use crate::risk::FaultReason;

/// At least this many jobs at the front of a queue are looked up again before their call is near.
const HEADS: usize = 64;

/// Something that waits for a call.
pub trait Waiting {
    /// Whether it waits for its first call since it was taken on. Further calls need the retry
    /// budget.
    fn is_first_call(&self) -> bool;
    /// Whether a recent look-up found no verdict.
    fn is_undecided(&self, now: Instant) -> bool;
}

/// The queue of one API at the scheduler.
#[derive(Debug)]
pub struct ApiQueue<T> {
    /// Jobs that wait for their first call, each with the time when it began to wait.
    first: VecDeque<(Instant, T)>,
    /// Jobs that wait for a further call, likewise.
    further: VecDeque<(Instant, T)>,
    pub(super) limit: Limit,
    pub(super) breaker: Breaker,
    budget: Budget,
    /// No call is made: the access token is missing.
    pub(super) has_no_token: bool,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it shows about the API.
    pub health: CallHealth,
    /// From its first byte sent to its end.
    pub took: Duration,
    /// Whether it was one of an open breaker's probes.
    pub probe: bool,
}

impl<T: Waiting> ApiQueue<T> {
    /// An empty queue.
    pub fn new(limit: Limit, breaker: Breaker, budget: Budget) -> Self {
        let (first, further) = (VecDeque::new(), VecDeque::new());
        Self { first, further, limit, breaker, budget, has_no_token: false }
    }

    /// Puts a job at the end.
    pub(super) fn enter(&mut self, job: T, now: Instant) {
        let queue = if job.is_first_call() { &mut self.first } else { &mut self.further };
        queue.push_back((now, job));
    }

    /// Why the jobs wait.
    pub(super) fn delay(&self) -> FaultReason {
        if self.has_no_token {
            FaultReason::NoAccessToken
        } else if self.breaker.open_since().is_some() {
            FaultReason::BreakerOpen
        } else {
            FaultReason::NoPermit
        }
    }

    /// How many jobs at the front of each queue may be called soon. Twice as many as may be under
    /// way at once, so that jobs are looked up before their turn comes.
    fn heads(&self, now: Instant) -> (usize, usize) {
        let first = self.limit.concurrency().saturating_mul(2).max(HEADS);
        if self.is_barred(now) { (0, 0) } else { (first, HEADS) }
    }

    /// Whether no call is permitted now, not even a probe.
    pub(super) fn is_barred(&self, now: Instant) -> bool {
        self.has_no_token || self.breaker.permit(now).granted().is_err()
    }

    /// The jobs that may be called soon.
    pub(super) fn heads_mut(&mut self, now: Instant) -> impl Iterator<Item = &mut T> {
        let (first, further) = self.heads(now);
        let first = self.first.iter_mut().take(first);
        first.chain(self.further.iter_mut().take(further)).map(|(_, job)| job)
    }

    /// Whether one of the jobs in the front half is stale. Of more than [`HEADS`] jobs it checks
    /// only some: it is called often, and stale jobs stand side by side.
    pub(super) fn has_stale(&self, now: Instant, is_stale: impl Fn(&T) -> bool) -> bool {
        let (first, further) = self.heads(now);
        let soon = first / 2;
        let first = self.first.iter().take(soon).step_by((soon / HEADS).max(1));
        first.chain(self.further.iter().take(further)).any(|(_, job)| is_stale(job))
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.first.len() + self.further.len()
    }

    /// The next call, with its permit taken; or when to look again.
    pub(super) fn next(&mut self, now: Instant) -> Result<(T, bool), Option<Instant>> {
        if self.waiting() == 0 || self.has_no_token {
            return Err(None);
        }
        let permit = self.breaker.permit(now);
        permit.granted()?;
        let probe = permit == Permit::Probe;
        // A probe needs no retry budget. It is made with a fresh claim where there is one: a claim
        // that failed before may fail for a reason of its own.
        let is_further = !self.further.is_empty()
            && if probe { self.first.is_empty() } else { self.budget.covers(now) };
        if !is_further && self.first.is_empty() {
            return Err(Some(self.budget.covers_at(now)));
        }
        let queue = if is_further { &self.further } else { &self.first };
        // Another worker may have decided it while it waited: it is looked up first.
        if queue.front().is_some_and(|(_, job)| !job.is_undecided(now)) {
            return Err(None);
        }
        self.limit.acquire(now).granted()?;
        self.breaker.called();
        let queue = if is_further { &mut self.further } else { &mut self.first };
        match (is_further, probe) {
            (true, false) => self.budget.withdraw(),
            (true, true) => {}
            (false, _) => self.budget.deposit(),
        }
        let (_, job) = queue.pop_front().ok_or(None)?;
        Ok((job, probe))
    }

    /// A call has ended: limit and breaker learn from it. Returns whether the breaker opened by it.
    pub(super) fn call_ended(&mut self, ended: Ended, now: Instant) -> bool {
        let Ended { health, took, probe } = ended;
        self.limit.learn(health == CallHealth::Well, took, now);
        self.limit.release(now);
        let is_old = !probe && self.breaker.has_closed_since(took, now);
        let opened = !is_old && self.breaker.ended(health, probe, now);
        if opened {
            self.limit.breaker_opened(now);
        }
        opened
    }

    /// A call is not made after all: its permit is free again, and limit and breaker learn nothing
    /// from it.
    pub(super) fn cancel(&mut self, probe: bool, now: Instant) {
        self.limit.release(now);
        self.breaker.cancelled(probe);
    }

    /// Takes out the jobs that match.
    pub(super) fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for queue in [&mut self.first, &mut self.further] {
            let matching = take_matching(queue, |(_, job)| matches(job));
            taken.extend(matching.into_iter().map(|(_, job)| job));
        }
        taken
    }

    /// The worker itself could make no calls for so long, until now: in that time the jobs did not
    /// wait for the API.
    pub(super) fn forgive(&mut self, held_up: Duration, now: Instant) {
        for (since, _) in self.first.iter_mut().chain(self.further.iter_mut()) {
            *since = (*since + held_up).min(now);
        }
    }

    /// Takes out what has waited for longer than `max_wait`, with the reason.
    pub(super) fn take_expired(
        &mut self,
        max_wait: Duration,
        now: Instant,
    ) -> Vec<(T, FaultReason)> {
        let (delay, mut taken) = (self.delay(), Vec::new());
        for queue in [&mut self.further, &mut self.first] {
            while queue.front().is_some_and(|(since, _)| now.duration_since(*since) > max_wait) {
                taken.extend(queue.pop_front().map(|(_, job)| (job, delay)));
            }
        }
        taken
    }
}
