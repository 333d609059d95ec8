//! Flushing: the batch goes to Postgres, then to Kafka, then its tickets back to the ledger.
//!
//! Group commit without a linger: while one flush is under way the next batch fills, so that latency
//! is lowest when idle and batches grow by themselves under load. Recording and publishing are two
//! stages ([`Pipeline`](super::pipeline::Pipeline)): while Kafka is away, answers reach Postgres.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::assessing::Done;
use super::{Ended, Http, Intake, OUTAGE_PAUSE, Publisher, Store, Worker};
use crate::outbox::{Disposition, PublishError, Published, Recorded, Sealed, Settled, StoreError};
use crate::telemetry::Component;

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// Starts what can be started: the write of the next batch, and the publication of one that is
    /// written.
    pub(super) fn flush(&mut self, now: Instant) {
        if let Some(recorded) = self.pipeline.next(self.terms.worker.max_batch, now) {
            self.publish(recorded);
        }
        let rests = self.store_rests_until.is_some_and(|until| now < until);
        if self.batch.is_empty() || rests || !self.pipeline.may_record(now) {
            return;
        }
        let sealed = self.batch.seal(self.terms.worker.max_batch);
        self.terms.meter.flush(sealed.settled().len());
        self.record(sealed);
    }

    fn record(&mut self, sealed: Sealed) {
        let flush = self.terms.spans.flush(sealed.settled().iter().map(|settled| &settled.received.trace));
        let span = flush.record(sealed.settled().len());
        self.pipeline.record_began(flush, sealed.calls().len());
        let store = Arc::clone(&self.ports.store);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let result = sealed.record(store.as_ref()).await;
            if result.is_err() {
                span.failed("store");
            }
            Done::Recorded(result, started.elapsed())
        });
    }

    pub(super) fn after_record(
        &mut self,
        result: Result<Recorded, (Sealed, StoreError)>,
        latency: Duration,
    ) -> Result<(), Ended> {
        match result {
            Ok(recorded) => {
                self.terms.meter.recorded(latency);
                for settled in recorded.settled() {
                    self.settle_followers(settled);
                }
                self.pipeline.recorded(recorded, Instant::now());
                self.store_answered();
                Ok(())
            }
            Err((sealed, error)) => {
                self.pipeline.record_failed();
                self.batch.unseal(sealed);
                self.store_failed(error)
            }
        }
    }

    /// The claim has its end now: so have the records that waited for it.
    fn settle_followers(&mut self, settled: &Settled) {
        let Some(claim_id) = &settled.claim_id else { return };
        let ticket = settled.ticket.id();
        match &settled.disposition {
            Disposition::Assessed(verdict)
            | Disposition::Recalled(verdict)
            | Disposition::Duplicate(verdict) => {
                for follower in self.undecided.ended(claim_id, ticket) {
                    self.settle_known(*follower, verdict.as_ref().clone());
                }
            }
            Disposition::Parked(_) if self.ledger.is_live(&settled.ticket) => {
                let followers = self.undecided.ended(claim_id, ticket);
                self.park_followers(followers);
            }
            // The claim has a verdict of another worker's, or this record will not be published and is
            // read again: the next in line asks the store anew.
            Disposition::Parked(_) | Disposition::Quarantined(_) => self.next_in_line(claim_id, ticket),
        }
    }

    fn publish(&mut self, mut recorded: Recorded) {
        let before = recorded.settled().len();
        let mut gone = Vec::new();
        recorded.retain_live(&self.ledger, &mut gone);
        for settled in &gone {
            self.terms.meter.stale_result();
            self.in_flight.remove(&settled.ticket, &settled.received);
        }
        debug!(batch.size = before, batch.stale = gone.len(), "publishing a batch");
        if recorded.settled().is_empty() {
            self.pipeline.published(Instant::now());
            return;
        }
        let commits = recorded.commits(&self.ledger);
        for commit in &commits {
            self.terms.meter.offset_map(commit.partition, commit.metadata.len());
        }
        let span = self.pipeline.span().map(|flush| flush.publish(recorded.settled().len()));
        let span = span.unwrap_or_default();
        let publisher = Arc::clone(&self.ports.publisher);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let result = recorded.publish(publisher.as_ref(), commits).await;
            if result.is_err() {
                span.failed("publisher");
            }
            Done::Published(result, started.elapsed())
        });
    }

    pub(super) fn after_publish(
        &mut self,
        result: Result<Published, (Recorded, PublishError)>,
        latency: Duration,
    ) -> Result<(), Ended> {
        match result {
            Ok(published) => {
                self.terms.meter.published(latency);
                if self.pipeline.published(Instant::now()) {
                    tracing::info!("Kafka takes decisions again");
                }
                self.terms.health.set_ready(Component::Broker, Ok(()));
                let now = self.terms.clock.micros();
                let settled = published.into_settled();
                for settled in &settled {
                    self.in_flight.remove(&settled.ticket, &settled.received);
                    self.count(settled, now);
                }
                self.ledger.confirm(settled.into_iter().map(|settled| settled.ticket));
                Ok(())
            }
            Err((recorded, PublishError::Aborted(reason))) => {
                self.terms.meter.publish_aborted();
                if self.pipeline.publish_failed(recorded, Instant::now(), OUTAGE_PAUSE) {
                    warn!(
                        "Kafka did not take a batch; nothing is lost, the worker tries again until it does: {reason}"
                    );
                }
                self.terms.health.set_ready(Component::Broker, Err(reason));
                Ok(())
            }
            Err((mut recorded, PublishError::Unparkable(places))) => {
                for settled in recorded.take_out(&places) {
                    self.give_up_unparkable(settled);
                }
                self.publish(recorded);
                Ok(())
            }
            Err((_, PublishError::Fatal(reason))) => Err(Ended::Publisher(reason)),
        }
    }

    /// The consumer says whether any broker answers: a worker with nothing to publish would not notice. What the publisher found out
    /// stands until it finds otherwise.
    pub(super) fn hear_of_brokers(&mut self, answers: Result<(), String>) {
        if answers.is_err() || !self.pipeline.is_failing() {
            self.terms.health.set_ready(Component::Broker, answers);
        }
    }

    fn count(&self, settled: &Settled, now: i64) {
        let latency = Duration::from_micros(u64::try_from(now - settled.received.received_at).unwrap_or(0));
        match &settled.disposition {
            Disposition::Assessed(verdict) | Disposition::Recalled(verdict) => {
                self.terms.meter.decided(&verdict.kind, verdict.decision, latency);
            }
            Disposition::Quarantined(malformed) => self.terms.meter.dead_letter(malformed.error),
            Disposition::Parked(_) | Disposition::Duplicate(_) => {}
        }
    }
}
