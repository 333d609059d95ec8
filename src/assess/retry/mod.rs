//! Retry: what to do after an attempt.
//!
//! A pure machine: time and seed are arguments, and it returns a [`Step`] that the worker carries
//! out. The invariants:
//!
//! - An assessed or unassessable claim is not retried.
//! - Nothing is retried in this process for longer than `retry.in_process_for`.
//! - A retry at once with a new signature, and one with a new token, happen once each in a claim's
//!   life. Only the faults before these two say nothing against the API.
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
use crate::risk::{ApiResult, Fault, FaultReason, LIMIT_PAUSE, RetryHint};

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
    /// A claim that is still transient this long after its first attempt is deferred.
    #[serde(with = "humantime_serde")]
    pub in_process_for: Duration,
    /// A claim is deferred for about this long the first time, and twice as long each further time…
    #[serde(with = "humantime_serde")]
    pub defer_interval: Duration,
    /// …but no longer than this.
    #[serde(with = "humantime_serde")]
    pub defer_max_interval: Duration,
    /// A claim that is still transient this long after it was first taken on gets its `unassessed`
    /// decision.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// The most deferred claims that are held in memory until they are due; others stay in Kafka.
    pub max_waiting: usize,
    /// The longest `Retry-After` that is honoured; a longer one counts as this.
    #[serde(with = "humantime_serde")]
    pub retry_after_max: Duration,
    /// `[retry.budget]`.
    pub budget: budget::Settings,
    /// Provider codes that are transient on every API.
    pub transient_codes: Vec<i64>,
    /// The decision of a claim that no API assessed.
    #[serde(deserialize_with = "final_decision")]
    pub on_unassessed: Decision,
}

/// A decision that ends a claim. Not `challenge`: without an answer there is no captcha to show.
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
    /// Make another attempt at this time.
    RetryAt(Instant),
    /// Its time in this process is up: defer it.
    Defer(Fault),
    /// The API takes no further attempt.
    GiveUp(Fault),
}

impl Settings {
    /// The longest that a claim is deferred for: what an API asks for counts even where the
    /// intervals are shorter.
    pub fn longest_pause(&self) -> Duration {
        self.defer_max_interval.max(self.retry_after_max).max(LIMIT_PAUSE)
    }

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
    /// Attempts that were made before the claim was deferred.
    earlier: u32,
    attempts: u32,
    /// How many of all attempts did not reach the API, or were turned away by it.
    unseen: u32,
    /// The last return code that came.
    code: Option<i64>,
    started: Option<Instant>,
    intervals: Option<ExponentialBackoff>,
    signed_again: bool,
    renewed_token: bool,
    /// The end of the pause that the last answer asked for.
    not_before: Option<Instant>,
}

impl Retry {
    /// The history of a claim that was deferred after `earlier` attempts, for this reason; the API
    /// did not look at `unseen` of them. If the reason was a bad signature or token, the claim has
    /// had its retry at once.
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

    /// The same, where this was the last return code that came.
    pub fn with_code(self, code: Option<i64>) -> Self {
        Self { code, ..self }
    }

    /// Counts an attempt that is about to be made; returns its number, 1 for the very first.
    pub fn begin(&mut self, now: Instant) -> u32 {
        self.started.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        self.attempts()
    }

    /// Whether no attempt was begun since the claim was last taken on.
    pub fn is_fresh(&self) -> bool {
        self.attempts == 0
    }

    /// How many attempts were begun, including those before the claim was deferred.
    pub fn attempts(&self) -> u32 {
        self.earlier.saturating_add(self.attempts)
    }

    /// How many of them the API did not look at: no connection was made, or it turned the call
    /// away.
    pub fn unseen(&self) -> u32 {
        self.unseen
    }

    /// The last return code that came, also before the claim was deferred.
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// Until when the last answer asked for a pause, if it did. A deferred claim keeps to it too.
    pub fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Decides what follows an attempt with this result, and what the result shows about the API.
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
            ApiResult::AccessDenied(fault) => (fault, RetryHint::Backoff, denial(&fault)),
            ApiResult::Transient(fault, again) => (fault, again, self.health(again)),
        };
        (health, self.retry(settings, fault, again, context))
    }

    /// What a transient result shows about the API. The first time, a new signature or token may
    /// help; not the second time.
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
        self.code = fault.provider_code.or(self.code);
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

    /// Full jitter: any pause up to the interval, so that claims that failed together are not
    /// retried together.
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

/// What it shows about the API that access was denied.
fn denial(fault: &Fault) -> CallHealth {
    match fault.provider_code {
        Some(_) => CallHealth::AccessDenied,
        None => CallHealth::DeniedByStatus,
    }
}

/// What the decision depends on, besides the result.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time now.
    pub now: Instant,
    /// A random number.
    pub seed: u32,
    /// The answer's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The most attempts that the API accepts for one claim, of those that it looks at.
    pub max_attempts: Option<u32>,
    /// Whether the API may have looked at this attempt.
    pub seen: bool,
}

#[cfg(test)]
mod tests;
