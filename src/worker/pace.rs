//! How often a deferred claim that finds no room or no seat is written to the end of the retry
//! topic, so that the worker sees the claims of other APIs behind it.
//!
//! Pure: time is an argument. Each time costs a message, and helps only where claims of other APIs
//! stand behind. The worker itself wrote most of what it reads from its retry partitions, so it can
//! tell: it is quick while claims of another API were deferred lately, and slow otherwise, because
//! claims may stand there that an earlier owner of the partition wrote.

use std::time::Duration;

use tokio::time::Instant;

use crate::assess::budget::{Budget, Settings};

/// Claims a second, while claims of other APIs stand behind.
const QUICK: Settings = Settings { ratio: 0.0, per_second: 200.0, reserve: 200.0 };
/// Claims a second, while it is not known whether claims of other APIs stand behind.
const SLOW: Settings = Settings { ratio: 0.0, per_second: 10.0, reserve: 10.0 };

/// How often claims may go to the end.
#[derive(Debug)]
pub(super) struct Pace {
    /// For each API: when its last claim was deferred.
    deferred: Vec<Option<Instant>>,
    /// How long such a claim may stand in the retry topic at most.
    lately: Duration,
    quick: Budget,
    slow: Budget,
}

impl Pace {
    /// For this many APIs, and deferrals of at most this length.
    pub(super) fn new(apis: usize, defer_max: Duration, now: Instant) -> Self {
        Self {
            deferred: vec![None; apis],
            lately: defer_max,
            quick: Budget::new(QUICK, now),
            slow: Budget::new(SLOW, now),
        }
    }

    /// A claim of this API was deferred.
    pub(super) fn deferred(&mut self, api: usize, now: Instant) {
        self.deferred[api] = Some(now);
    }

    /// Whether a claim of this API may be written to the end now.
    pub(super) fn covers(&mut self, api: Option<usize>, now: Instant) -> bool {
        self.budget(api, now).covers(now)
    }

    /// A claim of this API is written to the end.
    pub(super) fn withdraw(&mut self, api: Option<usize>, now: Instant) {
        self.budget(api, now).withdraw();
    }

    fn budget(&mut self, api: Option<usize>, now: Instant) -> &mut Budget {
        let lately =
            |at: &Option<Instant>| at.is_some_and(|at| now.duration_since(at) <= self.lately);
        let mut others = self.deferred.iter().enumerate().filter(|(other, _)| Some(*other) != api);
        if others.any(|(_, at)| lately(at)) { &mut self.quick } else { &mut self.slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_hurried_only_if_others_wait_behind_them() {
        let start = Instant::now();
        let mut pace = Pace::new(2, Duration::from_secs(60), start);
        let paid = |pace: &mut Pace, from: u64| {
            let times = (from..from + 1_000).map(|second| start + Duration::from_secs(second));
            times.flat_map(|at| std::iter::repeat_n(at, 300)).fold(0, |paid, at| {
                let covered = pace.covers(Some(0), at);
                covered.then(|| pace.withdraw(Some(0), at));
                paid + u32::from(covered)
            })
        };
        pace.deferred(0, start);
        assert!((9_990..10_020).contains(&paid(&mut pace, 0)), "its own claims do not count");
        pace.deferred(1, start + Duration::from_secs(2_000));
        let quick = paid(&mut pace, 2_000);
        assert!((21_500..22_500).contains(&quick), "for a minute: {quick}");
    }
}
