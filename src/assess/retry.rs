//! Retry: what follows an attempt's reading.
//!
//! A pure machine: time and seed are arguments, and it returns a [`Step`] that the worker carries out.
//! The invariants: a verdict or a refusal ends the claim; nothing is retried past `retry.in_process_for`; the two single
//! retries (a new nonce, a new token) happen once each in a claim's life, and only they say nothing
//! against the API.
//!
//! The `backoff` crate is used here, and here only, as interval arithmetic (see `deny.toml`).

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::breaker::Sign;
use super::budget;
use crate::decision::{Decision, Finding};
use crate::risk::{Again, Fault, Reading};

/// `[retry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The first pause is a random part of this.
    #[serde(with = "humantime_serde")]
    pub initial_interval: Duration,
    /// Each further pause is a random part of this many times the last one.
    pub multiplier: f64,
    /// No pause is a part of more than this.
    #[serde(with = "humantime_serde")]
    pub max_interval: Duration,
    /// A claim that is still transient so long after its first attempt is parked.
    #[serde(with = "humantime_serde")]
    pub in_process_for: Duration,
    /// A claim is parked for about this long the first time, and twice as long each further time…
    #[serde(with = "humantime_serde")]
    pub park_interval: Duration,
    /// …but no longer than this.
    #[serde(with = "humantime_serde")]
    pub park_max_interval: Duration,
    /// A claim that is still transient so long after it was first taken on gets its `unassessed` decision.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// So many parked claims are held in memory until they are due; what is more stays in Kafka.
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
fn final_decision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decision, D::Error> {
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
    Assessed(Finding, i64),
    /// The claim will never be assessed.
    Refused(Fault),
    /// Ask again at this time.
    RetryAt(Instant),
    /// Its time in this process is up.
    Park(Fault),
    /// The API takes no further attempt.
    GiveUp(Fault),
}

impl Settings {
    /// How long a claim is parked for the `times`-th time: between half of its interval and the whole, so that claims that were
    /// parked together do not come back together.
    pub fn park_for(&self, times: u32, seed: u32) -> Duration {
        let doubled = self.park_interval.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)));
        let interval = doubled.min(self.park_max_interval);
        interval.mul_f64(0.5 + 0.5 * f64::from(seed) / f64::from(u32::MAX))
    }
}

/// One claim's history of attempts.
#[derive(Debug, Default)]
pub struct Retry {
    /// Before the claim was parked last.
    earlier: u32,
    attempts: u32,
    started: Option<Instant>,
    intervals: Option<ExponentialBackoff>,
    resigned: bool,
    renewed_token: bool,
}

impl Retry {
    /// The history of a claim that an API was asked about `earlier` times before it was parked, at
    /// last with this reason: one that was parked for want of a good signature or token has had its
    /// single retry.
    pub fn resumed(earlier: u32, reason: &str) -> Self {
        Self {
            earlier,
            resigned: matches!(reason, "request_expired" | "request_replayed"),
            renewed_token: reason == "bad_access_token",
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

    /// How many attempts were begun, those before the claim was parked included.
    pub fn attempts(&self) -> u32 {
        self.earlier.saturating_add(self.attempts)
    }

    /// Says what follows, and what the reading says about the API's health. `retry_after` is the
    /// answer's header, `max_attempts` the API's own bound, `seed` random.
    pub fn after(&mut self, settings: &Settings, reading: Reading, context: &Context) -> (Sign, Step) {
        let (fault, again, sign) = match reading {
            Reading::Verdict { finding, provider_code } => {
                return (Sign::Well, Step::Assessed(finding, provider_code));
            }
            Reading::Refused(fault) => return (Sign::Well, Step::Refused(fault)),
            Reading::Configuration(fault) => (fault, Again::Backoff, Sign::Misconfigured),
            Reading::Transient(fault, again) => (fault, again, self.sign(again)),
        };
        (sign, self.retry(settings, fault, again, context))
    }

    /// What a transient reading says: a new signature or token may mend it the first time, and not
    /// the second.
    fn sign(&self, again: Again) -> Sign {
        match again {
            Again::Backoff => Sign::Failing,
            Again::Lasting => Sign::Misconfigured,
            Again::Resigned if self.resigned => Sign::Repeated,
            Again::NewToken if self.renewed_token => Sign::Repeated,
            Again::Resigned | Again::NewToken => Sign::Pending,
        }
    }

    fn retry(&mut self, settings: &Settings, fault: Fault, again: Again, context: &Context) -> Step {
        if context.max_attempts.is_some_and(|max| self.attempts() >= max) {
            return Step::GiveUp(fault);
        }
        let at_once = match again {
            Again::Resigned => !std::mem::replace(&mut self.resigned, true),
            Again::NewToken => !std::mem::replace(&mut self.renewed_token, true),
            Again::Backoff | Again::Lasting => false,
        };
        if at_once {
            return Step::RetryAt(context.now);
        }
        let started = self.started.unwrap_or(context.now);
        let at = context.now + self.pause(settings, context);
        if at.duration_since(started) > settings.in_process_for {
            Step::Park(fault)
        } else {
            Step::RetryAt(at)
        }
    }

    /// Full jitter: anything up to the interval, so that claims that failed together do not come back together.
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
        let jittered = interval.mul_f64(f64::from(context.seed) / f64::from(u32::MAX));
        let asked = context.retry_after.unwrap_or_default().min(settings.retry_after_max);
        jittered.max(asked)
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
    /// The API's own bound on attempts.
    pub max_attempts: Option<u32>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> Settings {
        Settings {
            initial_interval: Duration::from_millis(100),
            multiplier: 2.0,
            max_interval: Duration::from_secs(5),
            in_process_for: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(10),
            park_interval: Duration::from_secs(60),
            park_max_interval: Duration::from_secs(3_600),
            give_up_after: Duration::from_secs(86_400),
            max_waiting: 10,
            budget: budget::Settings { ratio: 0.1, per_second: 10.0, reserve: 100.0 },
            transient_codes: vec![],
            on_unassessed: Decision::Review,
        }
    }

    fn transient(again: Again) -> Reading {
        Reading::Transient(Fault::coded("internal_error", 5), again)
    }

    fn context(now: Instant, seed: u32) -> Context {
        Context { now, seed, retry_after: None, max_attempts: None }
    }

    proptest! {
        #[test]
        fn pauses_stay_within_their_growing_interval_and_the_whole_within_its_time(seeds in prop::collection::vec(any::<u32>(), 1..2_000)) {
            let (settings, start) = (settings(), Instant::now());
            let (mut retry, mut now) = (Retry::default(), start);
            for (index, seed) in seeds.into_iter().enumerate() {
                retry.begin(now);
                let most = settings.max_interval.min(settings.initial_interval * 2_u32.saturating_pow(u32::try_from(index).unwrap()).min(1_000));
                match retry.after(&settings, transient(Again::Backoff), &context(now, seed)).1 {
                    Step::RetryAt(at) => {
                        prop_assert!(at - now <= most, "pause {index}: {:?} > {most:?}", at - now);
                        prop_assert!(at - start <= settings.in_process_for);
                        now = at;
                    }
                    Step::Park(_) => {
                        prop_assert!(now - start + most > settings.in_process_for, "parked too early");
                        break;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_verdict_and_a_refusal_end_the_claim() {
        let mut retry = Retry::default();
        let now = Instant::now();
        let finding = Finding::Level { level: 0, risk_types: vec![] };
        let verdict = Reading::Verdict { finding: finding.clone(), provider_code: 0 };
        let assessed = (Sign::Well, Step::Assessed(finding, 0));
        assert_eq!(retry.after(&settings(), verdict, &context(now, 0)), assessed);
        let fault = Fault::coded("bad_openid", 2);
        assert_eq!(
            retry.after(&settings(), Reading::Refused(fault.clone()), &context(now, 0)),
            (Sign::Well, Step::Refused(fault))
        );
    }

    #[test]
    fn a_new_nonce_and_a_new_token_are_tried_once_each_at_once() {
        let (settings, now) = (settings(), Instant::now());
        let mut retry = Retry::default();
        retry.begin(now);
        for again in [Again::Resigned, Again::NewToken] {
            assert_eq!(
                retry.after(&settings, transient(again), &context(now, u32::MAX)).1,
                Step::RetryAt(now),
                "{again:?}"
            );
            let (_, second) = retry.after(&settings, transient(again), &context(now, u32::MAX));
            assert!(matches!(second, Step::RetryAt(at) if at > now), "{again:?}: {second:?}");
        }
    }

    #[test]
    fn review_04_only_the_first_call_for_a_new_signature_or_token_says_nothing_against_the_api() {
        let (settings, now) = (settings(), Instant::now());
        for (again, reason) in [(Again::Resigned, "request_expired"), (Again::NewToken, "bad_access_token")] {
            let mut retry = Retry::default();
            let mut sign = || retry.after(&settings, transient(again), &context(now, 0)).0;
            assert_eq!([sign(), sign(), sign()], [Sign::Pending, Sign::Repeated, Sign::Repeated]);
            let mut parked = Retry::resumed(3, reason);
            let (sign, step) = parked.after(&settings, transient(again), &context(now, u32::MAX));
            assert_eq!(sign, Sign::Repeated, "{again:?}: it was parked for that very reason");
            assert_ne!(step, Step::RetryAt(now), "{again:?}: it has had its retry at once");
            let mut parked = Retry::resumed(3, "http_5xx");
            assert_eq!(parked.after(&settings, transient(again), &context(now, 0)).0, Sign::Pending);
        }
        let mut retry = Retry::default();
        let signs = [Again::Backoff, Again::Lasting]
            .map(|again| retry.after(&settings, transient(again), &context(now, 0)).0);
        assert_eq!(signs, [Sign::Failing, Sign::Misconfigured]);
    }

    #[test]
    fn review_21_a_challenge_is_no_decision_of_a_claim_that_nobody_assessed() {
        let read = |word: &str| {
            let config = crate::config::Config::from_toml(&format!("[retry]\non_unassessed = \"{word}\""));
            config.map(|config| config.retry.on_unassessed).map_err(|error| error.to_string())
        };
        assert_eq!(read("reject"), Ok(Decision::Reject));
        let error = read("challenge").unwrap_err();
        assert!(error.contains("retry.on_unassessed: this is `approve`, `review` or `reject`"), "{error}");
    }

    #[test]
    fn retry_after_is_honoured_within_its_bound() {
        let (settings, now) = (settings(), Instant::now());
        for (asked, granted) in [(2, 2), (3_600, 10)] {
            let context = Context { retry_after: Some(Duration::from_secs(asked)), ..context(now, 0) };
            let (_, step) = Retry::default().after(&settings, transient(Again::Backoff), &context);
            assert_eq!(step, Step::RetryAt(now + Duration::from_secs(granted)));
        }
    }

    #[test]
    fn a_claim_is_parked_for_longer_each_time_up_to_a_bound() {
        let settings = settings();
        let longest: Vec<u64> = (1..=8).map(|times| settings.park_for(times, u32::MAX).as_secs()).collect();
        assert_eq!(longest, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(settings.park_for(1, 0).as_secs(), 30);
        assert_eq!(settings.park_for(u32::MAX, u32::MAX).as_secs(), 3_600);
    }

    #[test]
    fn attempts_before_the_parking_count() {
        let now = Instant::now();
        let mut retry = Retry::resumed(1, "http_5xx");
        let context = Context { max_attempts: Some(2), ..context(now, 0) };
        assert_eq!(retry.begin(now), 2);
        assert!(matches!(retry.after(&settings(), transient(Again::Backoff), &context).1, Step::GiveUp(_)));
    }

    #[test]
    fn an_api_may_bound_the_attempts() {
        let now = Instant::now();
        let mut retry = Retry::default();
        let context = Context { max_attempts: Some(2), ..context(now, 0) };
        assert_eq!(retry.begin(now), 1);
        assert!(matches!(retry.after(&settings(), transient(Again::Backoff), &context).1, Step::RetryAt(_)));
        assert_eq!(retry.begin(now), 2);
        assert!(matches!(retry.after(&settings(), transient(Again::Backoff), &context).1, Step::GiveUp(_)));
    }
}
