//! The circuit breaker of one API: stops the calls while they are of no use, and finds out when they are again.
//!
//! A pure machine: time is an argument, and it says what may be done; the desk does it.
//!
//! ```text
//!            too many failures, or the API refuses us
//!   closed ────────────────────────────────────────────► open
//!      ▲                                                  │ its time is up
//!      │ enough probes succeed                            ▼
//!      └───────────────────────────────────────────── half-open
//!                                                         │ a probe fails: open again, for longer
//! ```
//!
//! The invariants: while it is open nothing is called but probes, one at a time; a call that was sent before it opened says nothing
//! about what comes after.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// `[breaker]`: the same for every API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// It opens when so large a part of a window's calls failed…
    pub failure_ratio: f64,
    /// …and the window had at least so many.
    pub min_calls: u32,
    /// How long a window is.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long it stays open before the first probe; twice as long after each probe that fails…
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    /// …but no longer than this.
    #[serde(with = "humantime_serde")]
    pub open_max: Duration,
    /// The interval of probes while the API refuses us: no permission, bad signature, balance exhausted.
    #[serde(with = "humantime_serde")]
    pub misconfigured_for: Duration,
    /// So many probes in a row must succeed before it closes.
    pub probes: u32,
}

/// What a call says about its API's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered, whatever it said.
    Well,
    /// It did not, or not usably.
    Failing,
    /// It refuses us, and no retry mends that soon.
    Misconfigured,
    /// It asks for the call once more, at once, in a new form (a new signature, a new token). That
    /// says nothing yet of a closed breaker's API, and a probe has not succeeded by it.
    Pending,
    /// It refused the new form, too. It counts as a failure; a breaker that opens by it says that
    /// the set-up is at fault: this host's clock, the token, the keys.
    Repeated,
}

impl Sign {
    /// Whether no retry mends it, so that somebody has to.
    fn blames_set_up(self) -> bool {
        match self {
            Self::Misconfigured | Self::Repeated => true,
            Self::Well | Self::Failing | Self::Pending => false,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { since: Instant, calls: u32, failures: u32 },
    Open { since: Instant, until: Instant, misconfigured: bool, times: u32 },
    HalfOpen { since: Instant, probing: bool, succeeded: u32, misconfigured: bool, times: u32 },
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Yes.
    Free,
    /// As a probe.
    Probe,
    /// Not before this time; without one, not before the probe under way has ended.
    Barred(Option<Instant>),
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self { settings, state: State::Closed { since: now, calls: 0, failures: 0 } }
    }

    /// Whether a call may be made now.
    pub fn passage(&self, now: Instant) -> Passage {
        match &self.state {
            State::Closed { .. } => Passage::Free,
            State::Open { until, .. } if now < *until => Passage::Barred(Some(*until)),
            State::HalfOpen { probing: true, .. } => Passage::Barred(None),
            State::Open { .. } | State::HalfOpen { .. } => Passage::Probe,
        }
    }

    /// A call is being made, with [`Breaker::passage`]'s leave.
    pub fn called(&mut self) {
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { since, misconfigured, times, .. } => {
                self.state = State::HalfOpen {
                    since: *since,
                    probing: true,
                    succeeded: 0,
                    misconfigured: *misconfigured,
                    times: *times,
                };
            }
            State::HalfOpen { probing, .. } => *probing = true,
        }
    }

    /// A call has ended. `probe` says whether it was made as one. Returns whether the breaker opened by it.
    pub fn ended(&mut self, sign: Sign, probe: bool, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } if sign == Sign::Pending => {}
            State::Closed { since, calls, failures } => {
                if now.duration_since(*since) > self.settings.window {
                    (*since, *calls, *failures) = (now, 0, 0);
                }
                *calls = calls.saturating_add(1);
                *failures = failures.saturating_add(u32::from(sign != Sign::Well));
                let ratio = f64::from(*failures) / f64::from(*calls);
                let failing = *calls >= self.settings.min_calls && ratio >= self.settings.failure_ratio;
                let opens = match sign {
                    // Though it be the one that makes them enough.
                    Sign::Well | Sign::Pending => false,
                    Sign::Failing | Sign::Repeated => failing,
                    Sign::Misconfigured => true,
                };
                if opens {
                    self.open(sign.blames_set_up(), 0, now, now);
                    return true;
                }
            }
            State::HalfOpen { since, probing, succeeded, times, .. } if probe => {
                *probing = false;
                if sign != Sign::Well {
                    let (since, times) = (*since, times.saturating_add(1));
                    self.open(sign.blames_set_up(), times, since, now);
                    return true;
                }
                *succeeded += 1;
                if *succeeded >= self.settings.probes {
                    self.state = State::Closed { since: now, calls: 0, failures: 0 };
                }
            }
            // Sent before it opened.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        false
    }

    /// The API cannot be called at all until somebody mends the set-up: as if it had refused us.
    /// Returns whether the breaker opened by it.
    pub fn deny(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } => {
                self.open(true, 0, now, now);
                true
            }
            State::Open { misconfigured, .. } | State::HalfOpen { misconfigured, .. } => {
                *misconfigured = true;
                false
            }
        }
    }

    /// A call that [`Breaker::called`] announced was not made after all.
    pub fn withdrawn(&mut self, probe: bool) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && probe
        {
            *probing = false;
        }
    }

    /// Since when no calls but probes are made; `None` while it is closed.
    pub fn open_since(&self) -> Option<Instant> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } | State::HalfOpen { since, .. } => Some(*since),
        }
    }

    /// The word for the metric: `closed`, `open`, `half_open`; and whether the API refuses us.
    pub fn state(&self) -> (&'static str, bool) {
        match &self.state {
            State::Closed { .. } => ("closed", false),
            State::Open { misconfigured, .. } => ("open", *misconfigured),
            State::HalfOpen { misconfigured, .. } => ("half_open", *misconfigured),
        }
    }

    fn open(&mut self, misconfigured: bool, times: u32, since: Instant, now: Instant) {
        let doubled =
            self.settings.open_for.saturating_mul(2_u32.saturating_pow(times)).min(self.settings.open_max);
        let pause = if misconfigured { doubled.max(self.settings.misconfigured_for) } else { doubled };
        self.state = State::Open { since, until: now + pause, misconfigured, times };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> Settings {
        Settings {
            failure_ratio: 0.5,
            min_calls: 10,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(1),
            open_max: Duration::from_secs(30),
            misconfigured_for: Duration::from_secs(60),
            probes: 3,
        }
    }

    #[test]
    fn a_call_that_went_well_opens_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        assert!((0..9).all(|_| !breaker.ended(Sign::Failing, false, now)), "too few calls to judge by");
        assert!(!breaker.ended(Sign::Well, false, now));
        assert_eq!(breaker.passage(now), Passage::Free);
        assert!(breaker.ended(Sign::Failing, false, now), "ten of eleven");
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(settings(), now);
        for _ in 0..10 {
            breaker.ended(Sign::Failing, false, now);
        }
        assert_eq!(breaker.state(), ("open", false));
        breaker
    }

    #[test]
    fn it_opens_at_the_ratio_and_not_before_there_were_enough_calls() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        for _ in 0..9 {
            assert!(!breaker.ended(Sign::Failing, false, now));
        }
        assert!(breaker.ended(Sign::Failing, false, now), "the tenth");
        let mut breaker = Breaker::new(settings(), now);
        for call in 0..1_000 {
            let sign = if call % 5 < 2 { Sign::Failing } else { Sign::Well };
            breaker.ended(if call < 10 { Sign::Well } else { sign }, false, now);
        }
        assert_eq!(breaker.state(), ("closed", false), "two fifths are not half");
    }

    #[test]
    fn an_old_window_is_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        for _ in 0..9 {
            breaker.ended(Sign::Failing, false, now);
        }
        assert!(!breaker.ended(Sign::Failing, false, now + Duration::from_secs(11)));
    }

    #[test]
    fn one_probe_at_a_time_and_enough_of_them_close_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.passage(now), Passage::Barred(Some(now + Duration::from_secs(1))));
        let later = now + Duration::from_secs(1);
        for _ in 0..3 {
            assert_eq!(breaker.passage(later), Passage::Probe);
            breaker.called();
            assert_eq!(breaker.passage(later), Passage::Barred(None));
            assert!(!breaker.ended(Sign::Failing, false, later), "a call that was sent before says nothing");
            breaker.ended(Sign::Well, true, later);
        }
        assert_eq!((breaker.passage(later), breaker.open_since()), (Passage::Free, None));
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_its_bound() {
        let now = Instant::now();
        let (mut breaker, mut at) = (opened(now), now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let Passage::Barred(Some(until)) = breaker.passage(at) else { panic!("it is open") };
            pauses.push((until - at).as_secs());
            at = until;
            breaker.called();
            assert!(breaker.ended(Sign::Failing, true, at));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(breaker.open_since(), Some(now), "it never was well in between");
    }

    #[test]
    fn an_api_that_refuses_us_opens_it_at_once_and_is_probed_seldom() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        assert!(breaker.ended(Sign::Misconfigured, false, now));
        assert_eq!(breaker.state(), ("open", true));
        assert_eq!(breaker.passage(now), Passage::Barred(Some(now + Duration::from_secs(60))));
    }

    #[test]
    fn review_04_calls_that_ask_again_in_vain_open_it_and_never_close_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        // A wrong clock: each claim is signed anew at once, and few of the further calls are in the
        // budget.
        for claim in 0..100 {
            let opened = breaker.ended(Sign::Pending, false, now);
            assert!(!opened, "the first of a claim says nothing yet");
            if claim % 10 == 0 && breaker.ended(Sign::Repeated, false, now) {
                assert_eq!(breaker.state(), ("open", true), "somebody has to mend this");
            }
        }
        assert!(breaker.open_since().is_some(), "however many first calls went before");
        let mut at = now;
        for _ in 0..5 {
            let Passage::Barred(Some(until)) = breaker.passage(at) else { panic!("it is open") };
            at = until;
            breaker.called();
            assert!(breaker.ended(Sign::Pending, true, at), "such a probe closes nothing");
        }
    }

    #[test]
    fn review_10_an_api_that_cannot_be_called_is_denied_and_probed_seldom() {
        let now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        assert!(breaker.deny(now));
        assert!(!breaker.deny(now), "it is open already");
        assert_eq!(breaker.state(), ("open", true));
        assert_eq!(breaker.passage(now), Passage::Barred(Some(now + Duration::from_secs(60))));
        let later = now + Duration::from_secs(60);
        breaker.called();
        assert_eq!(breaker.passage(later), Passage::Barred(None));
        breaker.withdrawn(true);
        assert_eq!(breaker.passage(later), Passage::Probe, "a call that was not made is no probe");
    }

    proptest! {
        #[test]
        fn an_open_breaker_lets_nothing_through_but_one_probe(signs in prop::collection::vec((0..5_u8, 0..5_000_u64), 1..500)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(settings(), now);
            let mut probes = 0;
            for (sign, wait) in signs {
                now += Duration::from_millis(wait);
                let signs = [Sign::Well, Sign::Failing, Sign::Misconfigured, Sign::Pending, Sign::Repeated];
                let sign = signs[usize::from(sign)];
                let closed = breaker.open_since().is_none();
                match breaker.passage(now) {
                    Passage::Free => prop_assert!(closed),
                    Passage::Probe => {
                        prop_assert!(!closed && probes == 0);
                        breaker.called();
                        probes = 1;
                        continue;
                    }
                    Passage::Barred(until) => {
                        prop_assert!(!closed);
                        prop_assert!(until.is_none_or(|until| until > now));
                    }
                }
                let probe = std::mem::take(&mut probes) == 1;
                breaker.ended(sign, probe, now);
            }
        }
    }
}
