//! Retry: what follows an attempt's reading.
//!
//! A pure machine: time and seed are arguments, and it returns a [`Step`] that the worker carries
//! out. The invariants: a verdict or a refusal ends the claim; nothing is retried past
//! `retry.in_process_for`; the two single retries (a new nonce, a new token) happen once each in a
//! claim's life, and only they say nothing against the API.
//!
//! The `backoff` crate is used here, and here only, as interval arithmetic (see `deny.toml`).
//!
//! ```
//! use claimgate::assess::retry::Retry;
//!
//! let now = tokio::time::Instant::now();
//! let mut retry = Retry::default();
//! assert!(retry.is_fresh());
//! assert_eq!(retry.begin(now), 1);
//! assert_eq!(retry.begin(now), 2);
//! assert_eq!(retry.attempts(), 2);
//! ```

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::breaker::CallHealth;
use super::budget;
use crate::decision::{Assessment, Decision};
use crate::risk::{ApiResult, Fault, FaultReason, RetryHint};

/// `[retry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The first pause is random, between 0 and this.
    #[serde(with = "humantime_serde")]
    pub initial_interval: Duration,
    /// The upper limit of the pause grows by this factor with each attempt.
    pub multiplier: f64,
    /// The upper limit of the pauses never exceeds this.
    #[serde(with = "humantime_serde")]
    pub max_interval: Duration,
    /// A claim that is still transient so long after its first attempt is deferred.
    #[serde(with = "humantime_serde")]
    pub in_process_for: Duration,
    /// A claim is deferred for about this long the first time, and twice as long each further time…
    #[serde(with = "humantime_serde")]
    pub defer_interval: Duration,
    /// …but no longer than this.
    #[serde(with = "humantime_serde")]
    pub defer_max_interval: Duration,
    /// A claim that is still transient so long after it was first taken on gets its `unassessed`
    /// decision.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// So many deferred claims are held in memory until they are due; what is more stays in Kafka.
    pub max_waiting: usize,
    /// The longest `Retry-After` that is honoured; a longer one counts as this.
    #[serde(with = "humantime_serde")]
    pub retry_after_max: Duration,
    /// `[retry.budget]`.
    pub budget: budget::Settings,
    /// Provider codes that are transient on every API.
    pub transient_codes: Vec<i64>,
    /// The decision of a claim that no API would assess.
    #[serde(deserialize_with = "final_decision")]
    pub on_unassessed: Decision,
}

/// A decision that ends a claim: there is no captcha to challenge a user with whom no API would
/// assess.
pub(crate) fn final_decision<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Decision, D::Error> {
    match Decision::deserialize(deserializer)? {
        Decision::Challenge => Err(D::Error::custom(
            "this is `approve`, `review` or `reject`: there is nothing to challenge with",
        )),
        decision @ (Decision::Approve | Decision::Review | Decision::Reject) => Ok(decision),
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The claim is assessed.
    Assessed(Assessment, i64),
    /// The claim will never be assessed.
    Unassessable(Fault),
    /// Ask again at this time.
    RetryAt(Instant),
    /// Its time in this process is up.
    Defer(Fault),
    /// The API takes no further attempt.
    GiveUp(Fault),
}

impl Settings {
    /// How long a claim is deferred for the `times`-th time: between half of its interval and the
    /// whole, so that claims that were deferred together do not come back together.
    pub fn defer_for(&self, times: u32, seed: u32) -> Duration {
        let doubled =
            self.defer_interval.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)));
        let interval = doubled.min(self.defer_max_interval);
        interval.mul_f64(0.5 + 0.5 * f64::from(seed) / f64::from(u32::MAX))
    }
}

/// One claim's history of attempts.
#[derive(Debug, Default)]
pub struct Retry {
    /// Before the claim was deferred last.
    earlier: u32,
    attempts: u32,
    /// Of all of them, those that did not reach the API or were turned away.
    unseen: u32,
    started: Option<Instant>,
    intervals: Option<ExponentialBackoff>,
    signed_again: bool,
    renewed_token: bool,
    /// The end of the pause that the last answer asked for.
    not_before: Option<Instant>,
}

impl Retry {
    /// The history of a claim that an API was asked about `earlier` times before it was deferred,
    /// `unseen` of them without its looking, at last with this reason: one that was deferred for
    /// want of a good signature or token has had its single retry.
    pub fn resumed(earlier: u32, unseen: u32, reason: Option<FaultReason>) -> Self {
        Self {
            earlier,
            unseen,
            signed_again: matches!(
                reason,
                Some(FaultReason::RequestExpired | FaultReason::RequestReplayed)
            ),
            renewed_token: reason == Some(FaultReason::BadAccessToken),
            ..Self::default()
        }
    }

    /// Counts an attempt that is about to be made; returns its number, 1 for the very first.
    pub fn begin(&mut self, now: Instant) -> u32 {
        self.started.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        self.attempts()
    }

    /// Whether no attempt was begun since the claim was taken on, or taken on again.
    pub fn is_fresh(&self) -> bool {
        self.attempts == 0
    }

    /// How many attempts were begun, those before the claim was deferred included.
    pub fn attempts(&self) -> u32 {
        self.earlier.saturating_add(self.attempts)
    }

    /// How many of them did not have the API look at the claim: no connection was made, or it
    /// turned the call away.
    pub fn unseen(&self) -> u32 {
        self.unseen
    }

    /// Until when the last answer asked for a pause, if it did: also a claim that leaves the
    /// process is not asked about before.
    pub fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Says what follows, and what the reading says about the API's health. `retry_after` is the
    /// answer's header, `max_attempts` the API's own bound, `seed` random.
    pub fn after(
        &mut self,
        settings: &Settings,
        reading: ApiResult,
        context: &Context,
    ) -> (CallHealth, Step) {
        let context = &Context { seen: context.seen && !reading.is_turned_away(), ..*context };
        let (fault, again, health) = match reading {
            ApiResult::Assessed { assessment, provider_code } => {
                return (CallHealth::Well, Step::Assessed(assessment, provider_code));
            }
            ApiResult::Unassessable(fault) => return (CallHealth::Well, Step::Unassessable(fault)),
            ApiResult::AccessDenied(fault) => (fault, RetryHint::Backoff, CallHealth::AccessDenied),
            ApiResult::Transient(fault, again) => (fault, again, self.health(again)),
        };
        (health, self.retry(settings, fault, again, context))
    }

    /// What a transient reading says: a new signature or token may mend it the first time, and not
    /// the second.
    fn health(&self, again: RetryHint) -> CallHealth {
        match again {
            RetryHint::Backoff | RetryHint::After(_) => CallHealth::Failing,
            RetryHint::Lasting => CallHealth::AccessDenied,
            RetryHint::FreshSignature if self.signed_again => CallHealth::Repeated,
            RetryHint::NewToken if self.renewed_token => CallHealth::Repeated,
            RetryHint::FreshSignature | RetryHint::NewToken => CallHealth::Pending,
        }
    }

    fn retry(
        &mut self,
        settings: &Settings,
        fault: Fault,
        again: RetryHint,
        context: &Context,
    ) -> Step {
        self.unseen = self.unseen.saturating_add(u32::from(!context.seen));
        let seen = self.attempts().saturating_sub(self.unseen);
        if context.seen && context.max_attempts.is_some_and(|max| seen >= max) {
            return Step::GiveUp(fault);
        }
        let mut asked = context.retry_after.unwrap_or_default().min(settings.retry_after_max);
        let at_once = match again {
            RetryHint::FreshSignature => !std::mem::replace(&mut self.signed_again, true),
            RetryHint::NewToken => !std::mem::replace(&mut self.renewed_token, true),
            RetryHint::After(pause) => {
                asked = asked.max(pause);
                false
            }
            RetryHint::Backoff | RetryHint::Lasting => false,
        };
        self.not_before = None;
        if at_once {
            return Step::RetryAt(context.now);
        }
        self.not_before = (!asked.is_zero()).then(|| context.now + asked);
        let started = self.started.unwrap_or(context.now);
        let at = context.now + self.pause(settings, context).max(asked);
        if at.duration_since(started) > settings.in_process_for {
            Step::Defer(fault)
        } else {
            Step::RetryAt(at)
        }
    }

    /// Full jitter: anything up to the interval, so that claims that failed together do not come
    /// back together.
    fn pause(&mut self, settings: &Settings, context: &Context) -> Duration {
        let intervals = self.intervals.get_or_insert_with(|| {
            ExponentialBackoffBuilder::new()
                .with_initial_interval(settings.initial_interval)
                .with_multiplier(settings.multiplier)
                .with_max_interval(settings.max_interval)
                .with_randomization_factor(0.0)
                .with_max_elapsed_time(None)
                .build()
        });
        let interval = intervals.next_backoff().unwrap_or(settings.max_interval);
        interval.mul_f64(f64::from(context.seed) / f64::from(u32::MAX))
    }
}

/// What the machine is told besides the reading.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The present.
    pub now: Instant,
    /// Random.
    pub seed: u32,
    /// The answer's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The API's own bound on attempts that it has looked at.
    pub max_attempts: Option<u32>,
    /// Whether it may have seen this one.
    pub seen: bool,
}

#[cfg(test)]
mod tests;
