//! Assess: how often, how fast and when the risk APIs are asked.
//!
//! [`CallScheduler`] is where claims wait: for a permit of their API, or for the time of their next
//! attempt. [`retry`], [`limit`], [`breaker`], [`budget`] and [`token`] are pure machines, and so
//! is the scheduler; [`http`] is the only file here that knows a socket. The invariants: a waiting
//! claim holds no permit and no connection; one API's queue never delays another's.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

pub mod breaker;
pub mod budget;
pub mod egress;
pub mod exchange;
pub mod http;
pub mod limit;
pub mod permit;
pub mod reach;
pub mod retry;
pub mod token;

use breaker::{Breaker, CallHealth};
use budget::Budget;
use limit::Limit;
use permit::Permit;

use crate::intake::timetable::{Timetable, take_matching};
use crate::risk::FaultReason;

/// At least so many of the jobs that wait for a call are looked up again in time.
const HEADS: usize = 64;

/// Something that waits for a call.
pub trait Waiting {
    /// Whether it is its first call since it was taken on; any further one is paid from the retry
    /// budget.
    fn is_first_call(&self) -> bool;
    /// Whether it is known, and was found out lately, that nobody decided it meanwhile.
    fn is_undecided(&self, now: Instant) -> bool;
}

/// Where jobs wait: queues and a bulkhead per API, and one timetable of retries.
#[derive(Debug)]
pub struct CallScheduler<T> {
    apis: Vec<ApiQueue<T>>,
    retries: Timetable<(usize, T)>,
}

/// One API's place at the scheduler.
#[derive(Debug)]
pub struct ApiQueue<T> {
    /// Jobs that wait for their first call, with the time since when.
    first: VecDeque<(Instant, T)>,
    /// Jobs that wait for a further call.
    further: VecDeque<(Instant, T)>,
    limit: Limit,
    breaker: Breaker,
    budget: Budget,
    /// No call is made: the access token is missing.
    has_no_token: bool,
}

/// What the scheduler has for the worker.
#[derive(Debug)]
pub enum Next<T> {
    /// Make this call; the API's permit is taken.
    Call {
        /// Who is to be asked about.
        job: T,
        /// Whether the breaker learns from this call if the API is well again.
        probe: bool,
    },
    /// Nothing to do before this time, or before something else happens.
    Wait(Option<Instant>),
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it says about the API.
    pub health: CallHealth,
    /// From its first byte sent to its end.
    pub took: Duration,
    /// Whether it was one of an open breaker's probes.
    pub probe: bool,
}

impl<T: Waiting> ApiQueue<T> {
    /// An API's place, within these bounds.
    pub fn new(limit: Limit, breaker: Breaker, budget: Budget) -> Self {
        let (first, further) = (VecDeque::new(), VecDeque::new());
        Self { first, further, limit, breaker, budget, has_no_token: false }
    }

    fn enter(&mut self, job: T, now: Instant) {
        let queue = if job.is_first_call() { &mut self.first } else { &mut self.further };
        queue.push_back((now, job));
    }

    /// What keeps the jobs waiting.
    fn delay(&self) -> FaultReason {
        if self.has_no_token {
            FaultReason::NoAccessToken
        } else if self.breaker.open_since().is_some() {
            FaultReason::BreakerOpen
        } else {
            FaultReason::NoPermit
        }
    }

    /// Where the jobs stand that may be called soon: of each queue so many from the front. Twice as
    /// many as may be under way, so that those in front were looked up before their turn comes.
    fn heads(&self, now: Instant) -> (usize, usize) {
        let first = self.limit.concurrency().saturating_mul(2).max(HEADS);
        if self.is_barred(now) { (0, 0) } else { (first, HEADS) }
    }

    fn is_barred(&self, now: Instant) -> bool {
        self.has_no_token || self.breaker.permit(now).granted().is_err()
    }

    fn heads_mut(&mut self, now: Instant) -> impl Iterator<Item = &mut T> {
        let (first, further) = self.heads(now);
        let first = self.first.iter_mut().take(first);
        first.chain(self.further.iter_mut().take(further)).map(|(_, job)| job)
    }

    /// Whether one of the jobs in the front half is stale. All are asked, of more than [`HEADS`] so
    /// many: this is asked often, and stale jobs stand side by side.
    fn has_stale(&self, now: Instant, is_stale: impl Fn(&T) -> bool) -> bool {
        let (first, further) = self.heads(now);
        let soon = first / 2;
        let first = self.first.iter().take(soon).step_by((soon / HEADS).max(1));
        first.chain(self.further.iter().take(further)).any(|(_, job)| is_stale(job))
    }

    fn waiting(&self) -> usize {
        self.first.len() + self.further.len()
    }

    /// The next call, with its permit taken; or when to look again.
    fn next(&mut self, now: Instant) -> Result<(T, bool), Option<Instant>> {
        if self.waiting() == 0 || self.has_no_token {
            return Err(None);
        }
        let permit = self.breaker.permit(now);
        permit.granted()?;
        let probe = permit == Permit::Probe;
        // A probe is no retry, and a claim that nobody has failed on yet says more about the API
        // than one that failed before.
        let is_further = !self.further.is_empty()
            && if probe { self.first.is_empty() } else { self.budget.covers(now) };
        if !is_further && self.first.is_empty() {
            return Err(Some(self.budget.covers_at(now)));
        }
        let queue = if is_further { &self.further } else { &self.first };
        // Somebody else may have decided it while it waited: it is looked up first.
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

    /// Takes out what has waited for longer than `max_wait`.
    fn take_expired(&mut self, max_wait: Duration, now: Instant) -> Vec<T> {
        let mut taken = Vec::new();
        for queue in [&mut self.further, &mut self.first] {
            while queue.front().is_some_and(|(since, _)| now.duration_since(*since) > max_wait) {
                taken.extend(queue.pop_front().map(|(_, job)| job));
            }
        }
        taken
    }
}

impl<T: Waiting> CallScheduler<T> {
    /// A scheduler for these APIs, by their index.
    pub fn new(apis: Vec<ApiQueue<T>>) -> Self {
        Self { apis, retries: Timetable::default() }
    }

    /// Puts a job at the end of its API's queue.
    pub fn submit(&mut self, api: usize, job: T, now: Instant) {
        self.apis[api].enter(job, now);
    }

    /// Puts a job into its API's queue at a later time.
    pub fn submit_at(&mut self, at: Instant, api: usize, job: T) {
        self.retries.enter(at, (api, job));
    }

    /// A call has ended: its permit is free again, and limit and breaker learn from it. Returns
    /// whether the breaker opened by it.
    pub fn release(&mut self, api: usize, ended: Ended, now: Instant) -> bool {
        let Ended { health, took, probe } = ended;
        let ApiQueue { limit, breaker, .. } = &mut self.apis[api];
        limit.learn(health == CallHealth::Well, took, now);
        limit.release(now);
        let opened = breaker.ended(health, probe, now);
        if opened {
            limit.breaker_opened(now);
        }
        opened
    }

    /// A call that [`CallScheduler::next`] permitted is not made after all: its permit is free
    /// again, and nobody learns from it.
    pub fn cancel(&mut self, api: usize, probe: bool, now: Instant) {
        let api_queue = &mut self.apis[api];
        api_queue.limit.release(now);
        api_queue.breaker.cancelled(probe);
    }

    /// An API cannot be called until somebody mends the set-up. Returns whether its breaker opened
    /// by it.
    pub fn deny(&mut self, api: usize, now: Instant) -> bool {
        self.apis[api].breaker.deny(now)
    }

    /// There are other credentials: an API that denied us access may be probed at once.
    pub fn credentials_changed(&mut self, api: usize, now: Instant) {
        self.apis[api].breaker.credentials_changed(now);
    }

    /// Says whether an API that needs an access token has one: without, no calls are made.
    pub fn set_has_token(&mut self, api: usize, has_token: bool) {
        self.apis[api].has_no_token = !has_token;
    }

    /// The worker has these partitions of the input topic, of so many: what is a bound of the whole
    /// group is shared out by that.
    pub fn set_share(&mut self, held: &[i32], partitions: u32, now: Instant) {
        for api_queue in &mut self.apis {
            // Whoever had a partition before has ended its calls, or its session ended long after
            // them.
            api_queue.limit.set_share(held, partitions, now, now);
        }
    }

    /// The next call that may be made.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        self.queue_due_retries(now);
        let mut wake = self.retries.due();
        for api_queue in &mut self.apis {
            match api_queue.next(now) {
                Ok((job, probe)) => return Next::Call { job, probe },
                Err(at) => wake = [wake, at].into_iter().flatten().min(),
            }
        }
        Next::Wait(wake)
    }

    /// Puts the jobs whose time has come into their queues; [`CallScheduler::next`] does it, too.
    pub fn queue_due_retries(&mut self, now: Instant) {
        while let Some((api, job)) = self.retries.pop_due(now) {
            self.submit(api, job, now);
        }
    }

    /// Takes out the waiting jobs that match: those of partitions that are given back.
    pub fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for api_queue in &mut self.apis {
            for queue in [&mut api_queue.first, &mut api_queue.further] {
                taken.extend(take_matching(queue, |(_, job)| matches(job)));
            }
        }
        let taken = taken.into_iter().map(|(_, job)| job);
        taken.chain(self.retries.take(|(_, job)| matches(job)).map(|(_, job)| job)).collect()
    }

    /// Takes out the jobs that have waited in a queue for longer than `max_wait`, and says why: an
    /// API that answers slowly, seldom or not at all must not keep its claims in memory for long.
    pub fn take_expired(&mut self, max_wait: Duration, now: Instant) -> Vec<(T, FaultReason)> {
        let expired = |api_queue: &mut ApiQueue<T>| {
            let delay = api_queue.delay();
            api_queue
                .take_expired(max_wait, now)
                .into_iter()
                .map(move |job| (job, delay))
                .collect::<Vec<_>>()
        };
        self.apis.iter_mut().flat_map(expired).collect()
    }

    /// The jobs that may be called soon, of APIs where one of the next is stale: as long as none is,
    /// the others can wait to be looked up together with it.
    pub fn stale_heads_mut(
        &mut self,
        now: Instant,
        is_stale: impl Fn(&T) -> bool + Copy,
    ) -> impl Iterator<Item = &mut T> {
        let stale =
            self.apis.iter_mut().filter(move |api_queue| api_queue.has_stale(now, is_stale));
        let heads = stale.flat_map(move |api_queue| api_queue.heads_mut(now));
        heads.filter(move |job| is_stale(job))
    }

    /// The jobs that may be called soon.
    pub fn heads_mut(&mut self, now: Instant) -> impl Iterator<Item = &mut T> {
        self.apis.iter_mut().flat_map(move |api_queue| api_queue.heads_mut(now))
    }

    /// Whether no call of the API is permitted now, not even a probe.
    pub fn is_barred(&self, api: usize, now: Instant) -> bool {
        self.apis[api].is_barred(now)
    }

    /// What keeps the API's jobs waiting.
    pub fn delay(&self, api: usize) -> FaultReason {
        self.apis[api].delay()
    }

    /// How many jobs wait for the API's permit.
    pub fn waiting(&self, api: usize) -> usize {
        self.apis[api].waiting()
    }

    /// Whether any job waits for a permit.
    pub fn has_waiting(&self) -> bool {
        self.apis.iter().any(|api_queue| api_queue.waiting() > 0)
    }

    /// How many calls of the API are under way.
    pub fn in_flight(&self, api: usize) -> usize {
        self.apis[api].limit.in_flight()
    }

    /// How many calls of the API there may be at once for now.
    pub fn concurrency(&self, api: usize) -> usize {
        self.apis[api].limit.concurrency()
    }

    /// The API's breaker.
    pub fn breaker(&self, api: usize) -> &Breaker {
        &self.apis[api].breaker
    }
}

#[cfg(test)]
mod tests;
