//! Admission: from a record to a job that waits to be looked up, or to a dead letter.
//!
//! A record gets its ticket, is parsed and routed. Records that share a claim id with one in flight follow it and are settled by its verdict.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::undecided::Entered;
use super::{Http, Intake, Job, Publisher, Store, Worker};
use crate::claim::{Claim, Malformed};
use crate::decision::Source;
use crate::intake::parking::Parking;
use crate::intake::{Admission, Assigned, Input, Partition, Record, Ticket, header};
use crate::outbox::{Disposition, Received, Settled};
use crate::risk::Registry;
use crate::telemetry::{ClaimFacts, ClaimSpan, Component};
use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    pub(super) fn take_partitions(&mut self, assigned: &[Assigned], input_partitions: u32) {
        self.input_partitions = input_partitions;
        for assigned in assigned {
            if let Some(warning) = self.ledger.assign(assigned) {
                warn!(
                    "partition {}: {warning}; every record is looked up instead",
                    assigned.partition.label()
                );
            }
        }
        self.share_limits();
        self.terms.health.set_ready(Component::Group, Ok(()));
        self.terms.meter.assigned(self.ledger.partitions());
    }

    /// Uses of the group's limits what the partitions at work are worth.
    pub(super) fn share_limits(&mut self) {
        let at_work =
            |partition: &Partition| partition.input == Input::Claims && !self.is_closing(*partition);
        let held: Vec<i32> =
            self.ledger.partitions().filter(at_work).map(|partition| partition.number).collect();
        self.desk.set_share(&held, self.input_partitions, Instant::now());
    }

    pub(super) fn take_records(&mut self, records: Vec<Record>) {
        for record in records {
            if !self.is_closing(record.partition) {
                self.backlog.push(record);
            }
        }
    }

    /// Takes on as many records as there is room for: parked claims that are due first.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        for job in std::mem::take(&mut self.held) {
            self.place(job, now);
        }
        while self.has_room() {
            let has_room = |api: Option<usize>| api.is_none_or(|api| self.room.admits(api, now));
            let Some((ticket, record)) = self.waiting.next_due(now, has_room) else { break };
            self.begin(ticket, record, now);
        }
        while self.has_room() {
            let wall = self.terms.clock.micros() / 1_000;
            let may = |record: &Record| {
                let open = match record.partition.input {
                    Input::Claims => self.flood.admits(now),
                    Input::Retry => {
                        let api = api_of(record, &self.terms.registry);
                        let has_place = match due_in(record, wall) {
                            Some(_) => self.waiting.has_seat(api),
                            None => api.is_none_or(|api| self.room.admits(api, now)),
                        };
                        has_place || self.pace.affords(api, now)
                    }
                };
                let is_held = self.held.iter().any(|job| job.ticket.partition() == record.partition);
                open && !is_held && self.ledger.has_room_for(record.partition, record.offset)
            };
            let Some(record) = self.backlog.pop(may) else { break };
            self.admit_record(record, now);
        }
        if let Some(paused) = self.backlog.paused(self.ledger.partitions()) {
            self.ports.intake.pause(paused);
        }
    }

    /// Whether the worker as a whole may take on one record more.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.records() < self.terms.worker.max_in_flight
            && self.in_flight.bytes() < self.terms.worker.max_in_flight_bytes
    }

    fn admit_record(&mut self, record: Record, now: Instant) {
        let ticket = match self.ledger.admit(record.partition, record.offset, record.epoch) {
            Admission::Ticket(ticket) => ticket,
            Admission::AlreadyDone | Admission::Stale => return,
        };
        let Some(wait) = due_in(&record, self.terms.clock.micros() / 1_000) else {
            return self.begin(ticket, record, now);
        };
        let api = api_of(&record, &self.terms.registry);
        if self.waiting.has_seat(api) {
            // Nobody parks for longer than this; a header that says so is damaged.
            let wait = wait.min(self.terms.retry.park_max_interval);
            self.waiting.enter(api, now + wait, ticket, record);
        } else {
            self.pace.pay(api, now);
            self.pass_on(ticket, record);
        }
    }

    /// A record that was taken on becomes a job, or a dead letter.
    fn begin(&mut self, ticket: Ticket, mut record: Record, now: Instant) {
        self.terms.meter.admitted(1);
        let parking = Some(&record).filter(|record| record.partition.input == Input::Retry);
        let parking = parking.and_then(|record| Parking::parse(&record.headers));
        if parking.is_some() {
            record.headers = Parking::strip(std::mem::take(&mut record.headers));
        }
        // A parked claim was let in once, and carries more since then.
        let max_bytes = self.terms.kafka.max_event_bytes;
        let parsed = match record.bytes() {
            bytes if parking.is_none() && bytes > max_bytes => Err(Malformed::too_large(bytes, max_bytes)),
            _ => Claim::parse(record.payload.as_deref(), max_bytes),
        };
        let routed = parsed.and_then(|claim| self.terms.registry.route(&claim).map(|api| (claim, api)));
        let (span, received) =
            self.receive(record, routed.as_ref().ok().map(|(claim, _)| claim), parking.as_ref());
        self.in_flight.add(&ticket, &received);
        self.was_read(&ticket, routed.is_err());
        match routed {
            Ok((claim, api)) => {
                self.room.came(api.index(), now);
                self.place(Job::new(ticket, received, claim, api, parking, span), now);
            }
            Err(malformed) => self.quarantine(ticket, received, malformed, &span),
        }
    }

    /// A claim finds its place in the room of its API. Where that is full it is put off, so that the
    /// claims of other APIs behind it get through; where it cannot be, its partition waits with it.
    fn place(&mut self, mut job: Box<Job>, now: Instant) {
        let api = job.api.index();
        if self.room.admits(api, now) {
            self.room.enter(api, job.received.bytes());
            job.has_place = true;
            return self.enter(job);
        }
        let is_retry = job.ticket.partition().input == Input::Retry;
        if self.may_put_off(&job) && (!is_retry || self.pace.affords(Some(api), now)) {
            if is_retry {
                self.pace.pay(Some(api), now);
            }
            return self.put_off(*job, "no_room");
        }
        self.held.push(job);
    }

    pub(super) fn receive(
        &mut self,
        record: Record,
        claim: Option<&Claim>,
        parking: Option<&Parking>,
    ) -> (ClaimSpan, Received) {
        let topic = self.terms.kafka.topic(record.partition.input);
        let traceparent = header(&record.headers, TRACEPARENT);
        let incoming =
            traceparent.and_then(|parent| TraceContext::parse(parent, header(&record.headers, TRACESTATE)));
        let facts = ClaimFacts {
            topic,
            partition: record.partition.number,
            offset: record.offset,
            claim_id: claim.map(|claim| claim.claim_id.as_str()),
            kind: claim.map(|claim| claim.kind.as_str()),
        };
        let (span, trace) = self.terms.spans.claim(&facts, incoming, self.terms.random.u128(..));
        // A parked claim keeps its first position: that is the one that a verdict is compared with.
        let here =
            || Source { topic: topic.to_owned(), partition: record.partition.number, offset: record.offset };
        let source = parking.map_or_else(here, |parking| parking.source.clone());
        let Record { key, headers, payload, .. } = record;
        (span, Received { source, key, headers, payload, received_at: self.terms.clock.micros(), trace })
    }

    fn quarantine(&mut self, ticket: Ticket, received: Received, malformed: Malformed, span: &ClaimSpan) {
        span.quarantined(malformed.error);
        self.batch.settle(Settled {
            ticket,
            received,
            claim_id: None,
            disposition: Disposition::Quarantined(malformed),
        });
    }

    /// A job starts: behind the one in flight under its claim id, or into the next recall.
    pub(super) fn enter(&mut self, job: Box<Job>) {
        let (claim_id, ticket) = (job.claim.claim_id.clone(), job.ticket.id());
        match self.undecided.enter(claim_id, ticket, job) {
            Entered::Leads(job) => self.unrecalled.push(job),
            Entered::Waits => {}
            Entered::Full(job) if self.may_put_off(&job) => self.put_off(*job, "sent_again"),
            Entered::Full(mut job) => {
                self.vacate(&mut job);
                self.held.push(job);
            }
        }
    }

    /// Hands the head of a lane to its API's desk.
    pub(super) fn submit(&mut self, head: Option<Box<Job>>) {
        if let Some(job) = head {
            self.desk.submit(job.api.index(), job, Instant::now());
        }
    }
}

/// The API that a parked claim waits for, where it says so.
fn api_of(record: &Record, registry: &Registry) -> Option<usize> {
    let parking = Parking::parse(&record.headers)?;
    registry.iter().find(|(_, route)| route.api.name() == parking.api).map(|(id, _)| id.index())
}

/// How long a parked claim is not to be asked about yet; `now` in UNIX milliseconds.
fn due_in(record: &Record, now: i64) -> Option<Duration> {
    let parking = Some(&record.headers).filter(|_| record.partition.input == Input::Retry);
    let parking = parking.and_then(Parking::parse)?;
    let wait = u64::try_from(parking.not_before.saturating_sub(now)).ok()?;
    Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero())
}
