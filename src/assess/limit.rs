//! Limits: how many calls an API gets at once, and how many a second.
//!
//! Pure: time is an argument. The invariants: never more calls at once than `concurrency`; never more within any second than
//! `rate_limit` and a hundredth of it.

use std::time::Duration;

use tokio::time::Instant;

/// The bulkhead of one API.
#[derive(Debug)]
pub struct Limit {
    concurrency: usize,
    in_flight: usize,
    rate: Option<Rate>,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Yes, and it is counted.
    Granted,
    /// As many calls as may be are under way.
    Full,
    /// Not before this time.
    NotBefore(Instant),
}

/// The generic cell rate algorithm: the time at which the next call is due were they evenly spaced, and how far ahead of it one may be.
#[derive(Debug)]
struct Rate {
    interval: Duration,
    tolerance: Duration,
    due: Option<Instant>,
}

impl Limit {
    /// `concurrency` calls at once, `rate_limit` calls a second.
    pub fn new(concurrency: usize, rate_limit: Option<f64>) -> Self {
        let rate = rate_limit.map(|per_second| {
            let interval = Duration::from_secs_f64(1.0 / per_second);
            Rate { interval, tolerance: Duration::from_millis(10).max(interval) - interval, due: None }
        });
        Self { concurrency, in_flight: 0, rate }
    }

    /// Asks for a permit.
    pub fn acquire(&mut self, now: Instant) -> Permission {
        if self.in_flight >= self.concurrency {
            return Permission::Full;
        }
        if let Some(rate) = &mut self.rate {
            let due = rate.due.unwrap_or(now).max(now);
            if due - now > rate.tolerance {
                return Permission::NotBefore(due - rate.tolerance);
            }
            rate.due = Some(due + rate.interval);
        }
        self.in_flight += 1;
        Permission::Granted
    }

    /// Gives a permit back: the call has ended.
    pub fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_more_calls_at_once_than_allowed() {
        let (mut limit, now) = (Limit::new(2, None), Instant::now());
        assert_eq!(
            [limit.acquire(now), limit.acquire(now), limit.acquire(now)],
            [Permission::Granted, Permission::Granted, Permission::Full]
        );
        limit.release();
        assert_eq!(limit.acquire(now), Permission::Granted);
        assert_eq!(limit.in_flight(), 2);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_calls_than_the_rate(rate in 1.0..5_000.0_f64, waits in prop::collection::vec(0..3_000_u64, 1..2_000)) {
            let (mut limit, start) = (Limit::new(usize::MAX, Some(rate)), Instant::now());
            let (mut now, mut granted) = (start, Vec::new());
            for wait in waits {
                match limit.acquire(now) {
                    Permission::Granted => granted.push(now),
                    Permission::NotBefore(at) => {
                        prop_assert!(at > now);
                        now = at;
                    }
                    Permission::Full => prop_assert!(false, "unbounded concurrency is never full"),
                }
                now += Duration::from_micros(wait / 10);
            }
            let most = rate + rate / 100.0 + 2.0;
            for (index, first) in granted.iter().enumerate() {
                let within = granted[index..].iter().take_while(|at| **at - *first < Duration::from_secs(1)).count();
                prop_assert!((within as f64) <= most, "{within} calls within a second at {rate} a second");
            }
        }

        #[test]
        fn the_rate_is_reached(rate in 1.0..5_000.0_f64) {
            let (mut limit, start) = (Limit::new(usize::MAX, Some(rate)), Instant::now());
            let (mut now, mut granted) = (start, 0_u32);
            while now - start < Duration::from_secs(2) {
                match limit.acquire(now) {
                    Permission::Granted => granted += 1,
                    Permission::NotBefore(at) => now = at,
                    Permission::Full => prop_assert!(false),
                }
            }
            prop_assert!(f64::from(granted) >= 2.0 * rate * 0.99 - 1.0, "{granted} calls in two seconds at {rate} a second");
        }
    }
}
