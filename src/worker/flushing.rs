//! Flushing: the worker writes the batch to Postgres, publishes it to Kafka, then gives its tickets
//! back to the ledger.
//!
//! Group commit: while one flush is under way the next batch fills, so batches grow by themselves
//! under load. A batch may also wait a little for more claims
//! ([`Outflow`](super::outflow::Outflow)). Recording and publishing are two stages
//! ([`Pipeline`](super::pipeline::Pipeline)): answers reach Postgres even while Kafka is down.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::store_health::Asked;
use super::task::Done;
use super::{OUTAGE_PAUSE, Ports, Worker, WorkerError};
use crate::outbox::{
    Closed, Completed, PublishError, Published, RecordOutcome, Recorded, StoreError,
};
use crate::telemetry::{Component, SharedStep, shadow_differs};
use crate::unix_time::elapsed;

impl<P: Ports> Worker<P> {
    /// Starts what can be started: the write of the next batch, and the publication of a batch that
    /// is written.
    pub(super) fn flush(&mut self, now: Instant) {
        let (max, hurries) = (self.context.worker.max_batch, self.hurries());
        // One of which nothing is left to publish makes way for the next at once.
        while let Some(recorded) = self.outflow.pipeline.next(max, hurries, now) {
            self.publish(recorded);
        }
        let is_full = self.outflow.batch().is_full(self.context.worker.max_batch);
        let may_record = self.outflow.pipeline.may_record(is_full, now);
        // The batch waits no longer for more: its time is over, it is full, or the worker hurries.
        let is_due = self.outflow.due().is_some_and(|due| due <= now || is_full || hurries);
        if !is_due || self.outflow.store.waits(now) || !may_record {
            return;
        }
        let closed = self.outflow.close(self.context.worker.max_batch, now);
        self.context.meter.flush(closed.completed().len());
        self.record(closed);
    }

    /// Whether batches go at once, without waiting for more: the worker gives partitions back or
    /// stops; or it has no room for more records and no claim waits for a call, so that only a
    /// flush makes room.
    fn hurries(&self) -> bool {
        let has_room = || self.inflow.has_room(&self.context.worker);
        self.drain.is_under_way() || !has_room() && !self.calls.scheduler.has_waiting()
    }

    /// A record has its outcome: it goes into the batch.
    pub(super) fn complete(&mut self, mut completed: Completed) {
        let now = self.context.clock.micros();
        self.traces.completed(&mut completed, now);
        let taken = elapsed(completed.received.received_at, now);
        self.outflow.complete(completed, taken, Instant::now());
    }

    fn record(&mut self, closed: Closed) {
        self.traces.began(SharedStep::Record, self.context.clock.micros());
        self.outflow.pipeline.record_began(closed.calls().len());
        let store = Arc::clone(&self.ports.store);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let result = closed.record(store.as_ref()).await;
            Done::Recorded(result, started.elapsed())
        });
    }

    pub(super) fn after_record(
        &mut self,
        result: Result<Recorded, (Closed, StoreError)>,
        latency: Duration,
    ) -> Result<(), WorkerError> {
        let (completed, error) = match &result {
            Ok(recorded) => (recorded.completed(), None),
            Err((closed, _)) => (closed.completed(), Some("store")),
        };
        self.note_shared(SharedStep::Record, completed, error);
        match result {
            Ok(recorded) => {
                self.context.meter.recorded(latency);
                let due = self.outflow.recorded(latency, recorded.seal(), Instant::now());
                for completed in recorded.completed() {
                    count_shadow(completed);
                    self.complete_followers(completed);
                }
                self.outflow.pipeline.recorded(recorded, due);
                self.store_answered(Asked::Record);
                Ok(())
            }
            Err((closed, error)) => {
                self.outflow.pipeline.record_failed();
                self.outflow.reopen(closed, Instant::now());
                self.store_failed(Asked::Record, error)
            }
        }
    }

    /// The claim of a record has its outcome: the records that waited for it get theirs.
    fn complete_followers(&mut self, completed: &Completed) {
        let Some(claim_id) = &completed.claim_id else { return };
        let ticket = completed.ticket.id();
        if let Some(verdict) = completed.outcome.verdict() {
            for follower in self.duplicates.ended(claim_id, ticket) {
                self.complete_known(*follower, verdict.clone());
            }
        } else if matches!(completed.outcome, RecordOutcome::Deferred(_))
            && self.ledger.is_live(&completed.ticket)
        {
            let followers = self.duplicates.ended(claim_id, ticket);
            self.defer_followers(followers);
        } else {
            // Another worker made the claim's verdict; or this record will not be published,
            // because its partition is gone, and is read again. So the next follower is looked up.
            self.next_follower(claim_id, ticket);
        }
    }

    fn publish(&mut self, mut recorded: Recorded) {
        let before = recorded.completed().len();
        let mut gone = Vec::new();
        recorded.retain_live(&self.ledger, &mut gone);
        gone.iter().for_each(|completed| self.leave_to_others(completed));
        debug!(batch.size = before, batch.stale = gone.len(), "publishing a batch");
        if recorded.completed().is_empty() {
            self.outflow.pipeline.published();
            return;
        }
        let commits = recorded.commits(&self.ledger);
        for commit in &commits {
            self.context.meter.offset_map(commit.partition, commit.metadata.len());
        }
        self.traces.began(SharedStep::Publish, self.context.clock.micros());
        let publisher = Arc::clone(&self.ports.publisher);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let result = recorded.publish(publisher.as_ref(), commits).await;
            Done::Published(result, started.elapsed())
        });
    }

    /// A record whose assignment has ended: the present owner of its partition publishes the
    /// outcome.
    fn leave_to_others(&mut self, completed: &Completed) {
        self.context.meter.stale_result();
        self.inflow.in_flight.remove(&completed.ticket, &completed.received);
        self.traces.left_to_others(completed, self.context.clock.micros());
    }

    pub(super) fn after_publish(
        &mut self,
        result: Result<Published, (Recorded, PublishError)>,
        latency: Duration,
    ) -> Result<(), WorkerError> {
        match &result {
            Ok(published) => self.note_shared(SharedStep::Publish, published.completed(), None),
            Err((recorded, _)) => {
                let completed = recorded.completed();
                self.note_shared(SharedStep::Publish, completed, Some("publisher"));
            }
        }
        match result {
            Ok(published) => {
                self.context.meter.published(latency);
                let at = Instant::now();
                self.outflow.published(latency, at);
                self.outflow.pipeline.published();
                if self.outflow.publisher_outage.ended() {
                    tracing::info!("Kafka accepts decisions again");
                }
                self.context.health.set_ready(Component::Broker, Ok(()));
                let now = self.context.clock.micros();
                let completed = published.into_completed();
                for completed in &completed {
                    self.inflow.in_flight.remove(&completed.ticket, &completed.received);
                    self.traces.published(completed, now);
                    self.count(completed, now);
                }
                self.ledger.confirm(completed.into_iter().map(|completed| completed.ticket));
                Ok(())
            }
            Err((recorded, PublishError::Aborted(reason))) => {
                self.outflow.pipeline.publish_failed(recorded, Instant::now(), OUTAGE_PAUSE);
                self.publish_failed(reason);
                Ok(())
            }
            Err((recorded, PublishError::Uncertain(reason))) => {
                self.outflow.pipeline.publish_uncertain(recorded, Instant::now(), OUTAGE_PAUSE);
                self.publish_failed(reason);
                Ok(())
            }
            Err((mut recorded, PublishError::Undeferrable(places))) => {
                for completed in recorded.take_out(&places) {
                    if self.ledger.is_live(&completed.ticket) {
                        self.give_up_undeferrable(completed);
                    } else {
                        self.leave_to_others(&completed);
                    }
                }
                self.publish(recorded);
                Ok(())
            }
            Err((_, PublishError::Fatal(reason))) => Err(WorkerError::Publisher(reason)),
        }
    }

    fn publish_failed(&mut self, reason: String) {
        self.context.meter.publish_aborted();
        if self.outflow.publisher_outage.failed(&reason) {
            warn!(
                "Kafka did not accept a batch; nothing is lost, the worker tries again until it \
                 does: {reason}"
            );
        }
        self.context.health.set_ready(Component::Broker, Err(reason));
    }

    /// The consumer says whether any broker answers, because an idle worker publishes nothing and
    /// would not notice. A failure of the publisher stands until the publisher succeeds.
    pub(super) fn on_broker_status(&mut self, answers: Result<(), String>) {
        if answers.is_err() || !self.outflow.pipeline.is_failing() {
            self.context.health.set_ready(Component::Broker, answers);
        }
    }

    /// Notes for the spans of all these claims that a shared step has ended.
    fn note_shared(
        &mut self,
        step: SharedStep,
        completed: &[Completed],
        error: Option<&'static str>,
    ) {
        let tickets = completed.iter().map(|completed| completed.ticket.id());
        self.traces.shared(step, tickets, error, self.context.clock.micros());
    }

    fn count(&self, completed: &Completed, now: i64) {
        let latency = elapsed(completed.received.received_at, now);
        match &completed.outcome {
            RecordOutcome::Decided(verdict) | RecordOutcome::Recalled(verdict) => {
                self.context.meter.decided(&verdict.kind, verdict.decision, latency);
            }
            RecordOutcome::DeadLettered(reason) => self.context.meter.dead_letter(reason.error),
            RecordOutcome::Deferred(_) | RecordOutcome::Duplicate(_) => {}
        }
    }
}

/// Counts a recorded claim that the policy in shadow would have decided otherwise.
fn count_shadow(completed: &Completed) {
    if let RecordOutcome::Decided(verdict) = &completed.outcome
        && let Some(shadow) = &verdict.shadow
    {
        shadow_differs(&verdict.api, verdict.decision, shadow.decision);
    }
}
