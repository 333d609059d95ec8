//! The access token: fetched when claims need one, by one task at a time.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::assessing::{answer, micros, sentence};
use super::task::Done;
use super::{Http as _, Ports, Worker};
use crate::assess::exchange::Exchange;
use crate::assess::token::{Fetch, Lease, Outlook};
use crate::outbox::TokenExchange;
use crate::risk::wechat::{redacted, words};
use crate::risk::{ApiId, ApiResult, Fault, FaultReason, FetchOutcome, RetryHint};

/// How long the fetch of an access token may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<P: Ports> Worker<P> {
    /// Keeps the access token fresh while claims need it, and shuts the APIs that have none.
    pub(super) fn look_after_token(&mut self, now: Instant) {
        let Some(source) = self.context.registry.token_source() else { return };
        let (mut wanted, at_hand) = (false, self.calls.token.lease(now).is_some());
        for (id, _) in
            self.context.registry.iter().filter(|(_, route)| route.api.registration().needs_token)
        {
            self.calls.scheduler.set_has_token(id.index(), at_hand);
            wanted |= self.calls.scheduler.waiting(id.index()) > 0;
        }
        if !wanted || self.calls.fetching_token {
            return;
        }
        if let Some(fetch) = self.calls.token.wants_fetch(now) {
            self.calls.fetching_token = true;
            let (http, request) =
                (self.ports.http.clone(), source.token_request(fetch == Fetch::Forced));
            let requested_at = self.context.clock.micros();
            self.tasks.spawn(async move {
                let text = request.redacted.clone();
                let exchange = http.send(request, TOKEN_TIMEOUT).await;
                Done::Token(Box::new(TokenAnswer { requested_at, request: text, exchange }))
            });
        }
    }

    pub(super) fn after_token_fetch(&mut self, fetched: TokenAnswer) {
        self.calls.fetching_token = false;
        let now = Instant::now();
        let Some(source) = self.context.registry.token_source() else { return };
        let (exchange, can_force) = (&fetched.exchange, source.can_force());
        let token = match &exchange.result {
            Ok(response) => source.read_token(&answer(response)),
            Err(failure) => Err(failure.reason().into()),
        };
        let outcome = if token.is_ok() { FetchOutcome::Fetched } else { FetchOutcome::Failed };
        self.context.meter.token_fetch(outcome);
        let text = token.as_ref().ok().map(|token| token.value.clone());
        let fault = match token {
            Ok(token) => {
                if self.calls.token.fetched(token.value, token.expires_in, can_force, now)
                    == Outlook::Bad
                {
                    self.deny_without_token(FaultReason::BadAccessToken, now);
                }
                None
            }
            Err(fault) => {
                self.token_was_denied(&fault, exchange, now);
                Some(fault)
            }
        };
        self.outflow.batch.add_token_exchange(fetched.into_row(outcome, fault, text.as_ref()));
    }

    fn token_was_denied(&mut self, fault: &Fault, exchange: &Exchange, now: Instant) {
        let said = exchange.result.as_ref().ok().and_then(|response| words(&answer(response)));
        let (outlook, is_news) = self.calls.token.fetch_failed(fault.reason, now);
        if is_news {
            let why = sentence(
                fault.reason,
                [said.as_deref().or(exchange.cause.as_deref()), fault.reason.remedy()],
            );
            warn!(error.type = fault.reason.as_str(), provider_code = fault.provider_code, "no WeChat access token: {why}");
        }
        if outlook == Outlook::Bad {
            self.deny_without_token(fault.reason, now);
        }
    }

    /// A call that used this token has ended with this reading.
    pub(super) fn token_was_used(&mut self, lease: &Lease, reading: &ApiResult, now: Instant) {
        match reading {
            ApiResult::Transient(_, RetryHint::NewToken) => {
                if self.calls.token.refused(lease) == Outlook::Bad {
                    self.deny_without_token(FaultReason::BadAccessToken, now);
                }
            }
            ApiResult::Assessed { .. } | ApiResult::Unassessable(_) => {
                self.calls.token.accepted(lease)
            }
            ApiResult::Transient(..) | ApiResult::AccessDenied(_) => {}
        }
    }

    /// There is no usable token, and will not be until somebody mends the set-up: the APIs that
    /// need one refuse us.
    fn deny_without_token(&mut self, reason: FaultReason, now: Instant) {
        let routes = self.context.registry.iter();
        let needy: Vec<ApiId> = routes
            .filter(|(_, route)| route.api.registration().needs_token)
            .map(|(id, _)| id)
            .collect();
        for id in needy {
            if self.calls.scheduler.deny(id.index(), now) {
                self.warn_of_breaker(id, reason, None);
            }
        }
    }
}

/// A request for an access token that has ended.
pub(super) struct TokenAnswer {
    requested_at: i64,
    request: String,
    exchange: Exchange,
}

impl TokenAnswer {
    /// The row of evidence.
    fn into_row(
        self,
        outcome: FetchOutcome,
        fault: Option<Fault>,
        token: Option<&SecretString>,
    ) -> TokenExchange {
        let Self { requested_at, request, exchange } = self;
        let response = exchange.result.ok();
        TokenExchange {
            id: Uuid::now_v7(),
            requested_at,
            latency: micros(exchange.latency),
            http_status: response.as_ref().map(|response| response.status),
            provider_code: fault.as_ref().and_then(|fault| fault.provider_code),
            outcome,
            reason: fault.map(|fault| fault.reason),
            cause: exchange.cause,
            request,
            response: response.map(|response| redacted(&response.body, token)),
        }
    }
}
