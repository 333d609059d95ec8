//! The pause guard: it notices that the process did not run for so long that other workers may have
//! its partitions now (SIGSTOP, a paused machine).
//!
//! It watches two clocks. The monotonic clock stands still while a virtual machine is paused; the
//! time of day does not, but somebody may set it. A pause on either clock counts: a false alarm
//! only costs a second without calls.
//!
//! Pure. Kafka refuses what such a worker publishes, but a risk API cannot know who has the
//! partition. The invariant: after a pause, no API is called for [`HOLD`], in which the group
//! answers a heartbeat and takes lost partitions away. Nobody waits for the answer itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::unix_time::elapsed;

/// How long calls are held after a pause. The client sends a heartbeat at once; within this time
/// the group says whether the worker is still a member.
const HOLD: Duration = Duration::from_secs(1);

/// Watches the turns of the worker's loop, which has one each second at least.
#[derive(Debug)]
pub(super) struct PauseGuard {
    /// A longer time without a turn may have cost the partitions.
    longest: Duration,
    /// How long calls are held after a pause.
    hold: Duration,
    last_turn: Instant,
    /// The time of day of the last turn, UNIX microseconds.
    last_time_of_day: i64,
    /// Until when calls are held; `None` before the first pause.
    held_until: Option<Instant>,
}

impl PauseGuard {
    /// For sessions of this length. The last heartbeat before a pause may have been a quarter
    /// of it ago (`intake::consumer`).
    pub(super) fn new(session_timeout: Duration, now: Instant, time_of_day: i64) -> Self {
        let (longest, hold) = (session_timeout * 3 / 4, HOLD.min(session_timeout / 2));
        Self { longest, hold, last_turn: now, last_time_of_day: time_of_day, held_until: None }
    }

    /// Notes a turn of the loop at this time of day (UNIX microseconds). Returns how long the loop
    /// stood still, if that was too long.
    pub(super) fn turn(&mut self, now: Instant, time_of_day: i64) -> Option<Duration> {
        let since = now.duration_since(std::mem::replace(&mut self.last_turn, now));
        let last_time_of_day = std::mem::replace(&mut self.last_time_of_day, time_of_day);
        let still = since.max(elapsed(last_time_of_day, time_of_day));
        if still <= self.longest {
            return None;
        }
        self.held_until = Some(now + self.hold);
        Some(still)
    }

    /// Whether no API may be called: the process was paused, and the group had no time to answer
    /// yet. Other workers may have the partitions now, and decide the same claims.
    pub(super) fn forbids_calls(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// When calls are allowed again.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.held_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_pause_calls_are_held_for_the_groups_answer() {
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
