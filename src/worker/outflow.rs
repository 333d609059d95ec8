//! What is to be recorded and published, and when. Pure bookkeeping.
//!
//! A flush costs about the same whether it carries one claim or a hundred. So a claim waits for
//! others to share its flush, for a tenth of the time that it has taken so far. It is recorded
//! within `worker.max_linger`, because an answer must not be lost. A Kafka transaction costs more
//! than a write to Postgres, so a recorded claim may wait longer to be published. After each flush,
//! flushing pauses for as long as the flush took: about half of the time is spent on flushing, and
//! a claim that comes alone does not wait.

use std::time::Duration;

use tokio::time::Instant;

use super::outage::Outage;
use super::pipeline::Pipeline;
use super::store_health::StoreHealth;
use crate::outbox::{Batch, Call, Closed, Completed, TokenExchange};
use crate::schema::Seal;

/// While this many ended records and attempts wait for Postgres, the worker makes no more calls:
/// their answers might be lost.
const UNRECORDED_MAX: usize = 4_096;
/// The same, in bytes of answers.
const UNRECORDED_MAX_BYTES: usize = 64 << 20;
/// A claim waits for others for at most the time that it has taken so far, divided by this.
const LINGER_PART: u32 = 10;
/// A claim waits to be published for at most this many times `worker.max_linger`.
const PUBLISH_LINGERS: u32 = 4;
/// A flush counts for this part of the moving average: one in eight.
const AVERAGED: u32 = 8;

/// Records on their way to Postgres and Kafka.
pub(super) struct Outflow {
    /// Records and attempts that ended and are not recorded yet.
    batch: Batch,
    /// The most records of one write: half as many after a failure, twice as many after a success.
    most: usize,
    /// When the batch is to be recorded at the latest, if it holds anything.
    due: Option<Instant>,
    /// When the records of the batch are to be published at the latest, if it holds any.
    publish_due: Option<Instant>,
    /// When the records of the batch that is being recorded are to be published at the latest.
    recording_publish_due: Option<Instant>,
    /// Flushing pauses until then.
    paused_until: Instant,
    /// How long Postgres took for the last batch.
    recorded_in: Duration,
    /// How long a flush takes, a moving average; `None` before the first.
    flush_takes: Option<Duration>,
    /// `worker.max_linger`.
    max_linger: Duration,
    /// The batches that are being recorded, are recorded, or are being published.
    pub(super) pipeline: Pipeline,
    /// Whether Postgres is well.
    pub(super) store: StoreHealth,
    pub(super) publisher_outage: Outage,
    /// This worker's last seal; `None` before the first, and after a write that may or may not have
    /// been done.
    seal: Option<Seal>,
}

impl Outflow {
    pub(super) fn new(max_linger: Duration, now: Instant) -> Self {
        Self {
            batch: Batch::default(),
            most: usize::MAX,
            due: None,
            publish_due: None,
            recording_publish_due: None,
            paused_until: now,
            recorded_in: Duration::ZERO,
            flush_takes: None,
            max_linger,
            pipeline: Pipeline::default(),
            store: StoreHealth::new(now),
            publisher_outage: Outage::default(),
            seal: None,
        }
    }

    /// Adds a record that has ended; `taken` is how long after it was taken on.
    pub(super) fn complete(&mut self, completed: Completed, taken: Duration, now: Instant) {
        let [until_recorded, until_published] = self.lingers(taken);
        self.wait_until(now + until_recorded);
        let due = now + until_published;
        self.publish_due = Some(self.publish_due.map_or(due, |earlier| earlier.min(due)));
        self.batch.complete(completed);
    }

    /// Adds an attempt. It waits for the whole of `worker.max_linger`: most attempts are soon
    /// followed by the end of their claims, which is due earlier.
    pub(super) fn add_call(&mut self, call: Call, now: Instant) {
        self.wait_until(now + self.max_linger);
        self.batch.add_call(call);
    }

    /// Adds a request for an access token, with its answer.
    pub(super) fn add_token_exchange(&mut self, exchange: TokenExchange, now: Instant) {
        self.wait_until(now + self.max_linger);
        self.batch.add_token_exchange(exchange);
    }

    /// How long a claim that has taken `taken` may wait for others: to be recorded, and to be
    /// published.
    fn lingers(&self, taken: Duration) -> [Duration; 2] {
        [1, PUBLISH_LINGERS].map(|times| (taken / LINGER_PART).min(self.max_linger * times))
    }

    fn wait_until(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// What ended and is not recorded yet.
    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// When the batch is due to be recorded; `None` where it is empty.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|due| due.max(self.paused_until))
    }

    /// Postgres has recorded a batch under this seal. Returns when it is to be published at the
    /// latest.
    pub(super) fn recorded(&mut self, took: Duration, seal: Option<Seal>, now: Instant) -> Instant {
        self.recorded_in = took;
        self.seal = seal;
        self.most = self.most.saturating_mul(2);
        self.recording_publish_due.take().unwrap_or(now)
    }

    /// The batch is published: flushing pauses for as long as that took. Not after one that took
    /// longer than usual, because more claims than usual wait for the next.
    pub(super) fn published(&mut self, took: Duration, now: Instant) {
        let took = self.recorded_in + took;
        let before = self.flush_takes.unwrap_or(took);
        let usual = (before * (AVERAGED - 1) + took) / AVERAGED;
        self.flush_takes = Some(usual);
        self.paused_until = now + took.min(usual).min(self.max_linger);
    }

    /// Closes the batch with at most `max` records. The rest is due at once, and is to be published
    /// no later than before.
    pub(super) fn close(&mut self, max: usize, now: Instant) -> Closed {
        let closed = self.batch.close(max.min(self.most), self.seal);
        self.due = (!self.batch.is_empty()).then_some(now);
        self.recording_publish_due = self.publish_due;
        self.publish_due = self.publish_due.filter(|_| self.batch.records() > 0);
        closed
    }

    /// Puts a batch that Postgres did not take back in front. The next write is smaller: a slow
    /// Postgres may finish it within the statement timeout.
    pub(super) fn reopen(&mut self, closed: Closed, now: Instant) {
        self.most = (closed.completed().len().max(closed.calls().len()) / 2).max(1);
        self.due = Some(now);
        let dues = [self.recording_publish_due.take(), self.publish_due];
        self.publish_due = dues.into_iter().flatten().min();
        self.seal = None;
        self.batch.reopen(closed);
    }

    /// Whether so much waits for Postgres that the worker makes no more calls.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= UNRECORDED_MAX || self.batch.bytes() >= UNRECORDED_MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::pipeline::tests::{completed, ledger};

    #[test]
    fn what_is_left_of_a_batch_is_published_no_later_than_before() {
        let (now, long) = (Instant::now(), Duration::from_secs(9));
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let mut outflow = Outflow::new(Duration::from_millis(50), now);
        let mut ledger = ledger();
        let mut records = (0..4).map(|offset| completed(&mut ledger, offset));
        let mut next = || records.next().expect("four");
        outflow.complete(next(), Duration::ZERO, now);
        outflow.complete(next(), Duration::ZERO, now);
        assert_eq!(outflow.close(1, now).completed().len(), 1);
        outflow.complete(next(), long, now);
        assert_eq!(outflow.recorded(Duration::ZERO, None, later(3)), now);
        assert_eq!(outflow.close(9, later(3)).completed().len(), 2);
        assert_eq!(outflow.recorded(Duration::ZERO, None, later(6)), now, "one was left");
        outflow.complete(next(), long, later(9));
        assert_eq!(outflow.close(9, later(9)).completed().len(), 1);
        assert_eq!(outflow.recorded(Duration::ZERO, None, later(12)), later(209), "none was");
    }

    #[test]
    fn a_claim_waits_for_others_for_a_tenth_of_its_time() {
        let now = Instant::now();
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let mut outflow = Outflow::new(Duration::from_millis(50), now);
        assert_eq!(outflow.due(), None, "nothing waits");
        outflow.add_call(Call::ordinary("a"), now);
        assert_eq!(outflow.due(), Some(later(50)), "no answer waits for longer");
        let lingers = |taken| outflow.lingers(Duration::from_millis(taken));
        let lingers =
            [0, 20, 1_000, 9_000].map(|taken| lingers(taken).map(|wait| wait.as_millis()));
        assert_eq!(lingers, [[0, 0], [2, 2], [50, 100], [50, 200]]);
        outflow.wait_until(later(2));
        outflow.wait_until(later(9));
        assert_eq!(outflow.due(), Some(later(2)), "the one that may wait least decides");
        let closed = outflow.close(9, later(2));
        assert_eq!(outflow.due(), None);
        outflow.reopen(closed, later(3));
        assert_eq!(outflow.due(), Some(later(3)), "it has waited enough");
    }

    #[test]
    fn what_postgres_does_not_take_it_is_given_in_halves() {
        let now = Instant::now();
        let mut outflow = Outflow::new(Duration::ZERO, now);
        (0..8).for_each(|number| outflow.add_call(Call::ordinary(&number.to_string()), now));
        let mut tried = Vec::new();
        for _ in 0..5 {
            let closed = outflow.close(1_000, now);
            tried.push(closed.calls().len());
            outflow.reopen(closed, now);
        }
        assert_eq!(tried, [8, 4, 2, 1, 1]);
        for expected in [1, 2, 4, 1] {
            let closed = outflow.close(1_000, now);
            assert_eq!(closed.calls().len(), expected, "and more again when it does");
            outflow.recorded(Duration::ZERO, None, now);
        }
    }

    #[test]
    fn flushing_pauses_for_as_long_as_a_flush_took() {
        let now = Instant::now();
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let mut outflow = Outflow::new(Duration::from_millis(50), now);
        outflow.recorded(Duration::from_millis(3), None, now);
        outflow.published(Duration::from_millis(5), later(8));
        assert_eq!(outflow.due(), None, "nothing waits");
        outflow.wait_until(later(9));
        assert_eq!(outflow.due(), Some(later(16)));
        outflow.published(Duration::from_secs(9), later(100));
        assert_eq!(outflow.due(), Some(later(150)), "nothing waits for longer than that");
    }

    #[test]
    fn after_a_slow_flush_the_next_comes_sooner() {
        let now = Instant::now();
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        let mut outflow = Outflow::new(Duration::from_millis(50), now);
        outflow.wait_until(now);
        outflow.published(Duration::from_millis(8), later(8));
        outflow.published(Duration::from_millis(40), later(48));
        assert_eq!(outflow.due(), Some(later(60)), "an eighth of the way from 8 to 40");
        outflow.published(Duration::from_millis(4), later(64));
        assert_eq!(outflow.due(), Some(later(68)), "and a quick one is not waited for longer");
    }
}
