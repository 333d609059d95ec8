//! Admission: which records the worker takes on, and when.
//!
//! Each record gets a ticket. A deferred claim that is not due yet gets a seat in the waiting room;
//! where no seat is free, it is written to the end of the retry topic again.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::deferring::is_overdue;
use super::{Intake as _, Ports, Worker};
use crate::intake::deferral::Deferral;
use crate::intake::{Admission, Assigned, Input, Partition, Record};
use crate::risk::{ApiId, Registry};
use crate::telemetry::Component;

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
        self.context.health.set_ready(Component::Group, self.drain.readiness());
        self.context.meter.assigned(self.ledger.partitions());
    }

    /// Gives this worker the part of the group's limits that matches its part of the partitions.
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

    /// Takes on as many records as there is room for. Deferred claims that are due come first.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.drain.stopping.is_some() {
            return;
        }
        for job in std::mem::take(&mut self.inflow.held) {
            self.place(job, now);
        }
        while self.inflow.has_room(&self.context.worker) {
            let wall = self.context.clock.millis();
            let (room, retry) = (&self.inflow.room, &self.context.retry);
            let has_place =
                |api, since| is_overdue(since, retry, wall) || room.admits_any(api, now);
            let due = self.inflow.waiting.next_due(now, has_place);
            let Some((ticket, record)) = due else { break };
            self.begin(ticket, record, now);
        }
        while self.inflow.has_room(&self.context.worker) {
            let wall = self.context.clock.millis();
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
                        let due_until = self.inflow.due_if_written_until;
                        let wait = deferral.and_then(|deferral| {
                            due_in(&deferral, record.written_at, wall, due_until)
                        });
                        let has_place = match wait {
                            Some(_) => self.inflow.waiting.has_seat(api),
                            None => overdue || self.inflow.room.admits_any(api, now),
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
        let wall = self.context.clock.millis();
        let due_until = self.inflow.due_if_written_until;
        let waits = deferral_of(&record).and_then(|deferral| {
            let wait = due_in(&deferral, record.written_at, wall, due_until)?;
            Some((deferral, wait))
        });
        let Some((deferral, wait)) = waits else {
            return self.begin(ticket, record, now);
        };
        let api = api_of(&deferral, &self.context.registry);
        if self.inflow.waiting.has_seat(api) {
            // No worker defers for longer than this: a header with more is damaged.
            let wait = wait.min(self.context.retry.longest_pause());
            self.inflow.waiting.enter(api, now + wait, &deferral, (ticket, record));
        } else {
            self.inflow.pace.withdraw(api, now);
            self.pass_on(ticket, record, deferral);
        }
    }

    /// An operator has mended what claims were deferred for: every claim that was deferred before
    /// this moment is due now.
    pub(super) fn make_deferred_due(&mut self) {
        self.inflow.due_if_written_until = self.context.clock.millis();
        self.inflow.waiting.make_due(Instant::now());
        let waiting = self.inflow.waiting.len();
        info!(
            "SIGUSR2: deferred claims are tried now, {waiting} from memory first, then those in \
             the retry topic"
        );
    }
}

/// The deferral that a record of the retry topic carries in its headers.
pub(super) fn deferral_of(record: &Record) -> Option<Deferral> {
    let deferred = Some(record).filter(|record| record.partition.input == Input::Retry)?;
    Deferral::parse(&deferred.headers)
}

/// The API that a deferred claim waits for; `None` where the configuration has no such API.
pub(super) fn api_of(deferral: &Deferral, registry: &Registry) -> Option<usize> {
    registry.find(&deferral.api).map(ApiId::index)
}

/// How long a deferred claim still has to wait; `None` where it is due. `written_at`, `now` and
/// `due_until` are UNIX milliseconds.
fn due_in(deferral: &Deferral, written_at: i64, now: i64, due_until: i64) -> Option<Duration> {
    if written_at <= due_until {
        return None;
    }
    let wait = u64::try_from(deferral.not_before.saturating_sub(now)).ok()?;
    Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero())
}
