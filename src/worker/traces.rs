//! Notes about each claim in flight, from which its spans are made when the claim has ended.
//!
//! At most one look-up, one write and one publication are under way, so one start time of each is
//! enough. Where no spans are exported, nothing is noted.

use std::collections::HashMap;
use std::sync::Arc;

use super::WorkerContext;
use crate::intake::{Ticket, TicketId};
use crate::kafka;
use crate::outbox::{Completed, Received, RecordOutcome};
use crate::risk::Request;
use crate::telemetry::{
    AttemptEnd, ClaimEnd, ClaimFacts, ClaimRecord, Ids, Peer, SharedStep, Spans, Wait,
};
use crate::trace::TraceContext;

/// The notes of claims in flight.
pub(super) struct Traces {
    spans: Spans,
    kafka: kafka::Settings,
    claims: HashMap<TicketId, ClaimRecord>,
    /// When each step that many claims share began, by its place in [`SharedStep::ALL`].
    shared: [i64; SharedStep::ALL.len()],
    /// Where the calls of each API go.
    peers: Vec<Option<Arc<Peer>>>,
    /// Makes the ids of spans that many claims share; `None` where no spans are exported.
    ids: Option<fastrand::Rng>,
}

impl Traces {
    pub(super) fn new(context: &mut WorkerContext) -> Self {
        Self {
            ids: context.spans.is_on().then(|| context.random.fork()),
            spans: context.spans.clone(),
            kafka: context.kafka.clone(),
            claims: HashMap::new(),
            shared: [0; SharedStep::ALL.len()],
            peers: vec![None; context.registry.len()],
        }
    }

    /// A record is taken on. Returns the trace context that its decision will carry.
    pub(super) fn opened(
        &mut self,
        ticket: TicketId,
        incoming: Option<TraceContext>,
        seed: u128,
        now: i64,
    ) -> TraceContext {
        let (claim, context) = self.spans.claim(incoming, seed, now);
        if let Some(claim) = claim {
            self.claims.insert(ticket, claim);
        }
        context
    }

    /// Notes something about a claim.
    pub(super) fn note(&mut self, ticket: TicketId, note: impl FnOnce(&mut ClaimRecord)) {
        if self.spans.is_on()
            && let Some(claim) = self.claims.get_mut(&ticket)
        {
            note(claim);
        }
    }

    /// A claim waits for something, from `now` on.
    pub(super) fn waits(&mut self, ticket: TicketId, what: Wait, now: i64) {
        self.note(ticket, |claim| claim.waits(what, now, None));
    }

    /// An attempt begins, at an API's server.
    pub(super) fn called(
        &mut self,
        ticket: TicketId,
        (index, api): (usize, &'static str),
        request: &Request,
        number: u32,
        now: i64,
    ) {
        if !self.spans.is_on() {
            return;
        }
        let peer = self.peers[index].get_or_insert_with(|| Arc::new(Peer::new(api, &request.url)));
        if let Some(claim) = self.claims.get_mut(&ticket) {
            claim.called(Arc::clone(peer), request.method.as_str(), number, now);
        }
    }

    /// A claim has its outcome, which is not recorded yet.
    pub(super) fn completed(&mut self, completed: &mut Completed, now: i64) {
        let Some(claim) = self.claims.get_mut(&completed.ticket.id()) else { return };
        claim.moves(now);
        if let RecordOutcome::DeadLettered(reason) = &completed.outcome {
            claim.failed(reason.error.as_str());
        }
        self.spans.weigh(claim, &mut completed.received.trace, now);
    }

    /// A step that many claims share begins.
    pub(super) fn began(&mut self, step: SharedStep, now: i64) {
        self.shared[step as usize] = now;
    }

    /// A step that many claims share has ended.
    pub(super) fn shared(
        &mut self,
        step: SharedStep,
        tickets: impl Iterator<Item = TicketId> + Clone,
        error: Option<&'static str>,
        now: i64,
    ) {
        let Some(ids) = self.new_ids() else { return };
        let weighs = step == SharedStep::Publish && error.is_none();
        let (mut links, mut claims) = (Vec::new(), 0);
        for ticket in tickets.clone() {
            claims += 1;
            let Some(claim) = self.claims.get_mut(&ticket) else { continue };
            // Kafka's answer is the last step: everything about the claim is known now.
            if claim.is_kept() || weighs && self.spans.is_kept(claim, now) {
                links.push(claim.ids());
            }
        }
        let from = self.shared[step as usize];
        let shared = Spans::shared(step, ids, (from, now), claims, error, links);
        for ticket in tickets {
            self.note(ticket, |claim| claim.shares(Arc::clone(&shared)));
        }
    }

    /// Kafka has the outcome of a record.
    pub(super) fn published(&mut self, completed: &Completed, now: i64) {
        let end = match &completed.outcome {
            RecordOutcome::Decided(verdict)
            | RecordOutcome::Recalled(verdict)
            | RecordOutcome::Duplicate(verdict) => ClaimEnd::Decided(verdict.decision),
            RecordOutcome::Deferred(deferral) => ClaimEnd::Deferred(&deferral.reason),
            RecordOutcome::DeadLettered(reason) => ClaimEnd::DeadLettered(reason.error.as_str()),
        };
        self.ended(completed, end, now);
    }

    /// A record has its outcome, but its partition is gone: another worker will publish it.
    pub(super) fn left_to_others(&mut self, completed: &Completed, now: i64) {
        self.ended(completed, ClaimEnd::Dropped, now);
    }

    fn ended(&mut self, completed: &Completed, end: ClaimEnd<'_>, now: i64) {
        let Completed { ticket, received, claim_id, outcome } = completed;
        let kind = outcome.verdict().map(|verdict| verdict.kind.as_str());
        self.export(ticket, received, (claim_id.as_deref(), kind), end, now);
    }

    /// A claim is dropped before it has an outcome.
    pub(super) fn dropped(&mut self, ticket: &Ticket, received: &Received, id: &str, now: i64) {
        self.export(ticket, received, (Some(id), None), ClaimEnd::Dropped, now);
    }

    fn export(
        &mut self,
        ticket: &Ticket,
        received: &Received,
        (claim_id, kind): (Option<&str>, Option<&str>),
        end: ClaimEnd<'_>,
        now: i64,
    ) {
        let Some(mut claim) = self.claims.remove(&ticket.id()) else { return };
        claim.moves(now);
        if self.spans.is_kept(&mut claim, now) {
            let facts = ClaimFacts {
                topic: self.kafka.topic(ticket.partition().input),
                partition: ticket.partition().number,
                offset: ticket.offset(),
                claim_id,
                kind,
                trace: &received.trace,
                end,
            };
            self.spans.export(&facts, &claim, now);
        }
    }

    /// An access token was requested.
    pub(super) fn token_fetch(&mut self, peer: &Peer, asked: (&'static str, i64), end: AttemptEnd) {
        let Some(ids) = self.new_ids() else { return };
        self.spans.token_fetch(ids, peer, asked.0, asked.1, end);
    }

    /// Where a request for an access token goes; `None` where no spans are exported.
    pub(super) fn peer_of(&self, vendor: &'static str, request: &Request) -> Option<Peer> {
        self.spans.is_on().then(|| Peer::new(vendor, &request.url))
    }

    fn new_ids(&mut self) -> Option<Ids> {
        let ids = self.ids.as_mut()?;
        Some(Ids { trace_id: ids.u128(1..), span_id: ids.u64(1..) })
    }
}
