//! The two stages of a flush: one batch at a time is written to Postgres, one at a time is
//! published to Kafka, and recorded batches wait in between.
//!
//! Pure bookkeeping. The invariants:
//!
//! - Batches are published in the order in which they were recorded.
//! - A batch that Kafka may have taken already is published again unchanged, before any other.
//! - A batch that Kafka did not take is published again together with those behind it: only beside
//!   messages that a topic takes can one be left out that it does not take.
//! - Recording does not wait for a slow or absent Kafka for longer than [`OVERLAP_AFTER`].

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::outbox::Recorded;

/// While Kafka is well, the next batch fills until the last one is published: a larger batch costs
/// less for each claim. A full batch does not wait; and no batch waits once the publisher has been
/// busy for this long.
const OVERLAP_AFTER: Duration = Duration::from_millis(100);

/// Which batches are being recorded, wait, or are being published.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// The number of attempts in the batch that is being recorded; `None` while none is.
    recording: Option<usize>,
    /// Recorded batches that are to be published.
    waiting: VecDeque<Recorded>,
    /// When they are to be published at the latest: until then they wait for more.
    due: Option<Instant>,
    publishing: Publishing,
}

/// What the publisher does.
#[derive(Debug, Default)]
enum Publishing {
    #[default]
    Idle,
    /// It publishes a batch. `since`: when that, or the first try to publish it, began.
    UnderWay { since: Instant, is_retry: bool },
    /// Kafka did not take the last batch. `uncertain` is the batch if Kafka may have taken it
    /// already; otherwise it waits with the others.
    Paused { since: Instant, until: Instant, uncertain: Option<Recorded> },
}

impl Publishing {
    /// Since when it has not been idle.
    fn since(&self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::UnderWay { since, .. } | Self::Paused { since, .. } => Some(*since),
        }
    }

    /// Whether it can take a batch.
    fn is_ready(&self, now: Instant) -> bool {
        match self {
            Self::Idle => true,
            Self::UnderWay { .. } => false,
            Self::Paused { until, .. } => *until <= now,
        }
    }
}

impl Pipeline {
    /// Whether the next batch may be written now.
    pub(super) fn may_record(&self, is_full: bool, now: Instant) -> bool {
        let overlaps =
            |since: Instant| (is_full && self.waiting.is_empty()) || now >= since + OVERLAP_AFTER;
        self.recording.is_none() && self.publishing.since().is_none_or(overlaps)
    }

    /// A batch is on its way to Postgres.
    pub(super) fn record_began(&mut self, attempts: usize) {
        self.recording = Some(attempts);
    }

    /// Postgres did not take the batch.
    pub(super) fn record_failed(&mut self) {
        self.recording = None;
    }

    /// Postgres has the batch; it is to be published by `due`. A batch that holds only attempts has
    /// nothing to publish.
    pub(super) fn recorded(&mut self, batch: Recorded, due: Instant) {
        self.recording = None;
        if !batch.completed().is_empty() {
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
            self.waiting.push_back(batch);
        }
    }

    /// Takes the batch to publish next, of about `max` records. `None` while the publisher is busy,
    /// or while the waiting batches are neither due nor `max` records, unless it `hurries`.
    pub(super) fn next(&mut self, max: usize, hurries: bool, now: Instant) -> Option<Recorded> {
        if !self.publishing.is_ready(now) {
            return None;
        }
        let uncertain = match &mut self.publishing {
            Publishing::Paused { uncertain, .. } => uncertain.take(),
            Publishing::Idle | Publishing::UnderWay { .. } => None,
        };
        let batch = uncertain.or_else(|| {
            let records = self.waiting.iter().map(|batch| batch.completed().len());
            let waits = self.due.is_some_and(|due| now < due) && records.sum::<usize>() < max;
            if waits && !hurries { None } else { self.take_waiting(max) }
        })?;
        let since = self.publishing.since().unwrap_or(now);
        self.publishing = Publishing::UnderWay { since, is_retry: self.is_failing() };
        Some(batch)
    }

    /// Joins the waiting batches into one, for one transaction. After a failure it may be twice as
    /// large: a batch of which Kafka takes nothing has to go with the next, even with a full one.
    fn take_waiting(&mut self, max: usize) -> Option<Recorded> {
        let max = if self.is_failing() { max.saturating_mul(2) } else { max };
        let mut batch = self.waiting.pop_front()?;
        let fits = |batch: &Recorded, next: &Recorded| {
            batch.completed().len() + next.completed().len() <= max
        };
        while self.waiting.front().is_some_and(|next| fits(&batch, next)) {
            let Some(next) = self.waiting.pop_front() else { break };
            batch.append(next);
        }
        if self.waiting.is_empty() {
            self.due = None;
        }
        Some(batch)
    }

    /// Kafka has the batch, or nothing of it was left to publish.
    pub(super) fn published(&mut self) {
        self.publishing = Publishing::Idle;
    }

    /// Kafka did not take the batch; it is tried again after `pause`.
    pub(super) fn publish_failed(&mut self, batch: Recorded, now: Instant, pause: Duration) {
        self.waiting.push_front(batch);
        self.due = Some(now);
        self.pause(None, now, pause);
    }

    /// It is not known whether Kafka took the batch; it is tried again unchanged after `pause`.
    pub(super) fn publish_uncertain(&mut self, batch: Recorded, now: Instant, pause: Duration) {
        self.pause(Some(batch), now, pause);
    }

    fn pause(&mut self, uncertain: Option<Recorded>, now: Instant, pause: Duration) {
        let since = self.publishing.since().unwrap_or(now);
        self.publishing = Publishing::Paused { since, until: now + pause, uncertain };
    }

    /// Whether the last publication failed.
    pub(super) fn is_failing(&self) -> bool {
        match self.publishing {
            Publishing::Idle => false,
            Publishing::UnderWay { is_retry, .. } => is_retry,
            Publishing::Paused { .. } => true,
        }
    }

    /// How many attempts are being recorded.
    pub(super) fn recording(&self) -> usize {
        self.recording.unwrap_or(0)
    }

    /// Whether a batch is being recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Whether nothing is under way and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        let has_batch = match &self.publishing {
            Publishing::Idle | Publishing::Paused { uncertain: None, .. } => false,
            Publishing::UnderWay { .. } | Publishing::Paused { uncertain: Some(_), .. } => true,
        };
        self.recording.is_none() && self.waiting.is_empty() && !has_batch
    }

    /// The times at which the next step may become possible.
    pub(super) fn wakes(&self) -> [Option<Instant>; 3] {
        let overlaps = self.publishing.since().map(|since| since + OVERLAP_AFTER);
        match self.publishing {
            Publishing::Idle => [None, self.due, overlaps],
            Publishing::UnderWay { .. } => [None, None, overlaps],
            Publishing::Paused { until, .. } => [Some(until), self.due, overlaps],
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::decision::Source;
    use crate::intake::{Admission, Assigned, Ledger, Partition};
    use crate::outbox::{Batch, Closed, Completed, Received, RecordOutcome};
    use crate::outbox::{Recording, Store, StoreError};
    use crate::schema::Verdict;
    use crate::trace::TraceContext;

    /// Takes everything.
    struct Taking;

    impl Store for Taking {
        async fn recall(&self, _: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
            Ok(HashMap::new())
        }

        async fn record(&self, _: &Closed) -> Result<Recording, StoreError> {
            Ok(Recording { overruled: Vec::new(), seal: None })
        }
    }

    /// The record at this offset, with a verdict.
    pub(in crate::worker) fn completed(ledger: &mut Ledger, offset: i64) -> Completed {
        let Admission::Ticket(ticket) = ledger.admit(Partition::claims(0), offset, 1) else {
            panic!("it is admitted")
        };
        let received = Received {
            source: Source { topic: String::new(), partition: 0, offset },
            key: None,
            headers: Vec::new(),
            payload: None,
            received_at: 0,
            trace: TraceContext::fresh(1),
        };
        let outcome = RecordOutcome::Decided(Box::new(Verdict::ordinary("a")));
        Completed { ticket, received, claim_id: None, outcome }
    }

    /// A batch of these records.
    async fn recorded(ledger: &mut Ledger, offsets: std::ops::Range<i64>) -> Recorded {
        let mut batch = Batch::default();
        offsets.for_each(|offset| batch.complete(completed(ledger, offset)));
        batch.close(1_000, None).record(&Taking).await.expect("it takes everything")
    }

    pub(in crate::worker) fn ledger() -> Ledger {
        let (mut ledger, partition) = (Ledger::default(), Partition::claims(0));
        let metadata = String::new();
        ledger.assign(&Assigned { partition, epoch: 1, offset: None, metadata, log_end: 100 });
        ledger
    }

    fn records(batch: Option<Recorded>) -> Option<usize> {
        batch.map(|batch| batch.completed().len())
    }

    #[tokio::test]
    async fn recorded_batches_wait_until_one_is_due_or_full_or_urgent() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let mut pipeline = Pipeline::default();
        pipeline.recorded(recorded(&mut ledger, 0..3).await, later(100));
        assert_eq!(records(pipeline.next(10, false, now)), None);
        assert!(pipeline.may_record(false, now) && !pipeline.is_idle());
        assert!(pipeline.wakes().contains(&Some(later(100))));
        pipeline.recorded(recorded(&mut ledger, 3..5).await, later(150));
        assert_eq!(records(pipeline.next(10, false, later(99))), None);
        assert_eq!(records(pipeline.next(10, false, later(100))), Some(5), "they share it");
        assert!(!pipeline.may_record(false, later(101)), "the next batch fills meanwhile");
        pipeline.published();
        pipeline.recorded(recorded(&mut ledger, 5..8).await, later(900));
        assert_eq!(records(pipeline.next(3, false, now)), Some(3), "it is full");
        pipeline.published();
        pipeline.recorded(recorded(&mut ledger, 8..9).await, later(900));
        assert_eq!(records(pipeline.next(10, true, now)), Some(1), "it hurries");
        pipeline.published();
        pipeline.recorded(recorded(&mut ledger, 0..0).await, later(900));
        assert!(pipeline.is_idle(), "attempts alone have nothing to publish");
    }

    #[tokio::test]
    async fn a_failed_batch_is_joined_with_later_ones_and_an_uncertain_one_is_not() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let (pause, later) = (Duration::from_secs(1), now + Duration::from_secs(1));
        let mut pipeline = Pipeline::default();
        pipeline.recorded(recorded(&mut ledger, 0..1).await, now);
        let first = pipeline.next(10, false, now).expect("it is due");
        pipeline.publish_failed(first, now, pause);
        pipeline.recorded(recorded(&mut ledger, 1..3).await, now);
        assert_eq!(records(pipeline.next(10, true, now)), None, "it is too early");
        let joined = pipeline.next(10, false, later).expect("it is time");
        assert_eq!(joined.completed().len(), 3);
        pipeline.publish_uncertain(joined, later, Duration::ZERO);
        pipeline.recorded(recorded(&mut ledger, 3..4).await, later);
        assert_eq!(records(pipeline.next(10, false, later)), Some(3), "as it was");
        pipeline.published();
        assert_eq!(records(pipeline.next(10, false, later)), Some(1));
    }

    /// A decision that its topic rejects came alone, and behind it there were full batches: it was
    /// tried alone for ever, and they were never published.
    #[tokio::test]
    async fn what_kafka_did_not_take_goes_with_a_full_batch_behind_it() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let (pause, later) = (Duration::from_secs(1), now + Duration::from_secs(1));
        let mut pipeline = Pipeline::default();
        for offsets in [0..1, 1..4, 4..7] {
            pipeline.recorded(recorded(&mut ledger, offsets).await, now);
        }
        let first = pipeline.next(3, false, now).expect("it is due");
        assert_eq!(first.completed().len(), 1, "the next is full");
        pipeline.publish_failed(first, now, pause);
        assert_eq!(records(pipeline.next(3, false, later)), Some(4), "they share a transaction");
        pipeline.published();
        assert_eq!(records(pipeline.next(3, false, later)), Some(3), "one after the other again");
    }
}
