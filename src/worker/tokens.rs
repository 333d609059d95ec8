//! The access token: fetched when claims need one, by one task at a time.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::assessing::{Done, answer};
use super::{Http, Intake, Publisher, Store, Worker};
use crate::assess::http::Exchange;
use crate::assess::token::{Fetch, Lease, Outlook};
use crate::risk::wechat::is_denied;
use crate::risk::{Again, ApiId, Fault, Reading, remedy};

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
        if !wanted || self.fetching_token {
            return;
        }
        if let Some(fetch) = self.token.wants_fetch(now) {
            self.fetching_token = true;
            let (http, request) = (self.ports.http.clone(), source.token_request(fetch == Fetch::Forced));
            self.tasks.spawn(async move { Done::Token(http.send(request, TOKEN_TIMEOUT).await) });
        }
    }

    pub(super) fn after_token_fetch(&mut self, exchange: Exchange) {
        self.fetching_token = false;
        let now = Instant::now();
        let Some(source) = self.terms.registry.token_source() else { return };
        let can_force = source.can_force();
        let fetched = match &exchange.result {
            Ok(response) => source.read_token(&answer(response)),
            Err(failure) => Err(Fault { reason: failure.as_str(), provider_code: None }),
        };
        let came = exchange.result.is_ok();
        match fetched {
            Ok(token) => {
                self.terms.meter.token_fetch("fetched");
                if self.token.fetched(token.value, token.expires_in, can_force, now) == Outlook::Bad {
                    self.deny_without_token("bad_access_token", now);
                }
            }
            Err(fault) => {
                self.terms.meter.token_fetch("failed");
                let denied = came && is_denied(fault.reason);
                let (outlook, is_news) = self.token.fetch_failed(fault.reason, denied, now);
                if is_news {
                    warn_of_fetch(&fault);
                }
                if outlook == Outlook::Bad {
                    self.deny_without_token(fault.reason, now);
                }
            }
        }
    }

    /// A call that used this token has ended with this reading.
    pub(super) fn token_was_used(&mut self, lease: &Lease, reading: &Reading, now: Instant) {
        match reading {
            Reading::Transient(_, Again::NewToken) => {
                if self.token.refused(lease) == Outlook::Bad {
                    self.deny_without_token("bad_access_token", now);
                }
            }
            Reading::Verdict { .. } | Reading::Refused(_) => self.token.accepted(lease),
            Reading::Transient(..) | Reading::Configuration(_) => {}
        }
    }

    /// There is no usable token, and will not be until somebody mends the set-up: the APIs that
    /// need one refuse us.
    fn deny_without_token(&mut self, reason: &'static str, now: Instant) {
        let routes = self.terms.registry.iter();
        let needy: Vec<ApiId> =
            routes.filter(|(_, route)| route.api.needs_token()).map(|(id, _)| id).collect();
        for id in needy {
            if self.desk.deny(id.index(), now) {
                self.warn_of_breaker(id, reason);
            }
        }
    }
}

fn warn_of_fetch(fault: &Fault) {
    let Fault { reason, provider_code } = fault;
    let (colon, remedy) = remedy(reason).map_or(("", ""), |remedy| (": ", remedy));
    warn!(error.type = reason, provider_code, "no WeChat access token: {reason}{colon}{remedy}");
}
