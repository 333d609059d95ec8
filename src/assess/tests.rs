use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{self, Breaker, CallHealth};
use super::budget::{self, Budget};
use super::limit::Limit;
use super::{ApiQueue, CallScheduler, Ended, Next, Waiting};
use crate::risk::FaultReason;

/// A job of a test: one that ends with `again` was called before.
type Job = &'static str;

impl Waiting for Job {
    fn is_first_call(&self) -> bool {
        !self.ends_with("again")
    }

    fn is_undecided(&self, _: Instant) -> bool {
        !self.starts_with("stale")
    }
}

fn api_queue(concurrency: usize, reserve: f64, now: Instant) -> ApiQueue<Job> {
    let breaker = breaker::Settings {
        failure_ratio: 0.5,
        min_calls: 2,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(1),
        open_max: Duration::from_secs(10),
        access_denied_for: Duration::from_secs(10),
        access_denied_max: Duration::from_secs(10),
        probes: 1,
    };
    let budget = budget::Settings { ratio: 0.1, per_second: 1.0, reserve };
    ApiQueue::new(
        Limit::new(concurrency, None),
        Breaker::new(breaker, now),
        Budget::new(budget, now),
    )
}

fn ended(health: CallHealth, probe: bool) -> Ended {
    Ended { health, took: Duration::ZERO, probe }
}

fn scheduler(now: Instant) -> CallScheduler<Job> {
    CallScheduler::new(vec![api_queue(1, 9.0, now), api_queue(8, 1.0, now)])
}

fn called(next: Next<Job>) -> Option<Job> {
    match next {
        Next::Call { job, .. } => Some(job),
        Next::Wait(_) => None,
    }
}

/// Makes the second API's breaker open.
fn fail(scheduler: &mut CallScheduler<Job>, now: Instant) {
    for _ in 0..2 {
        scheduler.submit(1, "failing", now);
        assert_eq!(called(scheduler.next(now)), Some("failing"));
        scheduler.release(1, ended(CallHealth::Failing, false), now);
    }
    assert!(scheduler.breaker(1).open_since().is_some());
}

#[test]
fn a_full_api_does_not_hold_up_another() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    for job in ["a", "b"] {
        scheduler.submit(0, job, now);
    }
    scheduler.submit(1, "c", now);
    assert_eq!(called(scheduler.next(now)), Some("a"));
    assert_eq!(called(scheduler.next(now)), Some("c"), "b waits for its permit, c does not");
    assert_eq!(called(scheduler.next(now)), None);
    scheduler.release(0, ended(CallHealth::Well, false), now);
    assert_eq!(called(scheduler.next(now)), Some("b"));
}

#[test]
fn a_retry_waits_without_a_permit_until_its_time() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    let later = now + Duration::from_secs(1);
    scheduler.submit_at(later, 0, "late again");
    scheduler.submit(0, "now", now);
    assert_eq!(called(scheduler.next(now)), Some("now"));
    scheduler.release(0, ended(CallHealth::Well, false), now);
    assert!(matches!(scheduler.next(now), Next::Wait(Some(at)) if at == later));
    assert_eq!(called(scheduler.next(later)), Some("late again"));
}

#[test]
fn retries_beyond_the_budget_wait_and_first_calls_do_not() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    for job in ["a again", "b again", "c"] {
        scheduler.submit(1, job, now);
    }
    assert_eq!(called(scheduler.next(now)), Some("a again"));
    assert_eq!(called(scheduler.next(now)), Some("c"));
    let Next::Wait(Some(at)) = scheduler.next(now) else { panic!("the budget is spent") };
    assert!(at > now && at <= now + Duration::from_secs(1));
    assert_eq!(called(scheduler.next(at)), Some("b again"));
}

#[test]
fn a_failing_api_is_only_probed_with_a_first_call_if_possible() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    fail(&mut scheduler, now);
    scheduler.submit(1, "a again", now);
    scheduler.submit(1, "b", now);
    let later = now + Duration::from_secs(1);
    assert!(matches!(scheduler.next(now), Next::Wait(Some(at)) if at == later));
    assert!(matches!(scheduler.next(later), Next::Call { job: "b", probe: true }));
    assert_eq!(called(scheduler.next(later)), None, "one probe at a time");
    scheduler.release(1, ended(CallHealth::Well, true), later);
    assert_eq!(called(scheduler.next(later)), Some("a again"));
}

/// Calls that hung while an API failed for a moment ended when it was well again, and opened the
/// breaker once more.
#[test]
fn calls_that_were_sent_before_the_breaker_opened_do_not_open_it_again() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    let timed_out =
        |took| Ended { health: CallHealth::Failing, took: Duration::from_secs(took), probe: false };
    for job in ["hangs", "hangs", "hangs", "hangs", "probes"] {
        scheduler.submit(1, job, now);
    }
    for _ in 0..4 {
        assert_eq!(called(scheduler.next(now)), Some("hangs"));
    }
    let later = |seconds| now + Duration::from_secs(seconds);
    scheduler.release(1, timed_out(2), later(2));
    assert!(scheduler.release(1, timed_out(2), later(2)), "two of two");
    assert!(matches!(scheduler.next(later(3)), Next::Call { job: "probes", probe: true }));
    scheduler.release(1, ended(CallHealth::Well, true), later(3));
    for _ in 0..2 {
        assert!(!scheduler.release(1, timed_out(4), later(4)), "it was sent before");
    }
    assert_eq!(scheduler.breaker(1).open_since(), None);
    for _ in 0..2 {
        scheduler.submit(1, "hangs", later(4));
        assert_eq!(called(scheduler.next(later(4))), Some("hangs"));
    }
    assert!(!scheduler.release(1, timed_out(2), later(6)));
    assert!(scheduler.release(1, timed_out(2), later(6)), "these were sent since");
}

#[test]
fn jobs_that_waited_too_long_expire_with_the_reason() {
    let (now, max_wait) = (Instant::now(), Duration::from_secs(10));
    let mut scheduler = scheduler(now);
    fail(&mut scheduler, now);
    for job in ["a", "b", "c again"] {
        scheduler.submit(0, job, now);
    }
    scheduler.submit(1, "d", now);
    assert_eq!(called(scheduler.next(now)), Some("c again"), "the API takes one at a time");
    assert!(scheduler.take_expired(max_wait, now + max_wait).is_empty());
    let late = now + max_wait + Duration::from_secs(1);
    let expected = [
        ("a", FaultReason::NoPermit),
        ("b", FaultReason::NoPermit),
        ("d", FaultReason::BreakerOpen),
    ];
    assert_eq!(scheduler.take_expired(max_wait, late), expected);
    scheduler.set_has_token(0, false);
    scheduler.submit(0, "e", now);
    assert_eq!(scheduler.take_expired(max_wait, late), [("e", FaultReason::NoAccessToken)]);
}

#[test]
fn time_in_which_the_worker_could_make_no_calls_is_no_wait() {
    let (now, max_wait) = (Instant::now(), Duration::from_secs(10));
    let later = |seconds| now + Duration::from_secs(seconds);
    let mut scheduler = scheduler(now);
    scheduler.submit(0, "a", now);
    scheduler.submit(0, "b again", now);
    scheduler.submit(0, "c", later(35));
    scheduler.forgive(Duration::from_secs(30), later(36));
    assert!(scheduler.take_expired(max_wait, later(40)).is_empty(), "they waited for 10 s");
    let expected = [("b again", FaultReason::NoPermit), ("a", FaultReason::NoPermit)];
    assert_eq!(scheduler.take_expired(max_wait, later(41)), expected);
    assert!(scheduler.take_expired(max_wait, later(46)).is_empty(), "none began to wait later");
    assert_eq!(scheduler.take_expired(max_wait, later(47)), [("c", FaultReason::NoPermit)]);
}

#[test]
fn a_stale_job_is_looked_up_again_before_its_call() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    scheduler.submit(0, "stale", now);
    scheduler.submit(1, "b", now);
    assert_eq!(called(scheduler.next(now)), Some("b"));
    assert_eq!(called(scheduler.next(now)), None);
    assert_eq!(
        scheduler.heads_mut(now).map(|job| *job).collect::<Vec<_>>(),
        ["stale"],
        "it is to be looked up"
    );
    scheduler.heads_mut(now).for_each(|job| *job = "fresh");
    assert_eq!(called(scheduler.next(now)), Some("fresh"));
}

#[test]
fn stale_jobs_are_looked_up_together_before_their_call() {
    let now = Instant::now();
    let mut scheduler = CallScheduler::new(vec![api_queue(64, 1.0, now)]);
    let stale = |scheduler: &mut CallScheduler<Job>| {
        scheduler.stale_heads_mut(now, |job| job.starts_with("stale")).count()
    };
    (0..64).for_each(|_| scheduler.submit(0, "fresh", now));
    (0..200).for_each(|_| scheduler.submit(0, "stale", now));
    assert_eq!(stale(&mut scheduler), 0, "the next round was looked up");
    assert_eq!(called(scheduler.next(now)), Some("fresh"));
    assert_eq!(stale(&mut scheduler), 65, "with one that is stale all that may be called soon");
    scheduler.heads_mut(now).for_each(|job| *job = "fresh");
    assert_eq!(stale(&mut scheduler), 0);
    scheduler.submit(0, "stale again", now);
    assert_eq!(stale(&mut scheduler), 1);
}

#[test]
fn what_is_taken_out_is_gone_and_the_rest_keeps_its_order() {
    let now = Instant::now();
    let mut scheduler = scheduler(now);
    for job in ["a1", "b1", "a2"] {
        scheduler.submit(1, job, now);
    }
    scheduler.submit_at(now, 1, "b2 again");
    assert_eq!(scheduler.take(|job| job.starts_with('b')), ["b1", "b2 again"]);
    assert_eq!(called(scheduler.next(now)), Some("a1"));
    assert_eq!(called(scheduler.next(now)), Some("a2"));
}
