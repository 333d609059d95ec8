//! The access token: fetched once however many claims wait, renewed before it ends, dropped when an API refuses it.
//!
//! A pure machine: time is an argument; the worker sends the request that [`Token::wants_fetch`] asks for. The invariants: at most one
//! fetch is under way; a refusal drops only the very token that was refused, for a newer one may have come in the meantime.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// Renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(200);
/// The pause after a failed fetch: doubled each time, up to [`FETCH_PAUSE_MAX`].
const FETCH_PAUSE: Duration = Duration::from_millis(250);
const FETCH_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A token as a call uses it. Cheap to copy; its generation says which one it was.
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

/// The state of the process's one token.
#[derive(Debug, Default)]
pub struct Token {
    current: Option<Current>,
    generation: u64,
    fetching: bool,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Current {
    lease: Lease,
    expires: Instant,
    renew: Instant,
}

impl Token {
    /// The token, where a usable one is at hand.
    pub fn lease(&self, now: Instant) -> Option<Lease> {
        self.current.as_ref().filter(|current| now < current.expires).map(|current| current.lease.clone())
    }

    /// Whether a fetch is to be made now; if so, it counts as under way.
    pub fn wants_fetch(&mut self, now: Instant) -> bool {
        let fresh = self.current.as_ref().is_some_and(|current| now < current.renew);
        if fresh || self.fetching || self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        self.fetching = true;
        true
    }

    /// When [`Token::wants_fetch`] may say yes next; `None` while a fetch is under way.
    pub fn wakes_at(&self, now: Instant) -> Option<Instant> {
        if self.fetching {
            return None;
        }
        let due = self.current.as_ref().map_or(now, |current| current.renew);
        Some(self.not_before.map_or(due, |at| at.max(due)))
    }

    /// A fetch brought a token that lives for `expires_in`.
    pub fn fetched(&mut self, value: SecretString, expires_in: Duration, now: Instant) {
        self.generation += 1;
        self.fetching = false;
        self.failures = 0;
        self.not_before = None;
        let lease = Lease { generation: self.generation, value: Arc::new(value) };
        // A token that lives shorter than the usual margin is renewed at half its life.
        let renew = now + expires_in.checked_sub(RENEW_BEFORE).unwrap_or(expires_in / 2).max(expires_in / 2);
        self.current = Some(Current { lease, expires: now + expires_in, renew });
    }

    /// A fetch failed.
    pub fn fetch_failed(&mut self, now: Instant) {
        self.fetching = false;
        let pause = FETCH_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(FETCH_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// An API refused this token: it is dropped if it is still the current one.
    pub fn refused(&mut self, lease: &Lease) {
        if self.current.as_ref().is_some_and(|current| current.lease.generation == lease.generation) {
            self.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(7_200);

    fn with_token(now: Instant) -> Token {
        let mut token = Token::default();
        assert!(token.wants_fetch(now));
        token.fetched("one".into(), LIFE, now);
        token
    }

    #[test]
    fn one_fetch_is_under_way_however_many_ask() {
        let (mut token, now) = (Token::default(), Instant::now());
        assert!(token.wants_fetch(now));
        assert!((0..64).all(|_| !token.wants_fetch(now)));
        token.fetched("one".into(), LIFE, now);
        assert!(!token.wants_fetch(now));
        assert_eq!(token.lease(now).expect("at hand").expose(), "one");
    }

    #[test]
    fn it_is_renewed_before_it_ends_and_usable_meanwhile() {
        let now = Instant::now();
        let mut token = with_token(now);
        let late = now + LIFE - Duration::from_secs(100);
        assert!(token.wants_fetch(late));
        assert!(token.lease(late).is_some());
        assert!(token.lease(now + LIFE).is_none());
    }

    #[test]
    fn only_the_refused_token_is_dropped() {
        let now = Instant::now();
        let mut token = with_token(now);
        let old = token.lease(now).expect("at hand");
        token.refused(&old);
        assert!(token.lease(now).is_none());
        assert!(token.wants_fetch(now));
        token.fetched("two".into(), LIFE, now);
        token.refused(&old);
        assert_eq!(token.lease(now).expect("the newer one stays").expose(), "two");
        assert!(!token.wants_fetch(now));
    }

    #[test]
    fn a_failed_fetch_is_not_repeated_at_once() {
        let (mut token, now) = (Token::default(), Instant::now());
        for failures in 0..20_u32 {
            let at = token.wakes_at(now).expect("no fetch is under way");
            assert!(at - now <= FETCH_PAUSE_MAX, "after {failures} failures");
            assert!(token.wants_fetch(at));
            token.fetch_failed(now);
            assert!(!token.wants_fetch(now));
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let now = Instant::now();
        let mut token = Token::default();
        token.fetched("hunter2".into(), LIFE, now);
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
