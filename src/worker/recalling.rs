//! Recall: the worker looks a claim up in Postgres before it calls an API. A claim that has a
//! verdict is not assessed again.
//!
//! One query at a time asks about all claims that wait. An idle worker sends an empty one now and
//! then, to know whether Postgres still answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::store_health::Asked;
use super::task::{Done, LookedUp};
use super::{Job, Ports, Store, Worker, WorkerError};
use crate::intake::TicketId;
use crate::outbox::{Completed, RecordOutcome, StoreError};
use crate::risk::FaultReason;
use crate::schema::Verdict;
use crate::telemetry::{SharedStep, Wait};
use crate::unix_time::elapsed;

/// A verdict older than this was published long ago, unless its worker has been down since then.
const OLD: Duration = Duration::from_secs(600);
/// The pause between two warnings.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Claims to look up in Postgres.
#[derive(Default)]
pub(super) struct Lookups {
    /// Claims that were not looked up yet.
    pub(super) new: Vec<Box<Job>>,
    /// Whether a query is under way.
    pub(super) under_way: bool,
    /// When the worker last warned that old decisions are published again.
    pub(super) repeats_told: Option<Instant>,
}

impl<P: Ports> Worker<P> {
    /// Looks claims up in the store, all in one query: those that were just taken on, and those
    /// that wait for a call and were last looked up a while ago.
    pub(super) fn recall(&mut self, now: Instant) {
        // A claim whose next attempt is due is looked up like any other, and its token is fetched.
        self.calls.scheduler.queue_due_retries(now);
        if self.lookups.under_way || self.outflow.store.waits(now) {
            return;
        }
        let scheduler = &mut self.calls.scheduler;
        let stale = scheduler.stale_heads_mut(now, |job| job.is_to_be_looked_up(now));
        let (waiting, mut claim_ids): (BTreeSet<TicketId>, Vec<String>) = stale
            .map(|job| {
                // The scheduler does not call it before the answer is there.
                job.looked_up = None;
                (job.ticket.id(), job.claim.claim_id.clone())
            })
            .unzip();
        if self.lookups.new.is_empty() && waiting.is_empty() && !self.wants_sign_of_life(now) {
            return;
        }
        self.lookups.under_way = true;
        let new = std::mem::take(&mut self.lookups.new);
        claim_ids.extend(new.iter().map(|job| job.claim.claim_id.clone()));
        self.traces.began(SharedStep::Recall, self.context.clock.micros());
        let store = Arc::clone(&self.ports.store);
        let looked_up = LookedUp { new, waiting };
        self.tasks.spawn(async move { Done::Recalled(looked_up, store.recall(claim_ids).await) });
    }

    /// Whether to ask the store for a sign of life. Not while there is a batch, which asks it
    /// anyway.
    fn wants_sign_of_life(&self, now: Instant) -> bool {
        let asks = self.outflow.pipeline.is_recording() || !self.outflow.batch().is_empty();
        !asks && self.outflow.store.wants_sign_of_life(now)
    }

    pub(super) fn after_recall(
        &mut self,
        LookedUp { new, waiting }: LookedUp,
        verdicts: Result<HashMap<String, Verdict>, StoreError>,
    ) -> Result<(), WorkerError> {
        self.lookups.under_way = false;
        let tickets = new.iter().map(|job| job.ticket.id()).chain(waiting.iter().copied());
        let error = verdicts.is_err().then_some("store");
        self.traces.shared(SharedStep::Recall, tickets, error, self.context.clock.micros());
        let mut verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                self.look_up_again(new);
                return self.store_failed(Asked::Recall, error);
            }
        };
        self.store_answered(Asked::Recall);
        let now = Instant::now();
        self.after_second_look(&waiting, &verdicts, now);
        for mut job in new {
            job.looked_up = Some(now);
            if self.goes(&job) {
                self.drop_job(*job);
            } else if let Some(verdict) = verdicts.remove(&job.claim.claim_id) {
                self.complete_known(*job, verdict);
            } else {
                self.looked_up(&job.ticket, false);
                self.enter_lane(job);
            }
        }
        Ok(())
    }

    /// The store did not answer: these claims are in the next look-up, before those that came
    /// since. Claims whose partition is given back are not, because that would have to wait for the
    /// store.
    fn look_up_again(&mut self, unanswered: Vec<Box<Job>>) {
        let (gone, kept): (Vec<_>, Vec<_>) = unanswered.into_iter().partition(|job| self.goes(job));
        self.lookups.new.splice(0..0, kept);
        for job in gone {
            self.drop_job(*job);
        }
    }

    /// Whether a claim's partition is on its way out, or gone.
    fn goes(&self, job: &Job) -> bool {
        self.is_closing(job.ticket.partition()) || !self.ledger.is_live(&job.ticket)
    }

    /// A claim without a verdict enters the lane of its subject. Where too many wait there already,
    /// it is deferred.
    fn enter_lane(&mut self, job: Box<Job>) {
        if !self.lanes.has_room(job.lane) && self.may_defer_untried(&job) {
            return self.defer_untried(*job, FaultReason::SubjectBusy);
        }
        let lane = job.lane;
        self.traces.waits(job.ticket.id(), Wait::Lane, self.context.clock.micros());
        let head = self.lanes.enter(lane, job);
        self.submit(head);
    }

    /// Claims that wait for a call were looked up again. Another worker may have decided some of
    /// them meanwhile.
    fn after_second_look(
        &mut self,
        waiting: &BTreeSet<TicketId>,
        verdicts: &HashMap<String, Verdict>,
        now: Instant,
    ) {
        if waiting.is_empty() {
            return;
        }
        let mut decided = false;
        for job in
            self.calls.scheduler.heads_mut(now).filter(|job| waiting.contains(&job.ticket.id()))
        {
            job.looked_up = Some(now);
            decided |= verdicts.contains_key(&job.claim.claim_id);
        }
        if !decided {
            return;
        }
        let found = self.calls.scheduler.take(|job| {
            waiting.contains(&job.ticket.id()) && verdicts.contains_key(&job.claim.claim_id)
        });
        for job in found {
            let (lane, verdict) = (job.lane, verdicts.get(&job.claim.claim_id).cloned());
            let Some(verdict) = verdict else { continue };
            self.complete_known(*job, verdict);
            self.leave_lane(lane);
        }
    }

    /// Ends a job whose claim has a verdict already.
    pub(super) fn complete_known(&mut self, mut job: Job, verdict: Verdict) {
        self.vacate(&mut job);
        let outcome = RecordOutcome::of_known(verdict, &job.received.source, &job.fingerprint);
        self.looked_up(&job.ticket, matches!(outcome, RecordOutcome::DeadLettered(_)));
        match &outcome {
            RecordOutcome::Recalled(verdict) => {
                self.context.meter.recalled();
                self.warn_of_repeats(verdict);
            }
            RecordOutcome::Duplicate(_) => self.context.meter.duplicate(),
            RecordOutcome::Decided(_)
            | RecordOutcome::Deferred(_)
            | RecordOutcome::DeadLettered(_) => {}
        }
        let Job { ticket, received, claim, .. } = job;
        self.complete(Completed { ticket, received, claim_id: Some(claim.claim_id), outcome });
    }

    /// After a crash, recent decisions are published again. An old decision means that the group's
    /// offsets went back: the worker warns of that, once a minute at most.
    fn warn_of_repeats(&mut self, verdict: &Verdict) {
        let age = elapsed(verdict.decided_at, self.context.clock.micros());
        let now = Instant::now();
        let told = self.lookups.repeats_told.is_some_and(|at| now.duration_since(at) < TELL_AGAIN);
        if age < OLD || told {
            return;
        }
        self.lookups.repeats_told = Some(now);
        warn!(
            claim.id = verdict.claim_id,
            trace_id = verdict.trace_id,
            "decisions that were recorded up to {} minutes ago are published again: the offsets of \
             group {} were set back, or their worker was away for that long (docs/group.md)",
            age.as_secs() / 60,
            self.context.kafka.group_id
        );
    }
}
