//! Parking: a claim that stays transient leaves the worker by the retry topic, with its history; or gets its last decision.

use std::time::Duration;

use tokio::time::Instant;

use super::{Http, Intake, Job, Publisher, Store, Worker};
use crate::intake::header;
use crate::intake::parking::Parking;
use crate::outbox::{Disposition, Settled, message};
use crate::risk::Fault;
use crate::trace::TRACEPARENT;

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// Parks what waits in vain for an API that is barred.
    pub(super) fn park_hopeless(&mut self, now: Instant) {
        for job in self.desk.take_hopeless(self.terms.retry.in_process_for, now) {
            let barred = self.desk.breaker(job.api.index()).open_since().is_some();
            let reason = if barred { "breaker_open" } else { "no_access_token" };
            self.park(*job, &Fault { reason, provider_code: None });
        }
    }

    /// Sends a claim to the retry topic, for later; or decides it, when it has waited for long enough. In a worker that is full the
    /// claims behind it go along: one subject that always fails, each claim in its turn, would keep everybody else out.
    pub(super) fn park(&mut self, job: Job, fault: &Fault) {
        let now = self.terms.clock.micros() / 1_000;
        let (give_up_after, max_bytes) = (self.terms.retry.give_up_after, self.terms.kafka.max_message_bytes);
        if !may_park(&job, give_up_after, max_bytes, now) {
            return self.give_up(job, fault);
        }
        let (lane, api) = (job.lane, job.api);
        if !self.has_room() {
            let goes = |behind: &Job| behind.api == api && may_park(behind, give_up_after, max_bytes, now);
            for behind in self.lanes.take_behind(lane, |behind| goes(behind)) {
                self.settle_parked(*behind, fault, now);
            }
        }
        self.settle_parked(job, fault, now);
        let next = self.lanes.leave(lane);
        self.submit(next);
    }

    fn settle_parked(&mut self, job: Job, fault: &Fault, now: i64) {
        let since = parked_since(&job);
        let give_up_at = since.saturating_add(millis(self.terms.retry.give_up_after));
        let times = job.parking.as_ref().map_or(0, |parking| parking.times).saturating_add(1);
        let pause = self.terms.retry.park_for(times, self.terms.random.u32(..));
        let api = self.terms.registry.get(job.api).api.name();
        self.terms.meter.parked(api);
        let Job { ticket, mut received, claim, retry, .. } = job;
        // Whoever picks it up goes on in the same trace.
        if header(&received.headers, TRACEPARENT).is_none() {
            received.headers.push((TRACEPARENT.to_owned(), Some(received.trace.traceparent().into_bytes())));
        }
        let parking = Parking {
            times,
            since,
            not_before: now.saturating_add(millis(pause)).min(give_up_at),
            attempts: retry.attempts(),
            reason: fault.reason.to_owned(),
            source: received.source.clone(),
        };
        let disposition = Disposition::Parked(parking);
        self.batch.settle(Settled { ticket, received, claim_id: Some(claim.claim_id), disposition });
    }
}

/// Since when a claim is tried, UNIX milliseconds.
fn parked_since(job: &Job) -> i64 {
    job.parking.as_ref().map_or(job.received.received_at / 1_000, |parking| parking.since)
}

/// Whether a claim may wait for longer, and fits into the retry topic with its history.
fn may_park(job: &Job, give_up_after: Duration, max_bytes: usize, now: i64) -> bool {
    now < parked_since(job).saturating_add(millis(give_up_after))
        && message::fits_parked(&job.received, max_bytes)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
