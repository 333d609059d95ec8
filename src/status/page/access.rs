//! Who may see the status page, decided by the headers of the request.
//!
//! With a token: clients that send it. Without one: clients on this machine whose `Host` header
//! names this machine. A page of another origin whose name was made to resolve to this machine (DNS
//! rebinding) sends its own name as `Host`, and is refused.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// Why a request is not answered.
pub(super) struct Refusal {
    status: StatusCode,
    sentence: &'static str,
}

impl Refusal {
    fn forbidden(sentence: &'static str) -> Self {
        Self { status: StatusCode::FORBIDDEN, sentence }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.sentence).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

const NO_TOKEN: &str = "the status page is not shown at this address without a token: set \
    http.token (CLAIMGATE__HTTP__TOKEN_FILE), or http.listen to a loopback address such as \
    127.0.0.1:9464\n";
const OTHER_HOST: &str = "without http.token the status page is shown at a loopback address alone: \
    ask for http://127.0.0.1 and its port, or set http.token\n";
const OTHER_SITE: &str = "this is answered to the status page alone, and to no other site\n";
const WRONG_TOKEN: &str =
    "this needs the header `Authorization: Bearer` with the token of http.token\n";

/// The rule for one listener, with the token in force.
pub(super) struct Access<'a> {
    /// Whether the listener can be reached from this machine only.
    pub(super) is_loopback: bool,
    /// `http.token`; empty if there is none.
    pub(super) token: &'a SecretString,
}

impl Access<'_> {
    /// Whether the page itself is shown. With a token it always is: it holds no data and asks for
    /// the token.
    pub(super) fn to_page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match (self.has_token(), self.is_loopback) {
            (true, _) => Ok(()),
            (false, false) => Err(Refusal::forbidden(NO_TOKEN)),
            (false, true) if text(headers, header::HOST).is_some_and(is_this_machine) => Ok(()),
            (false, true) => Err(Refusal::forbidden(OTHER_HOST)),
        }
    }

    /// Whether the data for the page is given.
    pub(super) fn to_answers(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.to_page(headers)?;
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        if matches!(site, Some(b"cross-site" | b"same-site")) {
            return Err(Refusal::forbidden(OTHER_SITE));
        }
        let given = text(headers, header::AUTHORIZATION).and_then(|it| it.strip_prefix("Bearer "));
        if !self.has_token() || given.is_some_and(|given| self.is_token(given.trim())) {
            return Ok(());
        }
        Err(Refusal { status: StatusCode::UNAUTHORIZED, sentence: WRONG_TOKEN })
    }

    fn has_token(&self) -> bool {
        !self.token.expose_secret().is_empty()
    }

    /// Compares hashes, so that the time tells nothing about the token.
    fn is_token(&self, given: &str) -> bool {
        let hash = |text: &str| {
            let key = Hmac::<Sha256>::new_from_slice(text.as_bytes()).ok()?;
            Some(key.chain_update("status page").finalize())
        };
        let given = hash(given);
        given.is_some() && given == hash(self.token.expose_secret())
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a `Host` header names the machine that the client runs on.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn asked(is_loopback: bool, token: &str, headers: &[(&'static str, &str)]) -> [u16; 2] {
        let token = token.into();
        let access = Access { is_loopback, token: &token };
        let pairs = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), value.parse().expect("a value"))
        });
        let headers: HeaderMap = pairs.collect();
        [access.to_page(&headers), access.to_answers(&headers)]
            .map(|result| result.map_or_else(|refusal| refusal.status.as_u16(), |()| 200))
    }

    #[test]
    fn without_a_token_this_machine_alone_is_answered() {
        for host in ["127.0.0.1:9464", "127.8.8.8", "localhost:9464", "LOCALHOST", "[::1]:9464"] {
            assert_eq!(asked(true, "", &[("host", host)]), [200, 200], "{host}");
            assert_eq!(asked(false, "", &[("host", host)]), [403, 403], "{host}");
        }
        for host in
            ["evil.example:9464", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1", "", "a b"]
        {
            assert_eq!(asked(true, "", &[("host", host)]), [403, 403], "{host}");
        }
        assert_eq!(asked(true, "", &[]), [403, 403], "no host");
    }

    #[test]
    fn with_a_token_whoever_has_it_is_answered() {
        let bearer = format!("Bearer {TOKEN}");
        for is_loopback in [false, true] {
            let asked = |authorization: &str| {
                let headers = [("host", "worker.example"), ("authorization", authorization)];
                asked(is_loopback, TOKEN, &headers)
            };
            assert_eq!(asked(&bearer), [200, 200]);
            let basic = format!("Basic {TOKEN}");
            let (longer, shorter) = (format!("{bearer}0"), &bearer[..bearer.len() - 1]);
            for wrong in [TOKEN, "Bearer", "Bearer ", "", &basic, &longer, shorter] {
                assert_eq!(asked(wrong), [200, 401], "{wrong}");
            }
        }
        assert_eq!(asked(true, TOKEN, &[("host", "127.0.0.1")]), [200, 401], "behind a proxy");
    }

    #[test]
    fn another_site_gets_no_answer() {
        for (site, answers) in
            [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
        {
            let headers = [("host", "127.0.0.1:9464"), ("sec-fetch-site", site)];
            assert_eq!(asked(true, "", &headers), [200, answers], "{site}");
        }
    }
}
