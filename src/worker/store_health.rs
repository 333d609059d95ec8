//! Whether Postgres is well, and when the worker tries again. Pure.
//!
//! Postgres may answer queries and refuse rows, as with a full disk. The invariant: an outage that
//! began with a batch ends with a batch.

use std::time::Duration;

use tokio::time::Instant;

use super::outage::Outage;

/// A worker that has asked Postgres nothing for so long asks for a sign of life: an idle worker
/// would not notice that Postgres is gone.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// What Postgres was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To look claims up.
    Recall,
    /// To take a batch.
    Record,
}

/// Whether Postgres is well, by its last answers.
#[derive(Debug)]
pub(super) struct StoreHealth {
    outage: Outage,
    /// After a failure: when the worker tries again. `None` while Postgres is well.
    retry_at: Option<Instant>,
    /// Whether it refused the last batch.
    takes_no_batch: bool,
    /// When it last answered.
    answered_at: Instant,
}

impl StoreHealth {
    pub(super) fn new(now: Instant) -> Self {
        let outage = Outage::default();
        Self { outage, retry_at: None, takes_no_batch: false, answered_at: now }
    }

    /// It failed; the worker tries again at `retry_at`. Returns whether the cause is to be logged.
    pub(super) fn failed(&mut self, asked: Asked, cause: &str, retry_at: Instant) -> bool {
        self.takes_no_batch |= asked == Asked::Record;
        self.retry_at = Some(retry_at);
        self.outage.failed(cause)
    }

    /// It answered. Returns whether that ended an outage.
    pub(super) fn answered(&mut self, asked: Asked, now: Instant) -> bool {
        self.answered_at = now;
        self.takes_no_batch &= asked != Asked::Record;
        let has_ended = !self.takes_no_batch && self.outage.ended();
        if has_ended {
            self.retry_at = None;
        }
        has_ended
    }

    /// Whether the worker waits before it tries again.
    pub(super) fn waits(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }

    /// Whether there is no outage.
    pub(super) fn is_well(&self) -> bool {
        self.retry_at.is_none()
    }

    /// In an outage: when the worker tries again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether to send it an empty query: it failed, and nothing else may find out that it is well
    /// again; or it was asked nothing for long.
    pub(super) fn wants_sign_of_life(&self, now: Instant) -> bool {
        !self.is_well() || now.duration_since(self.answered_at) >= PROBE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_store_pauses_until_it_answers() {
        let now = Instant::now();
        let later = now + Duration::from_millis(500);
        let mut store = StoreHealth::new(now);
        assert!(store.is_well() && !store.answered(Asked::Recall, now), "there was no outage");
        assert!(store.failed(Asked::Recall, "away", later), "the cause is new");
        assert!(!store.failed(Asked::Recall, "away", later));
        assert!(store.waits(now) && !store.waits(later));
        assert_eq!(store.retry_at(), Some(later));
        assert!(!store.is_well(), "it has not answered yet");
        assert!(store.answered(Asked::Recall, later));
        assert!(store.is_well() && store.retry_at().is_none());
    }

    #[test]
    fn a_store_that_takes_no_batch_is_not_well_though_it_answers() {
        let now = Instant::now();
        let mut store = StoreHealth::new(now);
        store.failed(Asked::Record, "the disk is full", now);
        assert!(!store.answered(Asked::Recall, now) && !store.is_well());
        assert!(store.answered(Asked::Record, now) && store.is_well());
    }

    #[test]
    fn a_sign_of_life_is_wanted_after_silence_and_in_an_outage() {
        let now = Instant::now();
        let mut store = StoreHealth::new(now);
        assert!(!store.wants_sign_of_life(now + PROBE_AFTER / 2));
        assert!(store.wants_sign_of_life(now + PROBE_AFTER));
        store.answered(Asked::Recall, now + PROBE_AFTER);
        assert!(!store.wants_sign_of_life(now + PROBE_AFTER));
        store.failed(Asked::Recall, "away", now + PROBE_AFTER);
        assert!(store.wants_sign_of_life(now + PROBE_AFTER));
    }
}
