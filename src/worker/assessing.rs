//! Assessing: one attempt at a risk API, and what follows from its answer.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::task::{Attempted, Done};
use super::{Http, Job, Ports, Worker};
use crate::assess::Next;
use crate::assess::exchange::{Exchange, Response};
use crate::assess::retry::{Context, Step};
use crate::assess::token::Lease;
use crate::claim::{Claim, subject_hash};
use crate::decision::{Assessment, Ruling};
use crate::intake::Ticket;
use crate::outbox::{Call, Completed, Received, RecordOutcome};
use crate::risk::{Answer, ApiId, ApiResult, Attempt, AttemptOutcome, Fault, FaultReason, RiskApi};
use crate::schema::Verdict;
use crate::telemetry::Peer;

impl<P: Ports> Worker<P> {
    /// Makes every call that is permitted now; says when the next may be.
    pub(super) fn make_calls(&mut self, now: Instant) -> Option<Instant> {
        self.look_after_tokens(now);
        if self.calls.pause_guard.forbids_calls(now) {
            return None;
        }
        loop {
            // An answer that comes now must find room in the store.
            let full = self.outflow.is_full();
            if full || self.outflow.store_rests_until.is_some() {
                return None;
            }
            match self.calls.scheduler.next(now) {
                Next::Call { job, probe, .. } => self.call(job, probe, now),
                Next::Wait(at) => {
                    self.defer_expired(now);
                    return at;
                }
            }
        }
    }

    fn call(&mut self, mut job: Box<Job>, probe: bool, now: Instant) {
        if self.is_too_late(&job) {
            self.calls.scheduler.cancel(job.api.index(), probe, now);
            return self.come_too_late(*job, None);
        }
        let route = self.context.registry.get(job.api);
        let number = job.retry.begin(now);
        job.probe = probe;
        job.lease = route.token.and_then(|id| self.calls.tokens[id.index()].lease(now));
        let requested_at = self.context.clock.micros();
        let attempt = Attempt {
            number,
            now: requested_at / 1_000_000,
            nonce: self.context.random.u64(1..=u64::MAX >> 1),
            token: job.lease.as_ref().map(Lease::expose),
        };
        let request = route.api.request(&job.claim, &attempt);
        let peer = self.calls.peers[job.api.index()]
            .get_or_insert_with(|| Peer::new(route.api.name(), &request.url));
        let span = job.span.attempt(peer, request.method.as_str(), number);
        let (http, timeout) = (self.ports.http.clone(), route.timeout);
        self.tasks.spawn(async move {
            let text = request.redacted.clone();
            let exchange = http.send(request, timeout).await;
            Done::Called(Box::new(Attempted { job, requested_at, request: text, exchange, span }))
        });
    }

    pub(super) fn after_call(&mut self, attempted: Attempted) {
        let (reading, outcome) = {
            let api = self.context.registry.get(attempted.job.api).api.as_ref();
            read(api, &attempted.exchange)
        };
        let response = attempted.exchange.result.as_ref().ok();
        let context = Context {
            now: Instant::now(),
            seed: self.context.random.u32(..),
            retry_after: response.and_then(|response| response.retry_after),
            max_attempts: self
                .context
                .registry
                .get(attempted.job.api)
                .api
                .registration()
                .max_attempts,
            seen: attempted
                .exchange
                .result
                .as_ref()
                .err()
                .is_none_or(|failure| failure.is_ambiguous()),
        };
        let (cause, asked_at) =
            (attempted.exchange.cause.clone(), attempted.requested_at / 1_000_000);
        let mut job = self.keep_call(attempted, &reading, outcome);
        if let Some(lease) = job.lease.take() {
            self.token_was_used(job.api, &lease, &reading, context.now);
        }
        let reason = reading.fault().map(|fault| fault.reason);
        let (health, step) = job.retry.after(&self.context.retry, reading, &context);
        if self.calls.scheduler.release(job.api.index(), health, job.probe, context.now)
            && !job.probe
            && let Some(reason) = reason
        {
            self.warn_of_breaker(job.api, reason, cause.as_deref());
        }
        let late = matches!(&step, Step::Assessed(assessment, _) if self.is_late(&job, assessment, asked_at));
        match step {
            Step::Assessed(_, code) if late && self.ledger.is_live(&job.ticket) => {
                self.come_too_late(*job, Some(code));
            }
            step => self.take_step(job, step),
        }
    }

    /// Whether asking makes no sense any more.
    pub(super) fn is_too_late(&self, job: &Job) -> bool {
        let now = self.context.clock.micros() / 1_000_000;
        self.context
            .registry
            .get(job.api)
            .api
            .ask_until(&job.claim)
            .is_some_and(|until| now >= until)
    }

    fn is_late(&self, job: &Job, assessment: &Assessment, asked_at: i64) -> bool {
        self.context.registry.get(job.api).api.is_late(&job.claim, assessment, asked_at)
    }

    /// Ends a claim that waited for longer than the API's answer about it means anything.
    pub(super) fn come_too_late(&mut self, job: Job, provider_code: Option<i64>) {
        let ruling =
            self.context.policy.too_late(FaultReason::TicketExpired.as_str(), provider_code);
        self.complete_assessed(job, ruling, None, provider_code);
    }

    /// The attempt is evidence: it goes into the batch, whatever becomes of its claim.
    fn keep_call(
        &mut self,
        attempted: Attempted,
        reading: &ApiResult,
        outcome: AttemptOutcome,
    ) -> Box<Job> {
        let Attempted { job, requested_at, request, exchange, span } = attempted;
        let api = self.context.registry.get(job.api).api.name();
        let reason = reading.fault().map(|fault| fault.reason);
        let http_status = exchange.result.as_ref().ok().map(|response| response.status);
        span.ended(http_status, outcome, reason);
        self.context.meter.attempt(api, outcome, reason, exchange.latency);
        self.outflow.batch.add_call(Call {
            id: Uuid::now_v7(),
            claim_id: job.claim.claim_id.clone(),
            attempt: job.retry.attempts(),
            api: api.into(),
            requested_at,
            latency: micros(exchange.latency),
            http_status: http_status.map(i32::from),
            provider_code: reading.provider_code(),
            outcome: outcome.as_str().into(),
            reason: reason.map_or("", FaultReason::as_str).into(),
            cause: exchange.cause,
            request,
            response: exchange.result.ok().map(|response| response.body),
            trace_id: job.received.trace.trace_id(),
        });
        job
    }

    /// One line when a breaker opens: what the last call met, and what somebody can do about it.
    pub(super) fn warn_of_breaker(&self, api: ApiId, reason: FaultReason, cause: Option<&str>) {
        let api = self.context.registry.get(api).api.name();
        let why = sentence(reason, [cause, reason.remedy()]);
        warn!(claimgate.api = api, error.type = reason.as_str(), "the breaker of {api} opened: {why}");
    }

    fn take_step(&mut self, job: Box<Job>, step: Step) {
        // A good answer of a partition that went away is recorded all the same: its next owner need
        // not ask again. It is published by whoever has the partition.
        let ends = matches!(step, Step::Assessed(..) | Step::Unassessable(_));
        if !ends && !self.ledger.is_live(&job.ticket) {
            self.context.meter.stale_result();
            return self.leave_and_drop(*job);
        }
        let api = self.context.registry.get(job.api).api.as_ref();
        match step {
            Step::Assessed(assessment, code) => {
                let ruling =
                    self.context.policy.rule(api.name(), &assessment, |code| api.risk_type(code));
                self.complete_assessed(*job, ruling, Some(assessment), Some(code));
            }
            Step::Unassessable(fault) => {
                let ruling =
                    self.context.policy.unassessable(fault.reason.as_str(), fault.provider_code);
                self.complete_assessed(*job, ruling, None, fault.provider_code);
            }
            Step::Defer(fault) => self.defer(*job, fault),
            Step::GiveUp(fault) => self.give_up(*job, fault),
            Step::RetryAt(_) if self.is_closing(job.ticket.partition()) => self.drop_or_defer(*job),
            Step::RetryAt(at) => {
                self.context.meter.retry(api.name());
                self.calls.scheduler.submit_at(at, job.api.index(), job);
            }
        }
    }

    pub(super) fn give_up(&mut self, job: Job, fault: Fault) {
        let ruling = self.context.policy.unassessed(fault.reason.as_str(), fault.provider_code);
        self.complete_assessed(job, ruling, None, fault.provider_code);
    }

    /// Ends a job with a verdict of its own; its lane moves on.
    fn complete_assessed(
        &mut self,
        mut job: Job,
        ruling: Ruling,
        assessment: Option<Assessment>,
        provider_code: Option<i64>,
    ) {
        self.vacate(&mut job);
        job.span.decided(ruling.decision);
        let Job { ticket, received, claim, fingerprint, api, lane, retry, .. } = job;
        let attempts = retry.attempts();
        let assessed = Assessed { api, fingerprint, attempts, ruling, assessment, provider_code };
        self.complete_verdict(ticket, received, claim, assessed);
        let next = self.lanes.leave(lane);
        self.submit(next);
    }

    /// Ends a claim with a verdict of its own.
    pub(super) fn complete_verdict(
        &mut self,
        ticket: Ticket,
        received: Received,
        claim: Claim,
        assessed: Assessed,
    ) {
        let Assessed { api, fingerprint, attempts, ruling, assessment, provider_code } = assessed;
        let (level, risk_types, challenge) = match assessment {
            Some(Assessment::Level { level, risk_types }) => {
                (Some(i16::from(level)), risk_types, None)
            }
            Some(Assessment::Challenge { script }) => (None, Vec::new(), Some(script)),
            Some(Assessment::Ticket { .. }) | None => (None, Vec::new(), None),
        };
        let api = self.context.registry.get(api).api.as_ref();
        let verdict = Verdict {
            api: api.name().to_owned(),
            api_schema: api.schema().to_owned(),
            decision: ruling.decision,
            reasons: ruling.reasons,
            level,
            risk_types,
            provider_code,
            policy_version: self.context.policy.version().to_owned(),
            attempts,
            challenge,
            claimed_at: claim.claimed_at,
            decided_at: self.context.clock.micros(),
            recorded_at: None,
            source: received.source.clone(),
            trace_id: received.trace.trace_id(),
            subject: subject_hash(
                self.context.subject_key.as_ref(),
                claim.account.kind.as_str(),
                &claim.account.id,
            ),
            fingerprint,
            claim_id: claim.claim_id.clone(),
            kind: claim.kind,
        };
        let outcome = RecordOutcome::Assessed(Box::new(verdict));
        self.outflow.batch.complete(Completed {
            ticket,
            received,
            claim_id: Some(claim.claim_id),
            outcome,
        });
    }
}

/// What a claim's assessment came to.
pub(super) struct Assessed {
    pub(super) api: ApiId,
    /// [`Claim::fingerprint`].
    pub(super) fingerprint: [u8; 32],
    /// How often an API was asked.
    pub(super) attempts: u32,
    pub(super) ruling: Ruling,
    pub(super) assessment: Option<Assessment>,
    pub(super) provider_code: Option<i64>,
}

/// The reading of an exchange, and how the attempt ended.
fn read(api: &dyn RiskApi, exchange: &Exchange) -> (ApiResult, AttemptOutcome) {
    let reading = match exchange.result.as_ref().map(answer) {
        // The request may have reached the API and may have been acted upon.
        Err(failure) if failure.is_ambiguous() => {
            return (ApiResult::transient(failure.reason()), AttemptOutcome::Unknown);
        }
        Err(failure) => ApiResult::transient(failure.reason()),
        Ok(answer) if answer.is_read_by_status() => answer.unreadable(),
        Ok(answer) => api.read(&answer),
    };
    let outcome = reading.outcome();
    (reading, outcome)
}

pub(super) fn answer(response: &Response) -> Answer<'_> {
    Answer { status: response.status, body: &response.body }
}

/// A reason with what is known beside it: `connect: connection refused`.
pub(super) fn sentence(reason: FaultReason, more: [Option<&str>; 2]) -> String {
    [Some(reason.as_str())].into_iter().chain(more).flatten().collect::<Vec<_>>().join(": ")
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
