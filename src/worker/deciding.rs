//! Deciding: the worker makes the verdict that ends a claim.

use super::{Job, Ports, Worker};
use crate::claim::{Claim, EventHashes};
use crate::decision::{Assessment, Policy, Ruled};
use crate::intake::Ticket;
use crate::outbox::{Completed, Received, RecordOutcome};
use crate::risk::{ApiId, Fault, rule_unassessed};
use crate::schema::Verdict;

impl<P: Ports> Worker<P> {
    /// Ends a claim that no API assessed in time, and lets the next job of its lane go on.
    pub(super) fn give_up(&mut self, job: Job, fault: impl Into<Fault>) {
        let lane = job.lane;
        self.end_unassessed(job, fault);
        self.leave_lane(lane);
    }

    /// Ends a claim that no API assessed in time. The caller moves its lane on.
    pub(super) fn end_unassessed(&mut self, job: Job, fault: impl Into<Fault>) {
        let Fault { reason, provider_code } = fault.into();
        let reason = reason.as_str();
        // A claim that waited for a breaker or a token may have been answered before.
        let provider_code = provider_code.or_else(|| job.retry.code());
        self.traces.note(job.ticket.id(), |claim| claim.failed(reason));
        let rule = |policy: &Policy| rule_unassessed(policy, reason, provider_code);
        let ruled = self.context.policies.rule(rule);
        self.end(job, ruled, None, provider_code);
    }

    /// Ends a job with a new verdict, and lets the next job of its lane go on.
    pub(super) fn decide(
        &mut self,
        job: Job,
        ruled: Ruled,
        assessment: Option<Assessment>,
        provider_code: Option<i64>,
    ) {
        let lane = job.lane;
        self.end(job, ruled, assessment, provider_code);
        self.leave_lane(lane);
    }

    fn end(
        &mut self,
        mut job: Job,
        ruled: Ruled,
        assessment: Option<Assessment>,
        provider_code: Option<i64>,
    ) {
        self.vacate(&mut job);
        let Job { ticket, received, claim, fingerprint, api, retry, .. } = job;
        let attempts = retry.attempts();
        let ending = Ending { api, fingerprint, attempts, ruled, assessment, provider_code };
        self.complete_verdict(ticket, received, claim, ending);
    }

    /// Ends a claim with a new verdict.
    pub(super) fn complete_verdict(
        &mut self,
        ticket: Ticket,
        received: Received,
        claim: Claim,
        ending: Ending,
    ) {
        let Ending { api, fingerprint, attempts, ruled, assessment, provider_code } = ending;
        let Ruled { ruling, shadow } = ruled;
        let (level, risk_types, challenge) = assessment.map(Assessment::kept).unwrap_or_default();
        let api = self.context.registry.api(api);
        let key = &self.context.subject_key;
        let verdict = Verdict {
            api: api.name().to_owned(),
            api_schema: api.schema().to_owned(),
            decision: ruling.decision,
            reasons: ruling.reasons,
            level,
            risk_types,
            provider_code,
            policy_version: self.context.policies.in_force.version().to_owned(),
            attempts,
            challenge,
            claimed_at: claim.claimed_at,
            decided_at: self.context.clock.micros(),
            recorded_at: None,
            source: received.source.clone(),
            trace_id: received.trace.trace_id(),
            subject: key.subject(claim.account.kind.as_str(), &claim.account.id),
            fingerprint,
            event_hashes: EventHashes::of(key, &claim),
            seal: None,
            shadow: shadow.map(Box::new),
            claim_id: claim.claim_id.clone(),
            kind: claim.kind,
        };
        let outcome = RecordOutcome::Decided(Box::new(verdict));
        self.complete(Completed { ticket, received, claim_id: Some(claim.claim_id), outcome });
    }
}

/// What a verdict is made of, apart from the claim.
pub(super) struct Ending {
    pub(super) api: ApiId,
    /// [`Claim::fingerprint`].
    pub(super) fingerprint: [u8; 32],
    /// How many attempts were made.
    pub(super) attempts: u32,
    pub(super) ruled: Ruled,
    pub(super) assessment: Option<Assessment>,
    pub(super) provider_code: Option<i64>,
}
