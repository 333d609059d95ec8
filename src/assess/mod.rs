//! Assess: how often, how fast and when the risk APIs are asked.
//!
//! [`Desk`] is where claims wait: for a permit of their API, or for the time of their next attempt. [`retry`], [`limit`] and [`token`] are
//! pure machines, and so is the desk; [`http`] is the only file here that knows a socket.
//! The invariants: a waiting claim holds no permit and no connection; one API's queue never delays another's.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

pub mod http;
pub mod limit;
pub mod retry;
pub mod token;

use limit::{Limit, Permission};

/// Where jobs wait: a queue and a bulkhead per API, and one timetable of retries.
#[derive(Debug)]
pub struct Desk<T> {
    apis: Vec<Queue<T>>,
    retries: BTreeMap<(Instant, u64), (usize, T)>,
    sequence: u64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    limit: Limit,
    /// No call is made: the access token is missing.
    shut_since: Option<Instant>,
}

/// What the desk has for the worker.
#[derive(Debug)]
pub enum Next<T> {
    /// Make this call; the API's permit is taken.
    Call(usize, T),
    /// Nothing to do before this time, or before something else happens.
    Wait(Option<Instant>),
}

impl<T> Desk<T> {
    /// A desk for these APIs, by their index.
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Self {
        let apis = limits.into_iter().map(|limit| Queue { waiting: VecDeque::new(), limit, shut_since: None }).collect();
        Self { apis, retries: BTreeMap::new(), sequence: 0 }
    }

    /// Puts a job at the end of its API's queue.
    pub fn submit(&mut self, api: usize, job: T) {
        self.apis[api].waiting.push_back(job);
    }

    /// Puts a job into its API's queue at a later time.
    pub fn submit_at(&mut self, at: Instant, api: usize, job: T) {
        self.sequence += 1;
        self.retries.insert((at, self.sequence), (api, job));
    }

    /// A call has ended: its permit is free again.
    pub fn release(&mut self, api: usize) {
        self.apis[api].limit.release();
    }

    /// Opens or shuts an API: shut, no calls are made.
    pub fn set_open(&mut self, api: usize, open: bool, now: Instant) {
        let shut_since = &mut self.apis[api].shut_since;
        *shut_since = if open { None } else { Some(shut_since.unwrap_or(now)) };
    }

    /// The next call that may be made.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        self.queue_due_retries(now);
        let mut wake = self.retries.first_key_value().map(|((at, _), _)| *at);
        for (api, queue) in self.apis.iter_mut().enumerate() {
            if queue.waiting.is_empty() || queue.shut_since.is_some() {
                continue;
            }
            match queue.limit.acquire(now) {
                Permission::Granted => {
                    if let Some(job) = queue.waiting.pop_front() {
                        return Next::Call(api, job);
                    }
                }
                Permission::Full => {}
                Permission::NotBefore(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
            }
        }
        Next::Wait(wake)
    }

    /// Puts the jobs whose time has come into their APIs' queues.
    pub fn queue_due_retries(&mut self, now: Instant) {
        while let Some(entry) = self.retries.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (api, job) = entry.remove();
            self.submit(api, job);
        }
    }

    /// Takes out the waiting jobs that match: those of partitions that are given back.
    pub fn take(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for queue in &mut self.apis {
            for job in std::mem::take(&mut queue.waiting) {
                if matches(&job) { taken.push(job) } else { queue.waiting.push_back(job) }
            }
        }
        for (key, (api, job)) in std::mem::take(&mut self.retries) {
            if matches(&job) {
                taken.push(job);
            } else {
                self.retries.insert(key, (api, job));
            }
        }
        taken
    }

    /// Takes out the jobs that wait for an API which has been shut for longer than `patience`.
    pub fn take_hopeless(&mut self, patience: std::time::Duration, now: Instant) -> Vec<(usize, T)> {
        let mut taken = Vec::new();
        for (api, queue) in self.apis.iter_mut().enumerate() {
            if queue.shut_since.is_some_and(|since| now.duration_since(since) > patience) {
                taken.extend(queue.waiting.drain(..).map(|job| (api, job)));
            }
        }
        taken
    }

    /// How many jobs wait for the API's permit.
    pub fn waiting(&self, api: usize) -> usize {
        self.apis[api].waiting.len()
    }

    /// How many calls of the API are under way.
    pub fn in_flight(&self, api: usize) -> usize {
        self.apis[api].limit.in_flight()
    }

    /// How many jobs wait for the time of their retry.
    pub fn retrying(&self) -> usize {
        self.retries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn desk() -> Desk<&'static str> {
        Desk::new([Limit::new(1, None), Limit::new(8, None)])
    }

    fn called(next: Next<&'static str>) -> Option<(usize, &'static str)> {
        match next {
            Next::Call(api, job) => Some((api, job)),
            Next::Wait(_) => None,
        }
    }

    #[test]
    fn a_full_api_does_not_hold_up_another() {
        let (mut desk, now) = (desk(), Instant::now());
        for job in ["a", "b"] {
            desk.submit(0, job);
        }
        desk.submit(1, "c");
        assert_eq!(called(desk.next(now)), Some((0, "a")));
        assert_eq!(called(desk.next(now)), Some((1, "c")), "b waits for its permit, c does not");
        assert_eq!(called(desk.next(now)), None);
        desk.release(0);
        assert_eq!(called(desk.next(now)), Some((0, "b")));
    }

    #[test]
    fn a_retry_waits_without_a_permit_until_its_time() {
        let (mut desk, now) = (desk(), Instant::now());
        let later = now + Duration::from_secs(1);
        desk.submit_at(later, 0, "late");
        desk.submit(0, "now");
        assert_eq!(called(desk.next(now)), Some((0, "now")));
        desk.release(0);
        assert!(matches!(desk.next(now), Next::Wait(Some(at)) if at == later));
        assert_eq!(called(desk.next(later)), Some((0, "late")));
    }

    #[test]
    fn a_shut_api_makes_no_calls_and_loses_hope_after_a_while() {
        let (mut desk, now) = (desk(), Instant::now());
        desk.submit(0, "a");
        desk.set_open(0, false, now);
        desk.set_open(0, false, now + Duration::from_secs(9));
        assert_eq!(called(desk.next(now)), None);
        assert!(desk.take_hopeless(Duration::from_secs(10), now + Duration::from_secs(10)).is_empty());
        assert_eq!(desk.take_hopeless(Duration::from_secs(10), now + Duration::from_secs(11)), [(0, "a")]);
        desk.submit(0, "b");
        desk.set_open(0, true, now);
        assert_eq!(called(desk.next(now)), Some((0, "b")));
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_keeps_its_order() {
        let (mut desk, now) = (desk(), Instant::now());
        for job in ["a1", "b1", "a2"] {
            desk.submit(1, job);
        }
        desk.submit_at(now, 1, "b2");
        assert_eq!(desk.take(|job| job.starts_with('b')), ["b1", "b2"]);
        assert_eq!(called(desk.next(now)), Some((1, "a1")));
        assert_eq!(called(desk.next(now)), Some((1, "a2")));
    }
}
