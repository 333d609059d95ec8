//! The rate of one API's calls: the generic cell rate algorithm, in a time that runs as fast as the
//! worker's share is large.
//!
//! Pure. A worker with a quarter of the limit lives through a quarter of a second each second. So a
//! change of the share needs no conversion of what is owed, and a share of nothing stops the clock.

use std::time::Duration;

use tokio::time::Instant;

use super::share::Ratio;

/// So far ahead of its time a call may be made: what a call is late, for timers and loops take
/// their time, the next ones make up for.
const AHEAD: Duration = Duration::from_millis(5);

/// How far the time at which the next call is due, were they evenly spaced, lies ahead.
#[derive(Debug)]
pub(super) struct Rate {
    interval: Duration,
    lead: Duration,
    counted: Option<Instant>,
}

impl Rate {
    pub(super) fn new(per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Self { interval, lead: Duration::ZERO, counted: None }
    }

    /// Lets the time up to `now` pass at this speed.
    pub(super) fn pass(&mut self, speed: Ratio, now: Instant) {
        let counted = self.counted.unwrap_or(now);
        self.lead = self.lead.saturating_sub(speed.of(now.saturating_duration_since(counted)));
        self.counted = Some(counted.max(now));
    }

    /// When a call may be made at this speed: now (`Ok`), or not before a time; never at a speed of
    /// nothing.
    pub(super) fn ready(&self, speed: Ratio, now: Instant) -> Result<(), Option<Instant>> {
        if speed.is_none() {
            return Err(None);
        }
        let missing = self.lead.saturating_sub(speed.of(AHEAD));
        if missing.is_zero() {
            return Ok(());
        }
        Err(speed.whole_of(missing).and_then(|wait| now.checked_add(wait)))
    }

    /// A call is made.
    pub(super) fn take(&mut self) {
        self.lead = self.lead.saturating_add(self.interval);
    }
}
