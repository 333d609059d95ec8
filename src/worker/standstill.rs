//! Standstill: a process that did not run for so long that others may have its partitions (SIGSTOP, a paused machine).
//!
//! Pure. What it would publish, Kafka refuses; but a risk API does not know who has the partition. The invariant: between a standstill and
//! the group's word on it, no API is asked.

use std::time::Duration;

use tokio::time::Instant;

/// Watches the turns of the worker's loop, which has one each second at least.
#[derive(Debug)]
pub(super) struct Standstill {
    /// So long without a turn may have cost the partitions.
    longest: Duration,
    /// Within this time the next heartbeat is answered.
    rest: Duration,
    last_turn: Instant,
    until: Option<Instant>,
}

impl Standstill {
    /// For sessions of this length. The last heartbeat before a standstill may have been a quarter of it ago (`intake::kafka`).
    pub(super) fn new(session_timeout: Duration, now: Instant) -> Self {
        Self { longest: session_timeout * 3 / 4, rest: session_timeout / 2, last_turn: now, until: None }
    }

    /// A turn of the loop; how long it stood still, if that was too long.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        let still = now.duration_since(std::mem::replace(&mut self.last_turn, now));
        if still <= self.longest {
            return None;
        }
        self.until = Some(now + self.rest);
        Some(still)
    }

    /// Whether the group has not had its say yet: the claims at hand may be decided by those who have their partitions now.
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
    fn after_a_standstill_no_api_is_asked_until_the_group_has_had_its_say() {
        let start = Instant::now();
        let mut standstill = Standstill::new(20 * SECOND, start);
        assert_eq!(standstill.turn(start + 15 * SECOND), None);
        assert!(!standstill.forbids_calls(start + 15 * SECOND));
        let woken = start + 31 * SECOND;
        assert_eq!(standstill.turn(woken), Some(16 * SECOND));
        assert_eq!(standstill.turn(woken + SECOND), None, "turns go on meanwhile");
        assert!(standstill.forbids_calls(woken + 9 * SECOND));
        assert!(!standstill.forbids_calls(woken + 10 * SECOND));
        assert_eq!(standstill.ends(), Some(woken + 10 * SECOND));
    }
}
