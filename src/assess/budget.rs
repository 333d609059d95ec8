//! The retry budget of one API: it keeps retries to a part of all calls, so that an outage does not
//! cause a storm of retries.
//!
//! Pure: time is an argument. The balance counts retries. Each first call of a claim adds `ratio`,
//! each second adds `per_second`, and each further call of a claim takes one. The invariant: over
//! any span, further calls ≤ `ratio` × first calls + `per_second` × seconds + the reserve.
//!
//! ```
//! use claimgate::assess::budget::{Budget, Settings};
//!
//! let now = tokio::time::Instant::now();
//! let settings = Settings { ratio: 0.1, per_second: 0.0, reserve: 1.0 };
//! let mut budget = Budget::new(settings, now);
//! budget.withdraw();
//! assert!(!budget.covers(now), "the reserve is spent");
//! for _ in 0..11 {
//!     budget.deposit();
//! }
//! assert!(budget.covers(now), "eleven first attempts cover one retry");
//! ```

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// `[retry.budget]`: the same for every API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Retries per first call.
    pub ratio: f64,
    /// Retries a second that are allowed in any case.
    pub per_second: f64,
    /// The most retries that the balance can hold.
    pub reserve: f64,
}

/// The budget: a balance of retries.
#[derive(Debug)]
pub struct Budget {
    settings: Settings,
    balance: f64,
    counted: Instant,
}

impl Budget {
    /// A full budget.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self { balance: settings.reserve, settings, counted: now }
    }

    /// A claim's first call is made.
    pub fn deposit(&mut self) {
        self.balance = (self.balance + self.settings.ratio).min(self.settings.reserve);
    }

    /// Whether there is enough for a further call.
    pub fn covers(&mut self, now: Instant) -> bool {
        let elapsed = now.duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.balance =
            (self.balance + elapsed * self.settings.per_second).min(self.settings.reserve);
        self.balance >= 1.0
    }

    /// When time alone will have added enough for a further call.
    pub fn covers_at(&self, now: Instant) -> Instant {
        let missing = (1.0 - self.balance).max(0.0) / self.settings.per_second;
        // A little later, so that the balance is enough in spite of rounding.
        now + Duration::try_from_secs_f64(missing).unwrap_or(Duration::from_secs(3_600))
            + Duration::from_millis(1)
    }

    /// A further call is made.
    pub fn withdraw(&mut self) {
        self.balance -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_stay_within_their_part(steps in prop::collection::vec((any::<bool>(), 0..100_u64), 1..3_000)) {
            let settings = Settings { ratio: 0.1, per_second: 2.0, reserve: 20.0 };
            let start = Instant::now();
            let (mut budget, mut now) = (Budget::new(settings.clone(), start), start);
            let (mut first, mut further) = (0.0, 0.0);
            for (is_first, wait) in steps {
                now += Duration::from_millis(wait);
                if is_first {
                    budget.deposit();
                    first += 1.0;
                } else if budget.covers(now) {
                    budget.withdraw();
                    further += 1.0;
                }
            }
            let most = settings.ratio * first + settings.per_second * (now - start).as_secs_f64() + settings.reserve;
            prop_assert!(further <= most + 1e-6, "{further} > {most}");
        }
    }

    #[test]
    fn an_empty_budget_fills_with_time_and_with_first_calls() {
        let now = Instant::now();
        let mut budget = Budget::new(Settings { ratio: 0.5, per_second: 1.0, reserve: 2.0 }, now);
        let pay = |budget: &mut Budget, now| {
            let covered = budget.covers(now);
            if covered {
                budget.withdraw();
            }
            covered
        };
        assert_eq!(
            [pay(&mut budget, now), pay(&mut budget, now), pay(&mut budget, now)],
            [true, true, false]
        );
        budget.deposit();
        assert!(!pay(&mut budget, now));
        budget.deposit();
        assert!(pay(&mut budget, now));
        let at = budget.covers_at(now);
        assert!(at > now && at <= now + Duration::from_millis(1_002));
        assert!(!pay(&mut budget, now) && pay(&mut budget, at));
    }
}
