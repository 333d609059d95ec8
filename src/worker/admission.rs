//! Admission: from a record to a job that waits to be looked up, or to a dead letter.
//!
//! A record gets its ticket, is parsed and routed. Records that share a claim id with one in flight
//! follow it and are completed by its verdict.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::deferring::is_overdue;
use super::duplicates::Entered;
use super::in_flight::Open;
use super::{Intake as _, Job, Ports, Worker};
use crate::claim::{Claim, DeadLetterReason};
use crate::decision::Source;
use crate::intake::deferral::Deferral;
use crate::intake::{Admission, Assigned, Input, Partition, Record, Ticket, header};
use crate::outbox::{Completed, Received, RecordOutcome};
use crate::risk::{ApiId, FaultReason, Registry};
use crate::telemetry::{Component, Wait};
use crate::trace::{BAGGAGE, TRACEPARENT, TRACESTATE, TraceContext, baggage};

impl<P: Ports> Worker<P> {
    pub(super) fn take_partitions(&mut self, assigned: &[Assigned], input_partitions: u32) {
        self.calls.input_partitions = input_partitions;
        for assigned in assigned {
            if let Some(warning) = self.ledger.assign(assigned) {
                warn!(
                    "partition {}: {warning}; every record is looked up instead",
                    assigned.partition.label()
                );
            }
        }
        self.share_limits();
        self.context.health.set_ready(Component::Group, Ok(()));
        self.context.meter.assigned(self.ledger.partitions());
    }

    /// Uses of the group's limits what the partitions at work are worth.
    pub(super) fn share_limits(&mut self) {
        let at_work = |partition: &Partition| {
            partition.input == Input::Claims && !self.is_closing(*partition)
        };
        let held: Vec<i32> =
            self.ledger.partitions().filter(at_work).map(|partition| partition.number).collect();
        self.calls.scheduler.set_share(&held, self.calls.input_partitions, Instant::now());
    }

    pub(super) fn take_records(&mut self, records: Vec<Record>) {
        for record in records {
            if !self.is_closing(record.partition) {
                self.inflow.backlog.push(record);
            }
        }
    }

    /// Takes on as many records as there is room for: deferred claims that are due first.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.drain.stopping.is_some() {
            return;
        }
        for job in std::mem::take(&mut self.inflow.held) {
            self.place(job, now);
        }
        while self.inflow.has_room(&self.context.worker) {
            let wall = self.context.clock.micros() / 1_000;
            let (room, retry) = (&self.inflow.room, &self.context.retry);
            let has_place = |api: Option<usize>, since| {
                is_overdue(since, retry, wall) || api.is_none_or(|api| room.admits(api, now))
            };
            let due = self.inflow.waiting.next_due(now, has_place);
            let Some((ticket, record)) = due else { break };
            self.begin(ticket, record, now);
        }
        while self.inflow.has_room(&self.context.worker) {
            let wall = self.context.clock.micros() / 1_000;
            let may = |record: &Record| {
                let open = match record.partition.input {
                    Input::Claims => self.inflow.flood.admits(now),
                    Input::Retry => {
                        let deferral = deferral_of(record);
                        let registry = &self.context.registry;
                        let api = deferral.as_ref().and_then(|deferral| api_of(deferral, registry));
                        let overdue = deferral.as_ref().is_some_and(|deferral| {
                            is_overdue(deferral.since, &self.context.retry, wall)
                        });
                        let released = self.inflow.released_until;
                        let wait = deferral.and_then(|deferral| {
                            due_in(&deferral, record.written_at, wall, released)
                        });
                        let has_place = match wait {
                            Some(_) => self.inflow.waiting.has_seat(api),
                            None => {
                                overdue || api.is_none_or(|api| self.inflow.room.admits(api, now))
                            }
                        };
                        has_place || self.inflow.pace.covers(api, now)
                    }
                };
                let is_held =
                    self.inflow.held.iter().any(|job| job.ticket.partition() == record.partition);
                open && !is_held && self.ledger.has_room_for(record.partition, record.offset)
            };
            let Some(record) = self.inflow.backlog.pop(may) else { break };
            self.admit_record(record, now);
        }
        self.relieve_maps(now);
        if let Some(paused) = self.inflow.backlog.paused(self.ledger.partitions()) {
            self.ports.intake.pause(paused);
        }
    }

    fn admit_record(&mut self, record: Record, now: Instant) {
        let ticket = match self.ledger.admit(record.partition, record.offset, record.epoch) {
            Admission::Ticket(ticket) => ticket,
            Admission::AlreadyDone | Admission::Stale => return,
        };
        let (wall, released) = (self.context.clock.micros() / 1_000, self.inflow.released_until);
        let waits = deferral_of(&record).and_then(|deferral| {
            let wait = due_in(&deferral, record.written_at, wall, released)?;
            Some((deferral, wait))
        });
        let Some((deferral, wait)) = waits else {
            return self.begin(ticket, record, now);
        };
        let api = api_of(&deferral, &self.context.registry);
        if self.inflow.waiting.has_seat(api) {
            // Nobody defers for longer than this; a header that says so is damaged.
            let wait = wait.min(self.context.retry.defer_max_interval);
            self.inflow.waiting.enter(api, now + wait, deferral.since, (ticket, record));
        } else {
            self.inflow.pace.withdraw(api, now);
            self.pass_on(ticket, record, deferral);
        }
    }

    /// Somebody mended what claims were deferred for: all that were deferred until now are due.
    pub(super) fn release_deferred(&mut self) {
        self.inflow.released_until = self.context.clock.micros() / 1_000;
        self.inflow.waiting.make_due(Instant::now());
        let waiting = self.inflow.waiting.len();
        info!(
            "told to ask about deferred claims now: {waiting} were at hand, those in the retry topic \
             follow"
        );
    }

    /// A record that was taken on becomes a job, or a dead letter.
    fn begin(&mut self, ticket: Ticket, mut record: Record, now: Instant) {
        self.context.meter.admitted(1);
        let deferral = deferral_of(&record);
        if deferral.is_some() {
            record.headers = Deferral::strip(std::mem::take(&mut record.headers));
        }
        // A deferred claim was let in once, and carries more since then.
        let max_bytes = self.context.kafka.max_event_bytes;
        let parsed = match record.bytes() {
            bytes if deferral.is_none() && bytes > max_bytes => {
                Err(DeadLetterReason::too_large(bytes, max_bytes))
            }
            _ => Claim::parse(record.payload.as_deref(), max_bytes),
        };
        let routed =
            parsed.and_then(|claim| self.context.registry.route(&claim).map(|api| (claim, api)));
        let received = self.receive(&ticket, record, deferral.as_ref());
        let api = routed.as_ref().ok().map(|(_, api)| api.index());
        let since = deferral.as_ref().map_or(received.received_at / 1_000, |before| before.since);
        self.inflow.in_flight.add(&ticket, &received, Open { api, since });
        self.was_read(&ticket, routed.is_err());
        match routed {
            Ok((claim, api)) => {
                self.inflow.room.came(api.index(), now);
                self.place(Job::new(ticket, received, claim, api, deferral), now);
            }
            Err(malformed) => self.dead_letter(ticket, received, malformed),
        }
    }

    /// A claim finds its place in the room of its API. Where that is full it is deferred, so that
    /// the claims of other APIs behind it get through; where it cannot be, its partition waits with
    /// it.
    fn place(&mut self, mut job: Box<Job>, now: Instant) {
        let api = job.api.index();
        if self.inflow.room.admits(api, now) {
            self.inflow.room.enter(api, job.received.bytes());
            job.has_place = true;
            return self.enter(job);
        }
        // Looked up once more, and decided: that needs no room.
        if self.is_overdue(job.since()) {
            return self.enter(job);
        }
        let is_retry = job.ticket.partition().input == Input::Retry;
        if self.may_defer_untried(&job) && (!is_retry || self.inflow.pace.covers(Some(api), now)) {
            if is_retry {
                self.inflow.pace.withdraw(Some(api), now);
            }
            // Where no call is permitted, that is what there is no room for.
            let is_barred = self.calls.scheduler.is_barred(api, now);
            let reason =
                if is_barred { self.calls.scheduler.delay(api) } else { FaultReason::NoRoom };
            return self.defer_untried(*job, reason);
        }
        self.traces.waits(job.ticket.id(), Wait::Room, self.context.clock.micros());
        self.inflow.held.push(job);
    }

    pub(super) fn receive(
        &mut self,
        ticket: &Ticket,
        record: Record,
        deferral: Option<&Deferral>,
    ) -> Received {
        let topic = self.context.kafka.topic(record.partition.input);
        let traceparent = header(&record.headers, TRACEPARENT);
        let incoming = traceparent
            .and_then(|parent| TraceContext::parse(parent, header(&record.headers, TRACESTATE)));
        let (seed, received_at) = (self.context.random.u128(..), self.context.clock.micros());
        let mut trace = self.traces.opened(ticket.id(), incoming, seed, received_at);
        trace.baggage = header(&record.headers, BAGGAGE)
            .and_then(|given| baggage(given, &self.context.baggage));
        if deferral.is_some() {
            let written_at = record.written_at.saturating_mul(1_000);
            self.traces.waits(ticket.id(), Wait::Deferral, written_at);
            self.traces.note(ticket.id(), |claim| claim.moves(received_at));
        }
        // A deferred claim keeps its first position: that is the one that a verdict is compared
        // with.
        let here = || Source {
            topic: topic.to_owned(),
            partition: record.partition.number,
            offset: record.offset,
        };
        let source = deferral.map_or_else(here, |deferral| deferral.source.clone());
        let Record { key, headers, payload, .. } = record;
        Received { source, key, headers, payload, received_at, trace }
    }

    fn dead_letter(&mut self, ticket: Ticket, received: Received, malformed: DeadLetterReason) {
        self.complete(Completed {
            ticket,
            received,
            claim_id: None,
            outcome: RecordOutcome::DeadLettered(malformed),
        });
    }

    /// A job starts: behind the one in flight under its claim id, or into the next recall.
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

    /// Hands the head of a lane to its API's scheduler. One whose time is over does not wait for a
    /// call that is not permitted or that there is no room for: it gets its last decision.
    pub(super) fn submit(&mut self, head: Option<Box<Job>>) {
        let Some(job) = head else { return };
        let (api, now) = (job.api.index(), Instant::now());
        let cannot_wait = !job.has_place || self.calls.scheduler.is_barred(api, now);
        if cannot_wait && self.is_overdue(job.since()) {
            let delay = self.calls.scheduler.delay(api);
            return self.give_up(*job, delay.into());
        }
        self.traces.waits(job.ticket.id(), Wait::Permit, self.context.clock.micros());
        self.calls.scheduler.submit(api, job, now);
    }
}

/// What a record of the retry topic says of its deferral.
pub(super) fn deferral_of(record: &Record) -> Option<Deferral> {
    let deferred = Some(record).filter(|record| record.partition.input == Input::Retry)?;
    Deferral::parse(&deferred.headers)
}

/// The API that a deferred claim waits for, where the configuration has it.
pub(super) fn api_of(deferral: &Deferral, registry: &Registry) -> Option<usize> {
    registry.find(&deferral.api).map(ApiId::index)
}

/// How long a deferred claim is not to be asked about yet. `now`, and when it was written, are UNIX
/// milliseconds.
fn due_in(deferral: &Deferral, written_at: i64, now: i64, released_until: i64) -> Option<Duration> {
    if written_at <= released_until {
        return None;
    }
    let wait = u64::try_from(deferral.not_before.saturating_sub(now)).ok()?;
    Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero())
}
