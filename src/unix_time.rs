//! Times as UNIX microseconds, and the time between two of them. Pure.

use std::time::Duration;

/// The time from one to a later one; zero if the clock was set back meanwhile.
pub(crate) fn elapsed(from: i64, to: i64) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// A duration in microseconds.
pub(crate) fn as_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_two_times_is_never_negative() {
        assert_eq!(elapsed(1_000, 3_500), Duration::from_micros(2_500));
        assert_eq!(elapsed(3_500, 1_000), Duration::ZERO);
        assert_eq!(elapsed(i64::MAX, i64::MIN), Duration::ZERO);
        assert_eq!(as_micros(elapsed(i64::MIN, i64::MAX)), i64::MAX);
    }
}
