//! Access tokens: the worker fetches one when claims need it, by one task at a time for each
//! source.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::api_result::{answer, sentence};
use super::task::{Done, TokenAnswer};
use super::{Http as _, Ports, Worker};
use crate::assess::exchange::Exchange;
use crate::assess::token::{Lease, Outlook};
use crate::outbox::TokenExchange;
use crate::risk::{ApiId, ApiResult, Fault, FaultReason, FetchOutcome, RetryHint, TokenId};
use crate::telemetry::AttemptEnd;
use crate::unix_time::as_micros;

/// How long the fetch of an access token may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<P: Ports> Worker<P> {
    /// When credentials were read again, lets APIs that denied access be probed.
    pub(super) fn look_after_credentials(&mut self, now: Instant) {
        let renewals = self.context.registry.renewals();
        if std::mem::replace(&mut self.calls.renewals, renewals) != renewals {
            for (api, _) in self.context.registry.iter() {
                self.calls.scheduler.credentials_changed(api.index(), now);
            }
        }
    }

    /// Keeps access tokens fresh while claims need them. APIs without a token get no calls.
    pub(super) fn look_after_tokens(&mut self, now: Instant) {
        let registry = &self.context.registry;
        for (id, source) in registry.token_sources() {
            let token = &mut self.calls.tokens[id.index()];
            let (mut is_wanted, is_at_hand) = (false, token.lease(now).is_some());
            for (api, _) in registry.iter().filter(|(_, route)| route.token == Some(id)) {
                self.calls.scheduler.set_has_token(api.index(), is_at_hand);
                is_wanted |= self.calls.scheduler.waiting(api.index()) > 0;
            }
            let Some(fetch) = is_wanted.then(|| token.wants_fetch(now)).flatten() else { continue };
            let request = source.token_request(fetch);
            let method = request.method.as_str();
            let peer = self.traces.peer_of(source.vendor(), &request).map(|peer| (peer, method));
            let (http, requested_at) = (self.ports.http.clone(), self.context.clock.micros());
            self.tasks.spawn(async move {
                let text = request.redacted.clone();
                let exchange = http.send(request, TOKEN_TIMEOUT).await;
                Done::Token(Box::new(TokenAnswer {
                    id,
                    peer,
                    requested_at,
                    request: text,
                    exchange,
                }))
            });
        }
    }

    pub(super) fn after_token_fetch(&mut self, fetched: TokenAnswer) {
        let (id, now) = (fetched.id, Instant::now());
        let registry = Arc::clone(&self.context.registry);
        let (exchange, source) = (&fetched.exchange, registry.token_source(id));
        let token = match &exchange.result {
            Ok(response) => source.read_token(&answer(response)),
            Err(failure) => Err(failure.reason().into()),
        };
        let outcome = if token.is_ok() { FetchOutcome::Fetched } else { FetchOutcome::Failed };
        self.context.meter.token_fetch(outcome);
        self.note_token_fetch(&fetched, outcome, token.as_ref().err().map(|fault| fault.reason));
        let text = token.as_ref().ok().map(|token| token.value.clone());
        let fault = match token {
            Ok(token) => {
                let (value, life, can_force) = (token.value, token.expires_in, source.can_force());
                let state = &mut self.calls.tokens[id.index()];
                if state.fetched(value, life, can_force, now) == Outlook::Bad {
                    self.deny_without_token(id, FaultReason::BadAccessToken, now);
                } else {
                    self.probe_with_token(id, now);
                }
                None
            }
            Err(fault) => {
                if !self.falls_back(id, exchange) {
                    self.token_was_denied(id, &fault, exchange, now);
                }
                Some(fault)
            }
        };
        let kept = exchange.arrived();
        let kept = kept.map(|response| source.redacted(&response.body, text.as_ref()));
        let row = fetched.into_row(outcome, fault, kept);
        self.outflow.add_token_exchange(row, now);
    }

    fn note_token_fetch(
        &mut self,
        fetched: &TokenAnswer,
        outcome: FetchOutcome,
        reason: Option<FaultReason>,
    ) {
        let Some((peer, method)) = &fetched.peer else { return };
        let answered = fetched.exchange.arrived();
        let http_status = answered.map(|response| response.status);
        let http_version = answered.map(|response| response.version);
        let (latency, is_answer) = (fetched.exchange.latency, reason.is_none());
        let outcome = outcome.as_str();
        let end = AttemptEnd { latency, http_status, http_version, outcome, is_answer, reason };
        self.traces.token_fetch(peer, (method, fetched.requested_at), end);
    }

    /// Whether the token endpoint does not exist, so that another one is used from now on. An
    /// endpoint that handed out a token before exists.
    fn falls_back(&mut self, id: TokenId, exchange: &Exchange) -> bool {
        let (state, source) =
            (&mut self.calls.tokens[id.index()], self.context.registry.token_source(id));
        let said = exchange.result.as_ref().ok().filter(|_| !state.was_had());
        let Some(why) = said.and_then(|response| source.fall_back(&answer(response))) else {
            return false;
        };
        if state.asks_elsewhere() {
            warn!("{} access token: {why}", source.vendor());
        }
        true
    }

    fn token_was_denied(&mut self, id: TokenId, fault: &Fault, exchange: &Exchange, now: Instant) {
        let (outlook, is_news) = self.calls.tokens[id.index()].fetch_failed(fault.reason, now);
        if is_news {
            let source = self.context.registry.token_source(id);
            let said = exchange.result.as_ref().ok();
            let said = said.and_then(|response| source.words(&answer(response)));
            let cause = said.as_deref().or(exchange.cause.as_deref());
            let why = sentence(fault.reason, [cause, fault.reason.remedy()]);
            let which =
                if self.calls.tokens[id.index()].lease(now).is_some() { "no new" } else { "no" };
            warn!(
                error.type = fault.reason.as_str(), provider_code = fault.provider_code,
                "{which} {} access token: {why}", source.vendor()
            );
        }
        if outlook == Outlook::Bad {
            self.deny_without_token(id, fault.reason, now);
        }
    }

    /// A call that used this token has ended with this result.
    pub(super) fn token_was_used(
        &mut self,
        api: ApiId,
        lease: &Lease,
        result: &ApiResult,
        now: Instant,
    ) {
        let Some(id) = self.context.registry.get(api).token else { return };
        let token = &mut self.calls.tokens[id.index()];
        match result {
            ApiResult::Transient(_, RetryHint::NewToken) => {
                if token.refused(lease) == Outlook::Bad {
                    self.deny_without_token(id, FaultReason::BadAccessToken, now);
                }
            }
            ApiResult::Assessed { .. } | ApiResult::Unassessable(_) => token.accepted(lease),
            ApiResult::Transient(..) | ApiResult::AccessDenied(_) => {}
        }
    }

    /// There is a new token: APIs that denied access may be probed with it.
    fn probe_with_token(&mut self, id: TokenId, now: Instant) {
        for (api, route) in self.context.registry.iter() {
            if route.token == Some(id) {
                self.calls.scheduler.credentials_changed(api.index(), now);
            }
        }
    }

    /// There is no usable token until an operator fixes the configuration: opens the breakers of
    /// the APIs that need one.
    fn deny_without_token(&mut self, id: TokenId, reason: FaultReason, now: Instant) {
        for (api, route) in self.context.registry.iter() {
            if route.token == Some(id) && self.calls.scheduler.deny(api.index(), now) {
                self.warn_of_breaker(api, reason, None);
            }
        }
    }
}

impl TokenAnswer {
    /// The row of `token_exchanges`.
    fn into_row(
        self,
        outcome: FetchOutcome,
        fault: Option<Fault>,
        kept: Option<Vec<u8>>,
    ) -> TokenExchange {
        let Self { requested_at, request, exchange, .. } = self;
        TokenExchange {
            id: Uuid::now_v7(),
            requested_at,
            latency: as_micros(exchange.latency),
            http_status: exchange.arrived().map(|response| response.status),
            provider_code: fault.as_ref().and_then(|fault| fault.provider_code),
            outcome: outcome.as_str(),
            reason: fault.map_or("", |fault| fault.reason.as_str()),
            cause: exchange.cause,
            request,
            response: kept,
        }
    }
}
