//! Admission: from a record to a job that its lane has let through.
//!
//! A record gets its ticket, is parsed and routed, and is looked up in the store: a claim that has a verdict is not assessed again.
//! Records that share a claim id with one in flight follow it and are settled by its verdict.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::assessing::Done;
use super::{Ended, Http, Intake, Job, OUTAGE_PAUSE, PROBE_AFTER, Publisher, Retry, Store, Worker};
use crate::claim::{Claim, Malformed};
use crate::decision::{Source, Verdict};
use crate::intake::parking::Parking;
use crate::intake::{Admission, Assigned, Input, Partition, Record, Ticket, header};
use crate::outbox::{Disposition, Received, Settled, StoreError};
use crate::risk::ApiId;
use crate::telemetry::{ClaimFacts, ClaimSpan, Component};
use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};

/// With so many bytes of parked claims at hand, no more are taken on until some are due.
const WAITING_MAX_BYTES: usize = 32 << 20;

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    pub(super) fn take_partitions(&mut self, assigned: &[Assigned]) {
        for assigned in assigned {
            if let Some(warning) = self.ledger.assign(assigned) {
                warn!(
                    "partition {}: {warning}; every record is looked up instead",
                    assigned.partition.label()
                );
            }
        }
        self.terms.health.set_ready(Component::Group, Ok(()));
        self.terms.meter.assigned(self.ledger.partitions().count());
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
        while self.has_room() {
            let Some((ticket, record)) = self.waiting.next_due(now) else { break };
            self.begin(ticket, record);
        }
        while self.has_room() {
            let has_seats =
                self.waiting.len() < self.terms.retry.max_waiting && self.waiting.bytes() < WAITING_MAX_BYTES;
            let may = |partition: Partition| {
                let open = match partition.input {
                    Input::Claims => self.flood.admits(now),
                    Input::Retry => has_seats,
                };
                open && self.ledger.has_room(partition, 1)
            };
            let Some(record) = self.backlog.pop(may) else { break };
            self.admit_record(record, now);
        }
        if let Some(paused) = self.backlog.paused(self.ledger.partitions()) {
            self.ports.intake.pause(paused);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.records() < self.terms.worker.max_in_flight
            && self.in_flight.bytes() < self.terms.worker.max_in_flight_bytes
    }

    fn admit_record(&mut self, record: Record, now: Instant) {
        let ticket = match self.ledger.admit(record.partition, record.offset, record.epoch) {
            Admission::Ticket(ticket) => ticket,
            Admission::AlreadyDone | Admission::Stale => return,
        };
        let parking = Some(&record).filter(|record| record.partition.input == Input::Retry);
        let not_before = parking
            .and_then(|record| Parking::parse(&record.headers))
            .map_or(0, |parking| parking.not_before);
        match u64::try_from(not_before - self.terms.clock.micros() / 1_000) {
            Ok(wait) if wait > 0 => {
                // Nobody parks for longer than this; a header that says so is damaged.
                let wait = Duration::from_millis(wait).min(self.terms.retry.park_max_interval);
                self.waiting.enter(now + wait, ticket, record);
            }
            _ => self.begin(ticket, record),
        }
    }

    /// A record that was taken on becomes a job, or a dead letter.
    fn begin(&mut self, ticket: Ticket, mut record: Record) {
        self.terms.meter.admitted(1);
        let parking = Some(&record).filter(|record| record.partition.input == Input::Retry);
        let parking = parking.and_then(|record| Parking::parse(&record.headers));
        if parking.is_some() {
            record.headers = Parking::strip(std::mem::take(&mut record.headers));
        }
        let parsed = Claim::parse(record.payload.as_deref(), self.terms.kafka.max_event_bytes);
        let routed = parsed.and_then(|claim| self.terms.registry.route(&claim).map(|api| (claim, api)));
        let (span, received) =
            self.receive(record, routed.as_ref().ok().map(|(claim, _)| claim), parking.as_ref());
        self.in_flight.add(&ticket, &received);
        self.was_read(&ticket, routed.is_err());
        match routed {
            Ok((claim, api)) => self.enter(job(ticket, received, claim, api, parking, span)),
            Err(malformed) => self.quarantine(ticket, received, malformed, &span),
        }
    }

    fn receive(
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
        if let Some(followers) = self.undecided.get_mut(&job.claim.claim_id) {
            followers.push_back(job);
        } else {
            self.undecided.insert(job.claim.claim_id.clone(), VecDeque::new());
            self.unrecalled.push(job);
        }
    }

    /// Looks the waiting claims up in the store, all in one question.
    pub(super) fn recall(&mut self, now: Instant) {
        if self.recalling
            || self.store_rests_until.is_some_and(|until| now < until)
            || (self.unrecalled.is_empty() && !self.wants_sign_of_life(now))
        {
            return;
        }
        self.recalling = true;
        let jobs = std::mem::take(&mut self.unrecalled);
        let store = Arc::clone(&self.ports.store);
        self.tasks.spawn(async move {
            let mut claim_ids: Vec<String> = jobs.iter().map(|job| job.claim.claim_id.clone()).collect();
            if claim_ids.is_empty() {
                // Nobody's id: only whether the store answers is of interest.
                claim_ids.push(String::new());
            }
            Done::Recalled(jobs, store.recall(claim_ids).await)
        });
    }

    /// Whether the store is to be asked though nobody has a question: it was silent for long, or it failed, and nothing else that
    /// waits would find out that it is well again.
    fn wants_sign_of_life(&self, now: Instant) -> bool {
        let asks = self.flushing || !self.batch.is_empty();
        !asks && (self.store_rests_until.is_some() || now.duration_since(self.store_heard) >= PROBE_AFTER)
    }

    pub(super) fn after_recall(
        &mut self,
        jobs: Vec<Box<Job>>,
        verdicts: Result<HashMap<String, Verdict>, StoreError>,
    ) -> Result<(), Ended> {
        self.recalling = false;
        let mut verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                self.store_failed(error)?;
                self.unrecalled.splice(0..0, jobs);
                return Ok(());
            }
        };
        self.store_answered();
        for job in jobs {
            if self.is_closing(job.ticket.partition()) || !self.ledger.is_live(&job.ticket) {
                self.drop_job(*job);
            } else if let Some(verdict) = verdicts.remove(&job.claim.claim_id) {
                self.settle_known(*job, verdict);
            } else {
                self.looked_up(&job.ticket, false);
                let lane = job.lane;
                let head = self.lanes.enter(lane, job);
                self.submit(head);
            }
        }
        Ok(())
    }

    /// Ends a job whose claim has a verdict already.
    pub(super) fn settle_known(&mut self, job: Job, verdict: Verdict) {
        let disposition = Disposition::of_known(verdict, &job.received.source, &job.fingerprint);
        self.looked_up(&job.ticket, matches!(disposition, Disposition::Quarantined(_)));
        match &disposition {
            Disposition::Recalled(verdict) => {
                self.terms.meter.recalled();
                job.span.decided(verdict.decision.as_str());
            }
            Disposition::Duplicate(_) => self.terms.meter.duplicate(),
            Disposition::Quarantined(malformed) => job.span.quarantined(malformed.error),
            Disposition::Assessed(_) | Disposition::Parked(_) => {}
        }
        let Job { ticket, received, claim, .. } = job;
        self.batch.settle(Settled { ticket, received, claim_id: Some(claim.claim_id), disposition });
    }

    /// Hands the head of a lane to its API's desk.
    pub(super) fn submit(&mut self, head: Option<Box<Job>>) {
        if let Some(job) = head {
            self.desk.submit(job.api.index(), job, Instant::now());
        }
    }

    pub(super) fn store_failed(&mut self, error: StoreError) -> Result<(), Ended> {
        let reason = match error {
            StoreError::Fatal(reason) => return Err(Ended::Store(reason)),
            StoreError::Transient(reason) => reason,
        };
        if self.store_rests_until.is_none() {
            warn!(
                "Postgres does not answer; nothing is lost, the worker tries again until it does: {reason}"
            );
        }
        self.terms.meter.record_failed();
        self.terms.health.set_ready(Component::Store, Err(reason));
        self.store_rests_until = Some(Instant::now() + OUTAGE_PAUSE);
        Ok(())
    }

    pub(super) fn store_answered(&mut self) {
        self.store_heard = Instant::now();
        if self.store_rests_until.take().is_some() {
            info!("Postgres answers again");
            self.terms.health.set_ready(Component::Store, Ok(()));
        }
    }
}

fn job(
    ticket: Ticket,
    received: Received,
    claim: Claim,
    api: ApiId,
    parking: Option<Parking>,
    span: ClaimSpan,
) -> Box<Job> {
    let mut hasher = DefaultHasher::new();
    claim.subject().hash(&mut hasher);
    let (lane, fingerprint) = (hasher.finish(), claim.fingerprint());
    let retry = Retry::resumed(parking.as_ref().map_or(0, |parking| parking.attempts));
    Box::new(Job {
        ticket,
        received,
        claim,
        fingerprint,
        api,
        lane,
        retry,
        parking,
        probe: false,
        lease: None,
        span,
    })
}
