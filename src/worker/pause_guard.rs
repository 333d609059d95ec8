//! The guard against pauses: a process that did not run for so long that others may have its
//! partitions (SIGSTOP, a paused machine).
//!
//! Two clocks tell: the monotonic one does not run while a virtual machine is paused, and the time
//! of day does, though somebody may set it. What either says is taken: a pause too many costs a
//! second's calls.
//!
//! Pure. What it would publish, Kafka refuses; but a risk API does not know who has the partition.
//! The invariant: between a pause and the group's word on it, no API is asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::unix_time::elapsed;

/// After a pause the client beats at once, and hears within this time whether it is a member still.
const REST: Duration = Duration::from_secs(1);

/// Watches the turns of the worker's loop, which has one each second at least.
#[derive(Debug)]
pub(super) struct PauseGuard {
    /// So long without a turn may have cost the partitions.
    longest: Duration,
    /// Within this time the next heartbeat is answered.
    rest: Duration,
    last_turn: Instant,
    /// The time of day of the last turn, UNIX microseconds.
    last_seen: i64,
    until: Option<Instant>,
}

impl PauseGuard {
    /// For sessions of this length. The last heartbeat before a pause may have been a quarter
    /// of it ago (`intake::consumer`).
    pub(super) fn new(session_timeout: Duration, now: Instant, time_of_day: i64) -> Self {
        let (longest, rest) = (session_timeout * 3 / 4, REST.min(session_timeout / 2));
        Self { longest, rest, last_turn: now, last_seen: time_of_day, until: None }
    }

    /// A turn of the loop, at this time of day (UNIX microseconds); how long it stood still, if
    /// that was too long.
    pub(super) fn turn(&mut self, now: Instant, time_of_day: i64) -> Option<Duration> {
        let since = now.duration_since(std::mem::replace(&mut self.last_turn, now));
        let last_seen = std::mem::replace(&mut self.last_seen, time_of_day);
        let still = since.max(elapsed(last_seen, time_of_day));
        if still <= self.longest {
            return None;
        }
        self.until = Some(now + self.rest);
        Some(still)
    }

    /// Whether the group has not answered yet: other workers may have the partitions now, and may
    /// decide the claims at hand.
    pub(super) fn forbids_calls(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When calls are allowed again.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_pause_no_api_is_called_until_the_group_has_answered() {
        let start = Instant::now();
        let mut pause_guard = PauseGuard::new(20 * SECOND, start, 0);
        assert_eq!(pause_guard.turn(start + 15 * SECOND, 15_000_000), None);
        assert!(!pause_guard.forbids_calls(start + 15 * SECOND));
        let woken = start + 31 * SECOND;
        assert_eq!(pause_guard.turn(woken, 31_000_000), Some(16 * SECOND));
        assert_eq!(pause_guard.turn(woken + SECOND, 32_000_000), None, "turns go on meanwhile");
        assert!(pause_guard.forbids_calls(woken + SECOND / 2));
        assert!(!pause_guard.forbids_calls(woken + SECOND));
        assert_eq!(pause_guard.ends(), Some(woken + SECOND));
    }

    #[test]
    fn a_paused_machine_is_noticed_by_the_time_of_day() {
        let start = Instant::now();
        let mut pause_guard = PauseGuard::new(20 * SECOND, start, 0);
        assert_eq!(pause_guard.turn(start + SECOND, 40_000_000), Some(40 * SECOND));
        assert!(pause_guard.forbids_calls(start + 3 * SECOND / 2));
        assert_eq!(
            pause_guard.turn(start + 2 * SECOND, 9_000_000),
            None,
            "a clock that is set back says nothing"
        );
        assert_eq!(pause_guard.turn(start + 3 * SECOND, 10_000_000), None);
    }
}
