//! Whether a server can be reached: name, TCP, proxy, TLS and one answer, without a billed call.
//!
//! Uses the worker's own client, so that what goes well here goes well for calls. The request is a
//! `HEAD /`: no risk API bills it, and whatever is answered proves the connection.

use std::time::Duration;

use super::http::{Client, causes};

/// The library's words if a proxy's answer is not that of HTTP/1.1, or is a refusal.
const NO_TUNNEL: [&str; 3] = [
    "tunnel error: unsuccessful",
    "tunnel error: unexpected end of file",
    "tunnel error: io error",
];

impl Client {
    /// Connects to `base_url` and waits for an answer of any kind; its HTTP status.
    ///
    /// # Errors
    /// One sentence with the cause's own words; no URL is in it.
    pub async fn reach(&self, base_url: &str, timeout: Duration) -> Result<u16, String> {
        let url = format!("{}/", base_url.trim_end_matches('/'));
        let answer = self.client().head(url).timeout(timeout).send().await;
        let answer = answer.map_err(|error| self.with_remedy(words(error.without_url())));
        let status = answer?.status().as_u16();
        // To an http:// URL a proxy passes requests on: what it answers itself is no answer of the
        // server.
        match (self.egress.place(), status) {
            (Some(_), 407) => Err("the proxy demands a user and a password".to_owned()),
            (Some(_), 502..=504) if base_url.starts_with("http://") => {
                Err(format!("the proxy answers {status}: it cannot reach the server"))
            }
            _ => Ok(status),
        }
    }

    /// What to do about a proxy that chose HTTP/2: by TLS it is offered what servers are offered,
    /// but the HTTP client asks for a tunnel in HTTP/1.1 always.
    fn with_remedy(&self, cause: String) -> String {
        let is_by_tls = self.egress.place().is_some_and(|place| place.starts_with("https://"));
        let is_no_tunnel = NO_TUNNEL.iter().any(|words| cause.contains(words));
        if is_by_tls && is_no_tunnel && self.egress.http2_connections > 0 {
            return format!("{cause}; if the proxy chose HTTP/2, set egress.http2_connections = 0");
        }
        cause
    }
}

/// What the library and everything below it say, each once.
pub(crate) fn words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within the time".to_owned();
    }
    let mut said = Vec::new();
    for error in causes(&error).skip(1) {
        let text = error.to_string();
        if !said.iter().any(|earlier: &String| earlier.contains(&text)) {
            said.push(text);
        }
    }
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}
