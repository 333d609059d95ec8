//! Deferral: a claim that gets no answer for now goes to the retry topic, with its history in the
//! headers. One that has been tried for too long gets its last decision.

use std::time::Duration;

use tokio::time::Instant;

use super::admission::{api_of, deferral_of};
use super::in_flight::Open;
use super::{Job, Ports, Publisher as _, Worker};
use crate::assess::retry;
use crate::intake::deferral::Deferral;
use crate::intake::{Input, Partition, Record, Ticket};
use crate::outbox::{Completed, RecordOutcome, message};
use crate::risk::{ApiId, Fault, FaultReason};

/// Milliseconds. The shortest pause for a claim whose time is almost over.
const SHORTEST_PAUSE: i64 = 1_000;

impl<P: Ports> Worker<P> {
    /// Defers every claim that has waited for a call for too long, whatever the reason. The claims
    /// of the same API behind it in its lane are deferred too: each would wait as long in its turn.
    pub(super) fn defer_expired(&mut self, now: Instant) {
        for (job, delay) in
            self.calls.scheduler.take_expired(self.context.retry.in_process_for, now)
        {
            self.inflow.room.held_up(job.api.index(), now);
            self.defer_behind(job.lane, job.api, delay);
            self.defer(*job, delay);
        }
    }

    /// Sends a claim to the retry topic; or decides it, when it has been tried for long enough.
    /// Where its API has no room, the claims behind it in its lane are deferred too. Otherwise one
    /// subject that always fails would take up the room, claim after claim.
    pub(super) fn defer(&mut self, job: Job, fault: impl Into<Fault>) {
        let fault = fault.into();
        if self.has_expired(&job) {
            return self.give_up(job, Fault { reason: FaultReason::TicketExpired, ..fault });
        }
        let now = self.context.clock.millis();
        if !self.may_defer(&job, now) {
            return self.give_up(job, fault);
        }
        let (lane, api) = (job.lane, job.api);
        if !self.inflow.has_room(&self.context.worker)
            || !self.inflow.room.admits(api.index(), Instant::now())
        {
            self.defer_behind(lane, api, fault.reason);
        }
        self.complete_deferred(job, fault.reason, now);
        self.leave_lane(lane);
    }

    /// Defers the claims of an API that wait behind the head of a lane.
    fn defer_behind(&mut self, lane: u64, api: ApiId, reason: FaultReason) {
        let now = self.context.clock.millis();
        let (retry, max_bytes) = (&self.context.retry, self.ports.publisher.deferred_max_bytes());
        let goes = |behind: &Job| behind.api == api && may_defer(behind, retry, max_bytes, now);
        for behind in self.lanes.take_behind(lane, |behind| goes(behind)) {
            self.complete_deferred(*behind, reason, now);
        }
    }

    /// Whether a claim has been tried since `since` (UNIX milliseconds) for so long that it gets
    /// its last decision.
    pub(super) fn is_overdue(&self, since: i64) -> bool {
        is_overdue(since, &self.context.retry, self.context.clock.millis())
    }

    /// Whether a claim that finds no room may be deferred. Not while Postgres or Kafka does not
    /// take batches: the deferrals would only pile up in the batch.
    pub(super) fn may_defer_untried(&self, job: &Job) -> bool {
        let leaves = self.outflow.store.is_well() && !self.outflow.pipeline.is_failing();
        leaves && self.may_defer(job, self.context.clock.millis())
    }

    /// Defers a claim that has entered no lane yet.
    pub(super) fn defer_untried(&mut self, job: Job, reason: FaultReason) {
        self.complete_deferred(job, reason, self.context.clock.millis());
    }

    /// Writes a deferred claim that is not due and finds no seat to the end of its topic, so that
    /// the worker sees the claims behind it.
    pub(super) fn pass_on(&mut self, ticket: Ticket, record: Record, deferral: Deferral) {
        let received = self.receive(&ticket, record, Some(&deferral));
        let open = Open { api: api_of(&deferral, &self.context.registry), first: deferral.first };
        self.inflow.in_flight.add(&ticket, &received, open);
        let times = deferral.times.saturating_add(1);
        let outcome = RecordOutcome::Deferred(Deferral { times, ..deferral });
        self.complete(Completed { ticket, received, claim_id: None, outcome });
    }

    /// A waiting claim keeps its offset open, and the offset map of its partition grows with every
    /// record behind it that is done. Where a map is full, the first waiting claim is written to
    /// the end of its topic: then the watermark can move, and the records behind it are read.
    pub(super) fn relieve_maps(&mut self, now: Instant) {
        let ledger = &self.ledger;
        let full = self.inflow.backlog.heads().filter(|head| {
            head.partition.input == Input::Retry
                && !ledger.has_room_for(head.partition, head.offset)
        });
        let api = |head: &Record| api_of(&deferral_of(head)?, &self.context.registry);
        let full: Vec<(Partition, Option<usize>)> =
            full.map(|head| (head.partition, api(head))).collect();
        for (partition, api) in full {
            if self.inflow.has_room(&self.context.worker)
                && self.inflow.pace.covers(api, now)
                && let Some((ticket, record)) = self.inflow.waiting.take_first(partition)
                && let Some(deferral) = deferral_of(&record)
            {
                self.inflow.pace.withdraw(api, now);
                self.pass_on(ticket, record, deferral);
            }
        }
    }

    /// Defers the records that waited for the end of a claim which was deferred. Even a record with
    /// the same content cannot be dropped before there is a verdict: another worker may have
    /// recorded a verdict that names this very record as its source, and then this record has to
    /// publish the decision.
    pub(super) fn defer_followers(&mut self, followers: Vec<Box<Job>>) {
        for follower in followers {
            if self.may_defer(&follower, self.context.clock.millis()) {
                self.defer_untried(*follower, FaultReason::SentAgain);
            } else {
                self.enter(follower);
            }
        }
    }

    /// A job ends or is dropped: its place in the room is free again.
    pub(super) fn vacate(&mut self, job: &mut Job) {
        if std::mem::take(&mut job.has_place) {
            self.inflow.room.leave(job.api.index(), job.received.bytes());
        }
    }

    pub(super) fn may_defer(&self, job: &Job, now: i64) -> bool {
        may_defer(job, &self.context.retry, self.ports.publisher.deferred_max_bytes(), now)
    }

    /// Ends a job as deferred. Does not touch its lane.
    pub(super) fn complete_deferred(&mut self, mut job: Job, reason: FaultReason, now: i64) {
        self.vacate(&mut job);
        self.forget_flood_probe(&job.ticket);
        self.inflow.pace.deferred(job.api.index(), Instant::now());
        self.context.meter.deferred(self.context.registry.api(job.api).name());
        let outcome = RecordOutcome::Deferred(self.history(&job, reason, now));
        let Job { ticket, received, claim, .. } = job;
        self.complete(Completed { ticket, received, claim_id: Some(claim.claim_id), outcome });
    }

    /// What a claim carries in its headers when it is deferred for this reason.
    fn history(&mut self, job: &Job, reason: FaultReason, now: i64) -> Deferral {
        let reason = lasting_reason(job, reason);
        // A claim that only waited behind others was not tried yet: its time starts now.
        let is_tried = job.retry.attempts() > 0 || !WAITS.contains(&reason);
        let since = if is_tried { job.since() } else { now };
        let before = job.deferral.as_ref();
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        let give_up_at = since.saturating_add(millis(self.context.retry.give_up_after));
        let not_before = now.saturating_add(self.pause(job, times, now)).min(give_up_at);
        Deferral {
            times,
            first: before.map_or_else(|| job.since(), |before| before.first),
            since,
            not_before,
            attempts: job.retry.attempts(),
            unseen: job.retry.unseen(),
            code: job.retry.code(),
            reason: reason.as_str().to_owned(),
            source: job.received.source.clone(),
            api: self.context.registry.api(job.api).name().to_owned(),
            // The worker that reads it again continues the same trace.
            traceparent: job.received.trace.traceparent(),
        }
    }

    /// For how many milliseconds a claim is deferred, the `times`-th time: no shorter than its API
    /// asked for, but so that it comes back while there is still time to call the API.
    fn pause(&mut self, job: &Job, times: u32, now: i64) -> i64 {
        let pause = self.context.retry.defer_for(times, self.context.random.u32(..));
        let (at, not_before) = (Instant::now(), job.retry.not_before());
        let asked = not_before.map(|not_before| not_before.saturating_duration_since(at));
        let pause = millis(pause.max(asked.unwrap_or_default()));
        let ask_until = self.context.registry.api(job.api).ask_until(&job.claim);
        let left = ask_until.map(|until| until.saturating_mul(1_000).saturating_sub(now));
        left.map_or(pause, |left| pause.min(left / 2).max(SHORTEST_PAUSE))
    }
}

/// The reason that a claim is deferred for. If it only waits, and its API kept it waiting before,
/// the earlier reason stays: it counts as tried.
fn lasting_reason(job: &Job, reason: FaultReason) -> FaultReason {
    let before = job.deferral.as_ref();
    match before.and_then(|before| FaultReason::from_word(&before.reason)) {
        Some(before) if WAITS.contains(&reason) && !WAITS.contains(&before) => before,
        Some(_) | None => reason,
    }
}

/// Whether a claim may wait longer, and fits into a message of the retry topic with its history.
fn may_defer(job: &Job, retry: &retry::Settings, max_bytes: usize, now: i64) -> bool {
    !is_overdue(job.since(), retry, now) && message::fits_deferred(&job.received, max_bytes)
}

/// `since` and `now`: UNIX milliseconds.
pub(super) fn is_overdue(since: i64, retry: &retry::Settings, now: i64) -> bool {
    now >= since.saturating_add(millis(retry.give_up_after))
}

/// Reasons to wait that say nothing against the API.
const WAITS: [FaultReason; 4] =
    [FaultReason::NoRoom, FaultReason::SubjectBusy, FaultReason::SentAgain, FaultReason::NoPermit];

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
