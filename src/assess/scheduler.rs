//! The scheduler: the queues of all APIs, and one timetable of retries. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::queue::{ApiQueue, Ended, Waiting};
use crate::intake::timetable::Timetable;
use crate::risk::FaultReason;

/// Where jobs wait: a queue for each API with limits of its own, and one timetable of retries.
#[derive(Debug)]
pub struct CallScheduler<T> {
    apis: Vec<ApiQueue<T>>,
    retries: Timetable<(usize, T)>,
}

/// What the worker is to do next.
#[derive(Debug)]
pub enum Next<T> {
    /// Make this call; it has the API's permit.
    Call {
        /// The job whose claim is to be assessed.
        job: T,
        /// Whether the call probes an open breaker.
        probe: bool,
    },
    /// Make no call before this time, or before something else happens.
    Wait(Option<Instant>),
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
        self.apis[api].call_ended(ended, now)
    }

    /// A call that [`CallScheduler::next`] permitted is not made after all: its permit is free
    /// again, and limit and breaker learn nothing from it.
    pub fn cancel(&mut self, api: usize, probe: bool, now: Instant) {
        self.apis[api].cancel(probe, now);
    }

    /// An API cannot be called until an operator fixes the configuration. Returns whether its
    /// breaker opened by it.
    pub fn deny(&mut self, api: usize, now: Instant) -> bool {
        self.apis[api].breaker.deny(now)
    }

    /// There are new credentials: an API that denied access may be probed at once.
    pub fn credentials_changed(&mut self, api: usize, now: Instant) {
        self.apis[api].breaker.credentials_changed(now);
    }

    /// Says whether an API that needs an access token has one. Without a token no calls are made.
    pub fn set_has_token(&mut self, api: usize, has_token: bool) {
        self.apis[api].has_no_token = !has_token;
    }

    /// The worker has the partitions `held`, of `partitions` of the input topic. It gets the same
    /// part of limits that hold for the whole group.
    pub fn set_share(&mut self, held: &[i32], partitions: u32, now: Instant) {
        for api_queue in &mut self.apis {
            // The former owner of a partition has ended its calls; or its session has expired,
            // which takes longer than any call.
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

    /// Puts the jobs whose time has come into their queues. [`CallScheduler::next`] does it, too.
    pub fn queue_due_retries(&mut self, now: Instant) {
        while let Some((api, job)) = self.retries.pop_due(now) {
            self.submit(api, job, now);
        }
    }

    /// Takes out the waiting jobs that match, such as those of partitions that are given back.
    pub fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for api_queue in &mut self.apis {
            taken.extend(api_queue.take(&mut matches));
        }
        taken.extend(self.retries.take(|(_, job)| matches(job)).map(|(_, job)| job));
        taken
    }

    /// The worker itself could make no calls for so long, until now. That time does not count as
    /// waiting for an API.
    pub fn forgive(&mut self, held_up: Duration, now: Instant) {
        self.apis.iter_mut().for_each(|api_queue| api_queue.forgive(held_up, now));
    }

    /// Takes out the jobs that have waited in a queue for longer than `max_wait`, each with the
    /// reason: the claims of a slow or failing API must not stay in memory for long.
    pub fn take_expired(&mut self, max_wait: Duration, now: Instant) -> Vec<(T, FaultReason)> {
        self.apis.iter_mut().flat_map(|api_queue| api_queue.take_expired(max_wait, now)).collect()
    }

    /// The stale jobs that may be called soon, of each API where one in the front half is stale. As
    /// long as none is, the stale ones further back wait, and are then looked up together.
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

    /// Why the API's jobs wait.
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
