//! Assessing: the worker makes one attempt at a risk API, and acts on its result.

use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::api_result::{read, sentence};
use super::task::{Attempted, Done};
use super::{Http, Job, Ports, Worker};
use crate::assess::retry::{Context, Step};
use crate::assess::token::Lease;
use crate::assess::{Ended, Next};
use crate::decision::Assessment;
use crate::outbox::Call;
use crate::risk::{ApiId, ApiResult, Attempt, AttemptOutcome, Fault, FaultReason};
use crate::telemetry::{AttemptEnd, ClaimRecord, Wait};
use crate::unix_time::{as_micros, elapsed};

impl<P: Ports> Worker<P> {
    /// Makes every call that is permitted now. Returns when the next one may be.
    pub(super) fn make_calls(&mut self, now: Instant) -> Option<Instant> {
        self.look_after_credentials(now);
        self.look_after_tokens(now);
        // No call is made whose answer could not be stored.
        if !self.outflow.store.is_well() {
            self.calls.stopped_since.get_or_insert(now);
            return None;
        }
        if let Some(since) = self.calls.stopped_since.take() {
            self.calls.scheduler.forgive(now.saturating_duration_since(since), now);
        }
        if self.calls.pause_guard.forbids_calls(now) {
            return None;
        }
        loop {
            if self.outflow.is_full() {
                return None;
            }
            match self.calls.scheduler.next(now) {
                Next::Call { job, probe } => self.call(job, probe, now),
                Next::Wait(at) => {
                    self.defer_expired(now);
                    return at;
                }
            }
        }
    }

    fn call(&mut self, mut job: Box<Job>, probe: bool, now: Instant) {
        if self.has_expired(&job) {
            self.calls.scheduler.cancel(job.api.index(), probe, now);
            return self.give_up(*job, FaultReason::TicketExpired);
        }
        let route = self.context.registry.get(job.api);
        let number = job.retry.begin(now);
        job.is_breaker_probe = probe;
        job.lease = route.token.and_then(|id| self.calls.tokens[id.index()].lease(now));
        let requested_at = self.context.clock.micros();
        if number == 1 {
            let waited = elapsed(job.received.received_at, requested_at);
            self.context.meter.first_attempt(route.api.name(), waited);
        }
        let attempt = Attempt {
            number,
            now: requested_at / 1_000_000,
            nonce: self.context.random.u64(1..=u64::MAX >> 1),
            token: job.lease.as_ref().map(Lease::expose),
        };
        let mut request = route.api.request(&job.claim, &attempt);
        let api = (job.api.index(), route.api.name());
        self.traces.called(job.ticket.id(), api, &request, number, requested_at);
        let (http, timeout) = (self.ports.http.clone(), route.timeout);
        let text = std::mem::take(&mut request.redacted);
        self.tasks.spawn(async move {
            let exchange = http.send(request, timeout).await;
            Done::Called(Box::new(Attempted { job, requested_at, request: text, exchange }))
        });
    }

    pub(super) fn after_call(&mut self, attempted: Attempted) {
        let api = self.context.registry.api(attempted.job.api);
        let (result, outcome) = read(api, &attempted.exchange);
        let max_attempts = api.registration().max_attempts;
        let response = attempted.exchange.arrived();
        let context = Context {
            now: Instant::now(),
            seed: self.context.random.u32(..),
            retry_after: response.and_then(|response| response.retry_after),
            max_attempts,
            seen: attempted
                .exchange
                .result
                .as_ref()
                .err()
                .is_none_or(|failure| failure.is_ambiguous()),
        };
        let (cause, asked_at) =
            (attempted.exchange.cause.clone(), attempted.requested_at / 1_000_000);
        let took = attempted.exchange.latency;
        let mut job = self.keep_call(attempted, &result, outcome);
        if let Some(lease) = job.lease.take() {
            self.token_was_used(job.api, &lease, &result, context.now);
        }
        let reason = result.fault().map(|fault| fault.reason);
        let (health, step) = job.retry.after(&self.context.retry, result, &context);
        let ended = Ended { health, took, probe: job.is_breaker_probe };
        if self.calls.scheduler.release(job.api.index(), ended, context.now)
            && !job.is_breaker_probe
            && let Some(reason) = reason
        {
            self.warn_of_breaker(job.api, reason, cause.as_deref());
        }
        match step {
            // Also if its partition was taken away meanwhile: this verdict is recorded like any
            // other, and the partition's next owner publishes it.
            Step::Assessed(assessment, code) if self.had_expired(&job, &assessment, asked_at) => {
                self.give_up(*job, Fault::coded(FaultReason::TicketExpired, code));
            }
            step => self.take_step(job, step),
        }
    }

    /// Whether it is too late to call the API about this claim: its captcha ticket has expired.
    pub(super) fn has_expired(&self, job: &Job) -> bool {
        let now = self.context.clock.micros() / 1_000_000;
        let ask_until = self.context.registry.api(job.api).ask_until(&job.claim);
        ask_until.is_some_and(|until| now >= until)
    }

    /// Whether the ticket may have expired before the API looked at it.
    fn had_expired(&self, job: &Job, assessment: &Assessment, asked_at: i64) -> bool {
        self.context.registry.api(job.api).is_late(&job.claim, assessment, asked_at)
    }

    /// Puts the attempt into the batch, as evidence, whatever happens to its claim. Returns the
    /// job.
    fn keep_call(
        &mut self,
        attempted: Attempted,
        result: &ApiResult,
        outcome: AttemptOutcome,
    ) -> Box<Job> {
        let Attempted { job, requested_at, request, mut exchange } = attempted;
        let api = self.context.registry.api(job.api).name();
        let reason = result.fault().map(|fault| fault.reason);
        let http_status = exchange.arrived().map(|response| response.status);
        let http_version = exchange.arrived().map(|response| response.version);
        let is_answer = matches!(outcome, AttemptOutcome::Assessed | AttemptOutcome::Unassessable);
        let (latency, word) = (exchange.latency, outcome.as_str());
        let end =
            AttemptEnd { latency, http_status, http_version, outcome: word, is_answer, reason };
        self.traces.note(job.ticket.id(), |claim| claim.answered(end));
        self.context.meter.attempt(api, outcome, reason, exchange.latency);
        let call = Call {
            id: Uuid::now_v7(),
            claim_id: job.claim.claim_id.clone(),
            attempt: job.retry.attempts(),
            api: api.into(),
            requested_at,
            latency: as_micros(exchange.latency),
            http_status: http_status.map(i32::from),
            provider_code: result.provider_code(),
            outcome: outcome.as_str().into(),
            reason: reason.map_or("", FaultReason::as_str).into(),
            cause: exchange.cause.take(),
            request,
            response: exchange.into_body(),
            trace_id: job.received.trace.trace_id(),
        };
        self.outflow.add_call(call, Instant::now());
        job
    }

    /// Logs one line when a breaker opens: why the last call failed, and what an operator can do.
    pub(super) fn warn_of_breaker(&self, api: ApiId, reason: FaultReason, cause: Option<&str>) {
        let api = self.context.registry.api(api).name();
        let why = sentence(reason, [cause, reason.remedy()]);
        warn!(claimgate.api = api, error.type = reason.as_str(), "the breaker of {api} opened: {why}");
    }

    fn take_step(&mut self, job: Box<Job>, step: Step) {
        // A final answer is recorded even if its partition was taken away meanwhile: the
        // partition's next owner then finds the verdict, publishes it, and does not call the API
        // again.
        let ends = matches!(step, Step::Assessed(..) | Step::Unassessable(_));
        if !ends && !self.ledger.is_live(&job.ticket) {
            self.context.meter.stale_result();
            return self.leave_and_drop(*job);
        }
        let api = self.context.registry.api(job.api);
        match step {
            Step::Assessed(assessment, code) => {
                let ruled = self.context.policies.rule(|policy| {
                    policy.rule(api.name(), &assessment, |code| api.risk_type(code))
                });
                self.decide(*job, ruled, Some(assessment), Some(code));
            }
            Step::Unassessable(fault) => {
                let ruled = self
                    .context
                    .policies
                    .rule(|policy| policy.unassessable(fault.reason.as_str(), fault.provider_code));
                self.decide(*job, ruled, None, fault.provider_code);
            }
            Step::Defer(fault) => self.defer(*job, fault),
            Step::GiveUp(fault) => self.give_up(*job, fault),
            Step::RetryAt(_) if self.is_closing(job.ticket.partition()) => self.drop_or_defer(*job),
            Step::RetryAt(at) => {
                self.context.meter.retry(api.name());
                let (now, wall) = (Instant::now(), self.context.clock.micros());
                let until = wall.saturating_add(as_micros(at.saturating_duration_since(now)));
                let wait = |claim: &mut ClaimRecord| claim.waits(Wait::BackOff, wall, Some(until));
                self.traces.note(job.ticket.id(), wait);
                self.calls.scheduler.submit_at(at, job.api.index(), job);
            }
        }
    }
}
