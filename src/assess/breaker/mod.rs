//! The circuit breaker of one API: it stops calls while the API fails, and probes whether the API
//! works again.
//!
//! A pure machine: time is an argument, and it only says whether a call may be made.
//!
//! ```text
//!            too many failures, or access denied
//!   closed ────────────────────────────────────────────► open
//!      ▲                                                  │ its time is up
//!      │ enough probes succeed                            ▼
//!      └───────────────────────────────────────────── half-open
//!                                                         │ a probe fails: open again, for longer
//! ```
//!
//! The invariants: while it is open, only probes are called, one at a time; the result of a call
//! that was sent before it opened changes nothing.
//!
//! ```
//! use std::time::Duration;
//! use claimgate::assess::breaker::{Breaker, CallHealth, Settings};
//! use claimgate::assess::permit::Permit;
//!
//! let minute = Duration::from_secs(60);
//! let settings = Settings {
//!     failure_ratio: 0.5, min_calls: 4, window: minute, open_for: minute, open_max: 10 * minute,
//!     access_denied_for: minute, access_denied_max: 10 * minute, probes: 1,
//! };
//! let now = tokio::time::Instant::now();
//! let mut breaker = Breaker::new(settings, now);
//! for _ in 0..4 {
//!     breaker.called();
//!     breaker.ended(CallHealth::Failing, false, now);
//! }
//! assert_eq!(breaker.permit(now), Permit::NotBefore(now + minute));
//! assert_eq!(breaker.permit(now + minute), Permit::Probe);
//! ```

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::permit::Permit;

/// `[breaker]`: the same for every API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// It opens when at least this part of a window's calls failed…
    pub failure_ratio: f64,
    /// …and the window had at least this many calls.
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
    /// The same while the API denies access (no permission, bad signature, balance exhausted):
    /// before the first probe, and twice as long after each probe that is denied…
    #[serde(with = "humantime_serde")]
    pub access_denied_for: Duration,
    /// …but no longer than this.
    #[serde(with = "humantime_serde")]
    pub access_denied_max: Duration,
    /// How many probes in a row must succeed before it closes.
    pub probes: u32,
}

/// What a call shows about the health of its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallHealth {
    /// The API answered, whatever it said about the claim.
    Well,
    /// The API did not answer, or its answer was of no use.
    Failing,
    /// The API denies access, and no retry will help soon.
    AccessDenied,
    /// An HTTP status denies access, and no code of the API does. It may be about this one claim: a
    /// firewall before the API may object to what a field holds.
    DeniedByStatus,
    /// The API refused the signature or the token; the call is repeated at once with a new one. So
    /// far this says nothing against the API, and a probe with this result has not succeeded.
    Pending,
    /// The API refused the new signature or token, too. It counts as a failure. A breaker that
    /// opens by it blames the configuration: this host's clock, the token, the keys.
    Repeated,
}

impl CallHealth {
    /// Whether an operator has to fix the configuration.
    fn blames_set_up(self) -> bool {
        match self {
            Self::AccessDenied | Self::DeniedByStatus | Self::Repeated => true,
            Self::Well | Self::Failing | Self::Pending => false,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// When it last closed; at first, when it was made.
    closed: Instant,
}

#[derive(Debug)]
enum State {
    Closed { since: Instant, calls: u32, failures: u32 },
    Open { since: Instant, until: Instant, access_denied: bool, times: u32 },
    HalfOpen { since: Instant, probing: bool, succeeded: u32, access_denied: bool, times: u32 },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let state = State::Closed { since: now, calls: 0, failures: 0 };
        Self { settings, state, closed: now }
    }

    /// Whether a call may be made now.
    pub fn permit(&self, now: Instant) -> Permit {
        match &self.state {
            State::Closed { .. } => Permit::Granted,
            State::Open { until, .. } if now < *until => Permit::NotBefore(*until),
            State::HalfOpen { probing: true, .. } => Permit::Full,
            State::Open { .. } | State::HalfOpen { .. } => Permit::Probe,
        }
    }

    /// A call is being made that [`Breaker::permit`] allowed.
    pub fn called(&mut self) {
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { since, access_denied, times, .. } => {
                self.state = State::HalfOpen {
                    since: *since,
                    probing: true,
                    succeeded: 0,
                    access_denied: *access_denied,
                    times: *times,
                };
            }
            State::HalfOpen { probing, .. } => *probing = true,
        }
    }

    /// Whether a call that ends now, after `took`, was sent before the breaker last closed. Between
    /// its opening and its closing only probes are sent, so any other call was sent before it
    /// opened: it may have waited for its whole timeout, while the API is well again.
    pub fn has_closed_since(&self, took: Duration, now: Instant) -> bool {
        now.checked_sub(took).is_none_or(|sent| sent < self.closed)
    }

    /// A call has ended. `probe` says whether it was made as one. Returns whether the breaker
    /// opened by it.
    pub fn ended(&mut self, health: CallHealth, probe: bool, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } if health == CallHealth::Pending => {}
            State::Closed { since, calls, failures } => {
                if now.duration_since(*since) > self.settings.window {
                    (*since, *calls, *failures) = (now, 0, 0);
                }
                *calls = calls.saturating_add(1);
                *failures = failures.saturating_add(u32::from(health != CallHealth::Well));
                let ratio = f64::from(*failures) / f64::from(*calls);
                let failing =
                    *calls >= self.settings.min_calls && ratio >= self.settings.failure_ratio;
                let opens = match health {
                    // Even if this call makes the window large enough: it did not fail itself.
                    CallHealth::Well | CallHealth::Pending => false,
                    CallHealth::Failing | CallHealth::Repeated => failing,
                    // A call that went well shows that the set-up is right.
                    CallHealth::DeniedByStatus => failing || *failures == *calls,
                    CallHealth::AccessDenied => true,
                };
                if opens {
                    self.open(health.blames_set_up(), 0, now, now);
                    return true;
                }
            }
            State::HalfOpen { since, probing, succeeded, access_denied, times } if probe => {
                *probing = false;
                if health != CallHealth::Well {
                    // A probe that is to be repeated does not change who is to blame.
                    let blame =
                        health.blames_set_up() || (health == CallHealth::Pending && *access_denied);
                    // How long the API failed says nothing about how long it will deny access.
                    let is_new = blame && !*access_denied;
                    let times = if is_new { 0 } else { times.saturating_add(1) };
                    let since = *since;
                    self.open(blame, times, since, now);
                    return true;
                }
                *succeeded += 1;
                if *succeeded >= self.settings.probes {
                    self.state = State::Closed { since: now, calls: 0, failures: 0 };
                    self.closed = now;
                }
            }
            // The call was sent before the breaker opened.
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        false
    }

    /// The API cannot be called until an operator fixes the configuration: as if it had denied
    /// access. Returns whether the breaker opened by it.
    pub fn deny(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } => {
                self.open(true, 0, now, now);
                true
            }
            State::Open { access_denied, times, .. }
            | State::HalfOpen { access_denied, times, .. } => {
                if !std::mem::replace(access_denied, true) {
                    *times = 0;
                }
                false
            }
        }
    }

    /// There are new credentials: an API that denied access may be probed at once.
    pub fn credentials_changed(&mut self, now: Instant) {
        match &mut self.state {
            State::Open { access_denied: true, until, times, .. } => (*until, *times) = (now, 0),
            State::HalfOpen { access_denied: true, times, .. } => *times = 0,
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// A call that [`Breaker::called`] was told of was not made after all.
    pub fn cancelled(&mut self, probe: bool) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && probe
        {
            *probing = false;
        }
    }

    /// Since when only probes are made; `None` while it is closed.
    pub fn open_since(&self) -> Option<Instant> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } | State::HalfOpen { since, .. } => Some(*since),
        }
    }

    /// Whether only probes are made because the API denies access.
    pub fn is_denied(&self) -> bool {
        match &self.state {
            State::Closed { .. } => false,
            State::Open { access_denied, .. } | State::HalfOpen { access_denied, .. } => {
                *access_denied
            }
        }
    }

    fn open(&mut self, access_denied: bool, times: u32, since: Instant, now: Instant) {
        let Settings { open_for, open_max, access_denied_for, access_denied_max, .. } =
            self.settings;
        let (first, longest) = if access_denied {
            (access_denied_for, access_denied_max)
        } else {
            (open_for, open_max)
        };
        let pause = first.saturating_mul(2_u32.saturating_pow(times)).min(longest);
        self.state = State::Open { since, until: now + pause, access_denied, times };
    }
}

#[cfg(test)]
mod tests;
