//! The two stages behind the batch: one batch at a time is written to Postgres, one at a time goes
//! to Kafka, and what is written waits in between.
//!
//! Pure bookkeeping. The invariants: batches are published in the order in which they were
//! recorded; a batch that Kafka may have taken already is tried again as it was, before any other.
//! One that it did not take is tried again together with those behind it: a message that its topic
//! does not take can be left out only beside others that it does take.
//! Recording does not wait for a Kafka that is slow or away: an answer is in Postgres at most
//! [`OVERLAP_AFTER`] later.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::outbox::Recorded;

/// While Kafka is well, the next batch fills until the last one is published: it is larger, and
/// costs less a claim. One that is full does not wait, nor does any where the publisher is busy for
/// longer than this.
const OVERLAP_AFTER: Duration = Duration::from_millis(100);

/// What is under way behind the batch.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// How many attempts the batch holds that is on its way to Postgres; `None` where none is.
    recording: Option<usize>,
    /// Recorded, and not tried yet.
    waiting: VecDeque<Recorded>,
    /// Whether a batch is on its way to Kafka.
    publishing: bool,
    /// Whether Kafka took it is not known.
    uncertain: Option<Recorded>,
    /// The publisher rests until then: it failed.
    rests_until: Option<Instant>,
    /// Since when the publisher has had something to do.
    busy_since: Option<Instant>,
}

impl Pipeline {
    /// Whether the next batch may be written now.
    pub(super) fn may_record(&self, is_full: bool, now: Instant) -> bool {
        let overlaps =
            |since: Instant| (is_full && self.waiting.is_empty()) || now >= since + OVERLAP_AFTER;
        self.recording.is_none() && self.busy_since.is_none_or(overlaps)
    }

    /// A batch is on its way to Postgres.
    pub(super) fn record_began(&mut self, calls: usize) {
        self.recording = Some(calls);
    }

    /// Postgres did not take the batch.
    pub(super) fn record_failed(&mut self) {
        self.recording = None;
    }

    /// Postgres has the batch.
    pub(super) fn recorded(&mut self, batch: Recorded, now: Instant) {
        self.busy_since.get_or_insert(now);
        self.recording = None;
        self.waiting.push_back(batch);
    }

    /// Takes what is to be published next, about `max` records, if the publisher is free.
    pub(super) fn next(&mut self, max: usize, now: Instant) -> Option<Recorded> {
        if self.publishing || self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        if let Some(batch) = self.uncertain.take() {
            self.publishing = true;
            return Some(batch);
        }
        let mut batch = self.waiting.pop_front()?;
        // Batches that came while the publisher was busy are small and many: they share a
        // transaction.
        let fits = |batch: &Recorded, next: &Recorded| {
            batch.completed().len() + next.completed().len() <= max
        };
        while self.waiting.front().is_some_and(|next| fits(&batch, next)) {
            let Some(next) = self.waiting.pop_front() else { break };
            batch.append(next);
        }
        self.publishing = true;
        Some(batch)
    }

    /// Kafka has the batch, or nothing of it was left to publish.
    pub(super) fn published(&mut self, now: Instant) {
        self.publishing = false;
        self.busy_since = (!self.waiting.is_empty()).then_some(now);
        self.rests_until = None;
    }

    /// Kafka did not take the batch; it is tried again after `pause`.
    pub(super) fn publish_failed(&mut self, batch: Recorded, now: Instant, pause: Duration) {
        self.waiting.push_front(batch);
        self.publish_rests(now + pause);
    }

    /// Whether Kafka took the batch is not known; it is tried again as it is after `pause`.
    pub(super) fn publish_uncertain(&mut self, batch: Recorded, now: Instant, pause: Duration) {
        self.uncertain = Some(batch);
        self.publish_rests(now + pause);
    }

    fn publish_rests(&mut self, until: Instant) {
        self.publishing = false;
        self.rests_until = Some(until);
    }

    /// Whether Kafka refused or did not answer the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.rests_until.is_some()
    }

    /// How many attempts are on their way to Postgres.
    pub(super) fn recording(&self) -> usize {
        self.recording.unwrap_or(0)
    }

    /// Whether a batch is on its way to Postgres.
    pub(super) fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Whether nothing is under way and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.recording.is_none()
            && !self.publishing
            && self.waiting.is_empty()
            && self.uncertain.is_none()
    }

    /// When the next step may be taken, as far as time alone decides.
    pub(super) fn wakes(&self) -> [Option<Instant>; 2] {
        [self.rests_until, self.busy_since.map(|since| since + OVERLAP_AFTER)]
    }
}
