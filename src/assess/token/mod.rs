//! The access token: it is fetched once, however many claims wait, renewed before it ends, and
//! dropped when an API refuses it.
//!
//! A pure machine: time is an argument; the worker sends the request that [`Token::wants_fetch`]
//! asks for. The invariants:
//!
//! - At most one fetch is under way.
//! - A refusal drops only the token that was refused: a newer one may have come in the meantime.
//! - Fetches that refusals cause are at least [`REFUSED_PAUSE`] apart, or [`STABLE_PAUSE`] where a
//!   fetch ends nobody's token. The pause grows when the new token is refused, too.
//! - A token with the same text as a refused one does not count as new.
//!
//! ```
//! use std::time::Duration;
//! use claimgate::assess::token::{Fetch, Token};
//!
//! let (now, two_hours) = (tokio::time::Instant::now(), Duration::from_secs(7_200));
//! let mut token = Token::default();
//! assert_eq!(token.wants_fetch(now), Some(Fetch::Plain));
//! assert_eq!(token.wants_fetch(now), None, "one fetch is under way, for everybody");
//! token.fetched("secret".to_owned().into(), two_hours, true, now);
//! let lease = token.lease(now).expect("a token that is good for two hours");
//! token.refused(&lease);
//! assert!(token.lease(now).is_none(), "who asks now waits for the next one");
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::risk::FaultReason;
pub use crate::risk::Fetch;

/// Renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(200);
/// A token counts as good for at least this long, whatever its endpoint says. It is renewed at half
/// its life, and fetches must not follow one another without a pause. Where it ends earlier, the
/// API refuses it, and it is dropped for that.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
/// The pause after a failed fetch: doubled each time, up to [`FETCH_PAUSE_MAX`].
const FETCH_PAUSE: Duration = Duration::from_millis(250);
const FETCH_PAUSE_MAX: Duration = Duration::from_secs(30);
/// After this many failed fetches in a row, an operator has to fix the cause.
const FAILURES_OF_A_HICCUP: u32 = 5;
/// The pause between two fetches that refusals cause. It doubles with each new token that is
/// refused, too, up to [`REFUSED_PAUSE_MAX`]. Each fetch of a classic token ends the token of every
/// other system, and 2,000 a day are allowed.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(30);
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(600);
/// That pause, if calls with the refused token had succeeded and it came from the stable endpoint.
/// A plain fetch there ends no token, and 10,000 a minute are allowed.
const STABLE_PAUSE: Duration = Duration::from_secs(1);
/// How many forced refreshes a day are allowed (`getStableAccessToken`).
const FORCED_A_DAY: usize = 20;
const DAY: Duration = Duration::from_secs(86_400);

/// A token for one call. Cheap to copy; its generation says which token it was.
#[derive(Debug, Clone)]
pub struct Lease {
    generation: u64,
    value: Arc<SecretString>,
}

impl Lease {
    /// The secret.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

/// What a fetch or a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It may happen once in a while.
    Good,
    /// It will last until an operator fixes the configuration: the APIs cannot be called.
    Bad,
}

/// The state of one source's token.
#[derive(Debug, Default)]
pub struct Token {
    current: Option<Current>,
    generation: u64,
    fetching: bool,
    /// How many fetches failed in a row, and why the last one did.
    failures: u32,
    reason: Option<FaultReason>,
    not_before: Option<Instant>,
    /// Whether another endpoint was asked before.
    asked_elsewhere: bool,
    /// The last token that was refused.
    refused: Option<Arc<SecretString>>,
    /// How many tokens in a row were refused before a single call with them succeeded.
    strikes: u32,
    /// When a refusal last caused a fetch.
    refetched: Option<Instant>,
    /// When the forced refreshes of the last day were.
    forced: VecDeque<Instant>,
    wants_force: bool,
}

#[derive(Debug)]
struct Current {
    lease: Lease,
    /// Whether its endpoint can be forced to hand out a new token.
    can_force: bool,
    fetched: Instant,
    expires: Instant,
    renew: Instant,
}

impl Token {
    /// The token; `None` where there is no usable one.
    pub fn lease(&self, now: Instant) -> Option<Lease> {
        self.current
            .as_ref()
            .filter(|current| now < current.expires)
            .map(|current| current.lease.clone())
    }

    /// How long ago the token was fetched; `None` where there is no usable one.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let current = self.current.as_ref().filter(|current| now < current.expires)?;
        Some(now.saturating_duration_since(current.fetched))
    }

    /// Whether to fetch a token now, and how. The fetch then counts as under way.
    pub fn wants_fetch(&mut self, now: Instant) -> Option<Fetch> {
        let fresh = self.current.as_ref().is_some_and(|current| now < current.renew);
        if fresh || self.fetching || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.fetching = true;
        if self.current.is_none() && self.refused.is_some() {
            self.refetched = Some(now);
        }
        if std::mem::take(&mut self.wants_force) && self.may_force_at(now) == Some(now) {
            self.forced.push_back(now);
            return Some(Fetch::Forced);
        }
        Some(Fetch::Plain)
    }

    /// When [`Token::wants_fetch`] may next ask for a fetch; `None` while one is under way.
    #[cfg(test)]
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        if self.fetching {
            return None;
        }
        let due = self.current.as_ref().map_or(now, |current| current.renew);
        Some(self.not_before.map_or(due, |at| at.max(due)))
    }

    /// A fetch brought a token that lives for `expires_in`. `can_force` says whether its endpoint
    /// can be made to hand out another one.
    pub fn fetched(
        &mut self,
        value: SecretString,
        expires_in: Duration,
        can_force: bool,
        now: Instant,
    ) -> Outlook {
        (self.fetching, self.failures, self.reason, self.not_before) = (false, 0, None, None);
        let same = |refused: &Arc<SecretString>| refused.expose_secret() == value.expose_secret();
        if self.current.is_none() && self.refused.as_ref().is_some_and(same) {
            return self.fetched_refused(can_force, now);
        }
        self.generation += 1;
        let lease = Lease { generation: self.generation, value: Arc::new(value) };
        let expires_in = expires_in.clamp(SHORTEST_LIFE, DAY);
        // A token that lives shorter than the usual margin is renewed at half its life.
        let renew = now
            + expires_in.checked_sub(RENEW_BEFORE).unwrap_or(expires_in / 2).max(expires_in / 2);
        let expires = now + expires_in;
        self.current = Some(Current { lease, can_force, fetched: now, expires, renew });
        Outlook::Good
    }

    /// The endpoint hands out what was refused. A fetch by force may help, unless one just did not.
    fn fetched_refused(&mut self, can_force: bool, now: Instant) -> Outlook {
        let just_forced = self.forced.back().is_some_and(|at| Some(*at) == self.refetched);
        match self.may_force_at(now).filter(|_| can_force && !just_forced) {
            Some(at) => {
                (self.wants_force, self.not_before) = (true, Some(at));
                Outlook::Good
            }
            None => self.strike(can_force),
        }
    }

    /// A fetch failed for this reason. Returns the outlook, and whether the reason is news. While a
    /// token is at hand the outlook is good: the next fetch may bring another before it ends.
    pub fn fetch_failed(&mut self, reason: FaultReason, now: Instant) -> (Outlook, bool) {
        self.fetching = false;
        let pause =
            FETCH_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(FETCH_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
        let is_news = self.reason.replace(reason) != Some(reason);
        let is_bad = reason.denies_token() || self.failures >= FAILURES_OF_A_HICCUP;
        (if is_bad && self.lease(now).is_none() { Outlook::Bad } else { Outlook::Good }, is_news)
    }

    /// A fetch brought no token, and another endpoint is to be asked: at once. Says whether that is
    /// news.
    pub fn asks_elsewhere(&mut self) -> bool {
        self.fetching = false;
        !std::mem::replace(&mut self.asked_elsewhere, true)
    }

    /// Whether any token was ever had.
    pub fn was_had(&self) -> bool {
        self.generation > 0
    }

    /// An API refused this token: it is dropped if it is still the current one.
    pub fn refused(&mut self, lease: &Lease) -> Outlook {
        if self.current.as_ref().is_none_or(|current| current.lease.generation != lease.generation)
        {
            return Outlook::Good;
        }
        let can_force = self.current.take().is_some_and(|current| current.can_force);
        self.refused = Some(Arc::clone(&lease.value));
        self.strike(can_force)
    }

    /// An API took this token.
    pub fn accepted(&mut self, lease: &Lease) {
        if self.current.as_ref().is_some_and(|current| current.lease.generation == lease.generation)
        {
            self.strikes = 0;
        }
    }

    /// One more token is no use: the next fetch waits, and for longer each time.
    fn strike(&mut self, can_force: bool) -> Outlook {
        self.strikes = self.strikes.saturating_add(1);
        let doublings = self.strikes.saturating_sub(2);
        let pause = if can_force && self.strikes == 1 {
            STABLE_PAUSE
        } else {
            REFUSED_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(REFUSED_PAUSE_MAX)
        };
        self.not_before = self.refetched.map(|at| at + pause);
        if self.strikes < 2 { Outlook::Good } else { Outlook::Bad }
    }

    /// When a refresh by force is allowed: now, a little later, or not today.
    fn may_force_at(&mut self, now: Instant) -> Option<Instant> {
        while self.forced.front().is_some_and(|at| now.duration_since(*at) >= DAY) {
            self.forced.pop_front();
        }
        let last = self.forced.back().map_or(now, |at| (*at + REFUSED_PAUSE).max(now));
        (self.forced.len() < FORCED_A_DAY).then_some(last)
    }
}

#[cfg(test)]
mod tests;
