//! A request to a risk API and its result: the worker's interface to HTTP.

use std::future::Future;
use std::time::Duration;

use crate::risk::{FaultReason, Request};

/// Sends requests to risk APIs.
pub trait Http: Clone + Send + Sync + 'static {
    /// Sends the request; the whole exchange takes no longer than `timeout`.
    fn send(&self, request: Request, timeout: Duration) -> impl Future<Output = Exchange> + Send;
}

/// What happened to a request on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// From the sending to the last byte, or to the failure.
    pub latency: Duration,
    /// The answer, or why there is no whole one.
    pub result: Result<Response, Failure>,
    /// Beside a failure: the part that came of an answer that broke off or is too large. It is
    /// stored; its body is not read.
    pub cut: Option<Response>,
    /// Why no answer came, or what is odd about the one that came: one line in the words of the
    /// network, of TLS or of HTTP, without secrets.
    pub cause: Option<String>,
}

impl Exchange {
    /// The answer that came, whole or not.
    pub fn arrived(&self) -> Option<&Response> {
        self.result.as_ref().ok().or(self.cut.as_ref())
    }

    /// The body of the answer that came, whole or not.
    pub fn into_body(self) -> Option<Vec<u8>> {
        self.result.ok().or(self.cut).map(|response| response.body)
    }
}

/// An answer that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The version of HTTP, `1.1` or `2`.
    pub version: &'static str,
    /// The `Retry-After` header, as a pause.
    pub retry_after: Option<Duration>,
    /// The body's bytes, at most [`BODY_MAX_BYTES`](super::http::BODY_MAX_BYTES).
    pub body: Vec<u8>,
}

/// Why no whole answer arrived. All of these are transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection was made, or it ended before the request was written to it: the API has not
    /// seen the request.
    Connect,
    /// Not within the time; whether the API acted is unknown.
    Timeout,
    /// The connection broke; whether the API acted is unknown.
    Broken,
    /// It is larger than [`BODY_MAX_BYTES`](super::http::BODY_MAX_BYTES).
    TooLarge,
    /// The server says that it did not look at the request: it has too many at once on this
    /// connection, or ends it (HTTP/2).
    Refused,
}

impl Failure {
    /// The reason that the attempt has.
    pub fn reason(self) -> FaultReason {
        match self {
            Self::Connect => FaultReason::Connect,
            Self::Timeout => FaultReason::Timeout,
            Self::Broken => FaultReason::BrokenConnection,
            Self::TooLarge => FaultReason::MalformedAnswer,
            Self::Refused => FaultReason::Busy,
        }
    }

    /// Whether the API may have seen the request, and acted upon it.
    pub fn is_ambiguous(self) -> bool {
        !matches!(self, Self::Connect | Self::Refused)
    }
}
