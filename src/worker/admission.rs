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
            // Taken out, because the worker is asked about the records in it.
            let mut backlog = std::mem::take(&mut self.inflow.backlog);
            let record = backlog.pop(|record| self.may_admit(record, now));
            self.inflow.backlog = backlog;
            let Some(record) = record else { break };
            self.admit_record(record, now);
        }
        self.relieve_maps(now);
        if let Some(paused) = self.inflow.backlog.paused(self.ledger.partitions()) {
            self.ports.intake.pause(paused);
        }
    }

    /// Whether the next record of a partition may be taken on.
    fn may_admit(&mut self, record: &Record, now: Instant) -> bool {
        let has_place = match record.partition.input {
            Input::Claims => self.inflow.flood.admits(now),
            Input::Retry => self.has_place_for_deferred(record, now),
        };
        let is_held = self.inflow.held.iter().any(|job| job.ticket.partition() == record.partition);
        has_place && !is_held && self.ledger.has_room_for(record.partition, record.offset)
    }

    /// Whether there is a place for a record of the retry topic: while it is not due, a free seat;
    /// when it is due, room; when it is overdue, always. Otherwise it may be written to the end of
    /// the topic.
    fn has_place_for_deferred(&mut self, record: &Record, now: Instant) -> bool {
        let deferral = deferral_of(record);
        let api = deferral.as_ref().and_then(|deferral| api_of(deferral, &self.context.registry));
        let has_place = match &deferral {
            Some(deferral) if self.due_in(deferral, record.written_at).is_some() => {
                self.inflow.waiting.has_seat(api)
            }
            Some(deferral) if self.is_overdue(deferral.since) => true,
            Some(_) | None => self.inflow.room.admits_any(api, now),
        };
        has_place || self.inflow.pace.covers(api, now)
    }

    /// How long a deferred claim still has to wait; `None` where it is due. `written_at` is when it
    /// was written to the retry topic, UNIX milliseconds.
    fn due_in(&self, deferral: &Deferral, written_at: i64) -> Option<Duration> {
        if written_at <= self.inflow.due_if_written_until {
            return None;
        }
        let now = self.context.clock.millis();
        let wait = u64::try_from(deferral.not_before.saturating_sub(now)).ok()?;
        Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero())
    }

    fn admit_record(&mut self, record: Record, now: Instant) {
        let ticket = match self.ledger.admit(record.partition, record.offset, record.epoch) {
            Admission::Ticket(ticket) => ticket,
            Admission::AlreadyDone | Admission::Stale => return,
        };
        let waits = deferral_of(&record).and_then(|deferral| {
            let wait = self.due_in(&deferral, record.written_at)?;
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
