//! The access token: fetched when claims need one, by one task at a time.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use tracing::warn;

use super::assessing::{Done, answer};
use super::{Http, Intake, Publisher, Store, Worker};
use crate::assess::http::Exchange;
use crate::risk::Fault;

/// How long the fetch of an access token may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// Keeps the access token fresh while claims need it, and shuts the APIs that have none.
    pub(super) fn look_after_token(&mut self, now: Instant) {
        let Some(source) = self.terms.registry.token_source() else { return };
        let (mut wanted, at_hand) = (false, self.token.lease(now).is_some());
        for (id, _) in self.terms.registry.iter().filter(|(_, route)| route.api.needs_token()) {
            self.desk.set_has_token(id.index(), at_hand);
            wanted |= self.desk.waiting(id.index()) > 0;
        }
        if wanted && !self.fetching_token && self.token.wants_fetch(now) {
            self.fetching_token = true;
            let (http, request) = (self.ports.http.clone(), source.token_request());
            self.tasks.spawn(async move { Done::Token(http.send(request, TOKEN_TIMEOUT).await) });
        }
    }

    pub(super) fn after_token_fetch(&mut self, exchange: Exchange) {
        self.fetching_token = false;
        let now = Instant::now();
        let Some(source) = self.terms.registry.token_source() else { return };
        let fetched = match &exchange.result {
            Ok(response) => source.read_token(&answer(response)),
            Err(failure) => Err(Fault { reason: failure.as_str(), provider_code: None }),
        };
        match fetched {
            Ok(token) => {
                self.terms.meter.token_fetch("fetched");
                let value: SecretString = token.value;
                self.token.fetched(value, token.expires_in, now);
            }
            Err(fault) => {
                self.terms.meter.token_fetch("failed");
                warn!(error.type = fault.reason, provider_code = fault.provider_code, "no WeChat access token: {}", fault.reason);
                self.token.fetch_failed(now);
            }
        }
    }
}
