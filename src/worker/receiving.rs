//! Receiving: the worker parses a record that was taken on. A valid claim becomes a job with a
//! place in the room of its API; anything else becomes a dead letter. The job waits for claims in
//! front of it that have the same id or the same subject.

use tokio::time::Instant;

use super::admission::deferral_of;
use super::duplicates::Entered;
use super::in_flight::Open;
use super::{Job, Ports, Worker};
use crate::claim::{Claim, DeadLetterReason};
use crate::decision::Source;
use crate::intake::deferral::Deferral;
use crate::intake::{Input, Record, Ticket, header};
use crate::outbox::{Completed, Received, RecordOutcome};
use crate::risk::FaultReason;
use crate::telemetry::Wait;
use crate::trace::{BAGGAGE, TRACEPARENT, TRACESTATE, TraceContext, baggage};

impl<P: Ports> Worker<P> {
    /// Makes a job of a record that was taken on, or a dead letter.
    pub(super) fn begin(&mut self, ticket: Ticket, record: Record, now: Instant) {
        self.context.meter.admitted(1);
        let deferral = deferral_of(&record);
        let max_bytes = self.context.kafka.max_event_bytes;
        let parsed = parse(&record, deferral.is_some(), max_bytes);
        let routed =
            parsed.and_then(|claim| self.context.registry.route(&claim).map(|api| (claim, api)));
        let received = self.receive(&ticket, record, deferral.as_ref());
        let api = routed.as_ref().ok().map(|(_, api)| api.index());
        let first = deferral.as_ref().map_or(received.received_at / 1_000, |before| before.first);
        self.inflow.in_flight.add(&ticket, &received, Open { api, first });
        self.was_read(&ticket, routed.is_err());
        match routed {
            Ok((claim, api)) => {
                self.inflow.room.came(api.index(), now);
                self.place(Job::new(ticket, received, claim, api, deferral), now);
            }
            Err(reason) => self.dead_letter(ticket, received, reason),
        }
    }

    /// Gives a claim its place in the room of its API. Where that room is full, the claim is
    /// deferred, so that the claims of other APIs behind it get through. Where it cannot be
    /// deferred either, it is held, and its partition waits with it.
    pub(super) fn place(&mut self, mut job: Box<Job>, now: Instant) {
        let api = job.api.index();
        if self.inflow.room.admits(api, now) {
            self.inflow.room.enter(api, job.received.bytes());
            job.has_place = true;
            return self.enter(job);
        }
        // An overdue claim is looked up again and then decided without a call: it needs no room.
        if self.is_overdue(job.since()) {
            return self.enter(job);
        }
        let is_retry = job.ticket.partition().input == Input::Retry;
        if self.may_defer_untried(&job) && (!is_retry || self.inflow.pace.covers(Some(api), now)) {
            if is_retry {
                self.inflow.pace.withdraw(Some(api), now);
            }
            // Where the API permits no call at all, that is the reason, not the lack of room.
            let is_barred = self.calls.scheduler.is_barred(api, now);
            let reason =
                if is_barred { self.calls.scheduler.delay(api) } else { FaultReason::NoRoom };
            return self.defer_untried(*job, reason);
        }
        self.traces.waits(job.ticket.id(), Wait::Room, self.context.clock.micros());
        self.inflow.held.push(job);
    }

    /// The record as the rest of the worker sees it. The headers of an earlier deferral are
    /// removed.
    pub(super) fn receive(
        &mut self,
        ticket: &Ticket,
        record: Record,
        deferral: Option<&Deferral>,
    ) -> Received {
        let topic = self.context.kafka.topic(record.partition.input);
        let traceparent = header(&record.headers, TRACEPARENT);
        let given = traceparent
            .and_then(|parent| TraceContext::parse(parent, header(&record.headers, TRACESTATE)));
        let incoming =
            given.or_else(|| TraceContext::parse(deferral?.traceparent.as_bytes(), None));
        let (seed, received_at) = (self.context.random.u128(..), self.context.clock.micros());
        let mut trace = self.traces.opened(ticket.id(), incoming, seed, received_at);
        trace.baggage = header(&record.headers, BAGGAGE)
            .and_then(|given| baggage(given, &self.context.baggage));
        if deferral.is_some() {
            let written_at = record.written_at.saturating_mul(1_000);
            self.traces.waits(ticket.id(), Wait::Deferral, written_at);
            self.traces.note(ticket.id(), |claim| claim.moves(received_at));
        }
        // A deferred claim keeps its position in the input topic: verdicts are compared by that.
        let here = || Source {
            topic: topic.to_owned(),
            partition: record.partition.number,
            offset: record.offset,
        };
        let source = deferral.map_or_else(here, |deferral| deferral.source.clone());
        let Record { key, mut headers, payload, .. } = record;
        if deferral.is_some() {
            headers = Deferral::strip(headers);
        }
        Received { source, key, headers, payload, received_at, trace }
    }

    fn dead_letter(&mut self, ticket: Ticket, received: Received, reason: DeadLetterReason) {
        self.complete(Completed {
            ticket,
            received,
            claim_id: None,
            outcome: RecordOutcome::DeadLettered(reason),
        });
    }

    /// Starts a job: it waits behind the job in flight that has the same claim id, or goes into the
    /// next recall.
    pub(super) fn enter(&mut self, job: Box<Job>) {
        let (claim_id, ticket) = (job.claim.claim_id.clone(), job.ticket.id());
        let now = self.context.clock.micros();
        match self.duplicates.enter(claim_id, ticket, job) {
            Entered::Leads(job) => {
                self.traces.waits(ticket, Wait::LookUp, now);
                self.lookups.new.push(job);
            }
            Entered::Waits => self.traces.waits(ticket, Wait::SameClaim, now),
            Entered::Full(job) if self.may_defer_untried(&job) => {
                self.defer_untried(*job, FaultReason::SentAgain)
            }
            Entered::Full(mut job) => {
                self.vacate(&mut job);
                self.traces.waits(ticket, Wait::SameClaim, now);
                self.inflow.held.push(job);
            }
        }
    }

    /// A job leaves its lane: the next job of the lane is submitted.
    pub(super) fn leave_lane(&mut self, lane: u64) {
        let next = self.lanes.leave(lane);
        self.submit(next);
    }

    /// Hands the head of a lane to its API's scheduler. One whose time is over does not wait for a
    /// call that is not permitted or that there is no room for: it gets its last decision, and the
    /// next in its lane is the head. There may be thousands such in one lane.
    pub(super) fn submit(&mut self, mut head: Option<Box<Job>>) {
        while let Some(job) = head {
            let (api, now) = (job.api.index(), Instant::now());
            let cannot_wait = !job.has_place || self.calls.scheduler.is_barred(api, now);
            if !cannot_wait || !self.is_overdue(job.since()) {
                self.traces.waits(job.ticket.id(), Wait::Permit, self.context.clock.micros());
                return self.calls.scheduler.submit(api, job, now);
            }
            let (lane, delay) = (job.lane, self.calls.scheduler.delay(api));
            self.end_unassessed(*job, delay);
            head = self.lanes.leave(lane);
        }
    }
}

/// Parses the claim of a record. The size of a deferred record is not checked: it was accepted when
/// it first came, its headers have grown since then, and the limit may have been lowered.
fn parse(record: &Record, is_deferred: bool, max_bytes: usize) -> Result<Claim, DeadLetterReason> {
    let max_bytes = if is_deferred { usize::MAX } else { max_bytes };
    match record.bytes() {
        bytes if bytes > max_bytes => Err(DeadLetterReason::too_large(bytes, max_bytes)),
        _ => Claim::parse(record.payload.as_deref(), max_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::EventError;
    use crate::intake::Partition;

    #[test]
    fn a_lower_bound_leaves_claims_that_were_let_in_before() {
        let event = br#"{"claim_id":"a","kind":"k","claimed_at":1,
            "account":{"type":"qq","id":"1"},"client":{"ip":"1.2.3.4"}}"#;
        let record = Record {
            partition: Partition::claims(0),
            offset: 0,
            epoch: 0,
            key: None,
            headers: Vec::new(),
            payload: Some(event.to_vec()),
            written_at: 0,
        };
        let error = |is_deferred| parse(&record, is_deferred, 100).err().map(|reason| reason.error);
        assert_eq!(error(false), Some(EventError::TooLarge));
        assert_eq!(error(true), None);
    }
}
