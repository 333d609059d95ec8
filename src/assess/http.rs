//! HTTP: sends a risk API's request and brings its answer back, within bounds of time and size.
//!
//! The only file that knows reqwest. It retries nothing and judges nothing: a failure is a word.

use std::future::Future;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use super::egress;
use crate::risk::{Method, Request};

/// The largest body that is read; what is beyond is cut off, and the reader will find the rest malformed.
pub const BODY_MAX_BYTES: usize = 1 << 20;

/// A risk API's HTTP side, as the worker sees it.
pub trait Http: Clone + Send + Sync + 'static {
    /// Sends the request; the whole exchange takes no longer than `timeout`.
    fn send(&self, request: Request, timeout: Duration) -> impl Future<Output = Exchange> + Send;
}

/// An attempt's outcome on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// From the sending to the last byte, or to the failure.
    pub latency: Duration,
    /// What came.
    pub result: Result<Response, Failure>,
}

/// An answer that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, as a pause.
    pub retry_after: Option<Duration>,
    /// The body's bytes, at most [`BODY_MAX_BYTES`].
    pub body: Vec<u8>,
}

/// Why no answer arrived. All of these are transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was made: the API has not seen the request.
    Connect,
    /// Not within the time; whether the API acted is unknown.
    Timeout,
    /// The connection broke; whether the API acted is unknown.
    Broken,
}

impl Failure {
    /// The word for `risk_calls.reason` and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken_connection",
        }
    }

    /// Whether the API may have seen the request, and acted upon it.
    pub fn is_ambiguous(self) -> bool {
        self != Self::Connect
    }
}

/// One connection pool for all APIs.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) client: reqwest::Client,
    /// Who is called directly though there is a proxy, or everybody where there is none.
    pub(super) egress: egress::Settings,
}

impl Client {
    /// A client that verifies certificates and follows no redirects. The proxy is `egress`'s; the
    /// environment's settings do not count.
    ///
    /// # Errors
    /// The TLS library could not be set up, or the proxy's address is none.
    pub fn new(egress: &egress::Settings) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("claimgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(30))
            // A retry by the client would resend the very same nonce, which the APIs refuse as a replay.
            .retry(reqwest::retry::never());
        if let Some(url) = egress.proxy() {
            let no_proxy = reqwest::NoProxy::from_string(&egress.no_proxy.join(","));
            builder = builder.proxy(reqwest::Proxy::all(url)?.no_proxy(no_proxy));
        }
        Ok(Self { client: builder.build()?, egress: egress.clone() })
    }

    async fn exchange(&self, request: Request, timeout: Duration) -> Result<Response, Failure> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut builder = self.client.request(method, request.url).timeout(timeout);
        if let Some((content_type, body)) = request.body {
            builder = builder.header(CONTENT_TYPE, content_type).body(body);
        }
        let mut response = builder.send().await.map_err(|error| classify(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
            let room = BODY_MAX_BYTES - body.len();
            body.extend_from_slice(&chunk[..room.min(chunk.len())]);
            if body.len() == BODY_MAX_BYTES {
                break;
            }
        }
        Ok(Response { status, retry_after, body })
    }
}

impl Http for Client {
    async fn send(&self, request: Request, timeout: Duration) -> Exchange {
        let sent = Instant::now();
        let result = self.exchange(request, timeout).await;
        Exchange { latency: sent.elapsed(), result }
    }
}

fn classify(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::Connect
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Broken
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Duration::try_from(date - OffsetDateTime::now_utc()).ok()
}
