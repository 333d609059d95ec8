//! Share: how much of a limit one worker of a group may use, by the partitions that it holds.
//!
//! Pure. Each partition stands for its part of the limit, so the workers need not talk to each
//! other: as long as no partition has two owners, the parts in use never add up to more than the
//! limit.

use std::time::Duration;

/// A fraction between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    numerator: u32,
    denominator: u32,
}

/// What a share comes to for one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// So many calls may be under way at any time…
    pub(super) whole: usize,
    /// …and one more for this part of the time.
    pub(super) extra: Ratio,
    /// The part of the rate.
    pub(super) speed: Ratio,
}

impl Ratio {
    pub(super) const NONE: Self = Self { numerator: 0, denominator: 1 };
    const WHOLE: Self = Self { numerator: 1, denominator: 1 };

    pub(super) fn is_none(self) -> bool {
        self.numerator == 0
    }

    /// This part of a time, rounded down.
    pub(super) fn of(self, time: Duration) -> Duration {
        time.saturating_mul(self.numerator) / self.denominator
    }

    /// The time of which `part` is this part, rounded up; `None` if there is no such time.
    pub(super) fn whole_of(self, part: Duration) -> Option<Duration> {
        let whole = part.saturating_mul(self.denominator).checked_div(self.numerator)?;
        Some(whole.saturating_add(Duration::from_nanos(1)))
    }

    fn min(self, other: Self) -> Self {
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        if product(self.numerator, other.denominator) <= product(other.numerator, self.denominator)
        {
            self
        } else {
            other
        }
    }
}

impl Bounds {
    /// The whole limit.
    pub(super) fn all(concurrency: usize) -> Self {
        Self { whole: concurrency, extra: Ratio::NONE, speed: Ratio::WHOLE }
    }

    /// The permits of the partitions `held`, of all partitions. Permit k belongs to partition k mod
    /// `partitions`. With fewer permits than partitions that would leave some with none, so each
    /// gets the same part of a permit's time.
    pub(super) fn of_partitions(concurrency: usize, held: &[i32], partitions: u32) -> Self {
        let (all, partitions) =
            (usize::try_from(partitions).unwrap_or(usize::MAX), partitions.max(1));
        let mut held: Vec<usize> =
            held.iter().filter_map(|number| usize::try_from(*number).ok()).collect();
        held.sort_unstable();
        held.dedup();
        held.retain(|number| *number < all);
        let numerator = u32::try_from(held.len()).unwrap_or(u32::MAX);
        let speed = Ratio { numerator, denominator: partitions };
        if let (Ok(few), true) = (u32::try_from(concurrency), concurrency < all) {
            // Less than one permit for each partition, so the product is less than the partitions
            // squared.
            let product = u64::from(few) * u64::from(numerator);
            let whole = usize::try_from(product / u64::from(partitions)).unwrap_or(usize::MAX);
            let rest = u32::try_from(product % u64::from(partitions)).unwrap_or(0);
            return Self {
                whole,
                extra: Ratio { numerator: rest, denominator: partitions },
                speed,
            };
        }
        let all = all.max(1);
        let permits =
            held.iter().map(|number| concurrency / all + usize::from(*number < concurrency % all));
        Self { whole: permits.sum(), extra: Ratio::NONE, speed }
    }

    /// What both allow.
    pub(super) fn min(self, other: Self) -> Self {
        let (fewer, more) = if self.whole <= other.whole { (self, other) } else { (other, self) };
        let extra =
            if fewer.whole < more.whole { fewer.extra } else { fewer.extra.min(more.extra) };
        Self { whole: fewer.whole, extra, speed: self.speed.min(other.speed) }
    }
}
