//! The risk APIs: one file each, and what several of them share.
//!
//! A [`RiskApi`] is pure and synchronous: it writes a [`Request`] for a claim, and reads an
//! [`Answer`] as an [`ApiResult`]. It uses no socket, no clock and no randomness: time, nonce and
//! access token are arguments ([`Attempt`]). [`crate::assess`] decides when a request is sent, and
//! sends it.
//!
//! To add an API, add a file here, its `mod` and its line in `APIS`, and a section of the
//! configuration (`docs/adding-a-risk-api.md`).

use std::fmt;

use serde::Deserialize;

use crate::claim::{Claim, DeadLetterReason};
use crate::decision::{Assessment, RiskType};

pub mod registry;
pub mod section;
pub mod setup;

pub mod captcha_check;
pub mod captcha_query;
pub mod intelligent_qr_code;
pub mod mini_program;
pub mod wechat_account;
pub mod wechat_marketing;

pub mod signature;
pub mod tencent_cloud;
pub mod wechat;

mod answer;
mod base_url;
mod captcha;
mod limits;
mod reason;
mod ruling;
mod tokens;
mod tolerant;

#[cfg(test)]
mod tests;

pub use answer::{Answer, ApiResult, Fault, LIMIT_PAUSE, RetryHint};
pub use limits::{Concurrency, Scope};
pub use reason::{AttemptOutcome, FaultReason, FetchOutcome};
pub use registry::{ApiId, Registration, Registry, Route, Shared, TokenId};
pub use ruling::{rule, rule_unassessed};
pub use section::SectionError;
#[cfg(test)]
use tests::testing;
pub use tokens::{Fetch, MakeTokens, Token, TokenSource, one_line};

/// Every risk API. A new one needs a file, its `mod` above and a line here.
const APIS: &[Registration] = &[
    intelligent_qr_code::REGISTRATION,
    mini_program::REGISTRATION,
    wechat_marketing::REGISTRATION,
    wechat_account::REGISTRATION,
    captcha_query::REGISTRATION,
    captcha_check::REGISTRATION,
];

/// One risk API: how to write its request for a claim and how to read its answer.
pub trait RiskApi: Send + Sync {
    /// The properties that are the same for every claim.
    fn registration(&self) -> &'static Registration;

    /// Until when the API may be called about this claim, UNIX seconds; `None` means always. After
    /// that the API is not called any more, and a person decides.
    fn ask_until(&self, _: &Claim) -> Option<i64> {
        None
    }

    /// Whether this assessment may only mean that the call, at `_asked_at` (UNIX seconds), came too
    /// late. Then it says nothing about the user, and a person decides.
    fn is_late(&self, _: &Claim, _: &Assessment, _asked_at: i64) -> bool {
        false
    }

    /// Checks what this API requires of a claim beyond `schemas/claim.v1.json`, before anything is
    /// sent.
    ///
    /// # Errors
    /// [`DeadLetterReason`], naming the field.
    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason>;

    /// The request of one attempt, signed.
    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request;

    /// Reads an answer, which may be any bytes. An answer that [`Answer::is_read_by_status`] is not
    /// passed to this method.
    fn read(&self, answer: &Answer<'_>) -> ApiResult;

    /// The body of an answer with this return code and nothing else, for `claimgate policy test`.
    fn answer_of_code(&self, provider_code: i64) -> String;
}

impl dyn RiskApi + '_ {
    /// [`Registration::name`].
    pub fn name(&self) -> &'static str {
        self.registration().name
    }

    /// [`Registration::schema`].
    pub fn schema(&self) -> &'static str {
        self.registration().schema
    }

    /// [`Registration::risk_type`].
    pub fn risk_type(&self, code: i32) -> Option<RiskType> {
        self.registration().risk_type(code)
    }

    /// Reads any answer: by its status if that is enough, or else with [`RiskApi::read`].
    pub fn read_any(&self, answer: &Answer<'_>) -> ApiResult {
        if answer.is_read_by_status() { answer.unreadable() } else { self.read(answer) }
    }
}

/// What a request needs beside the claim: everything that is different for each attempt.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// 1 for the first.
    pub number: u32,
    /// UNIX seconds.
    pub now: i64,
    /// 63 random bits, new for every attempt.
    pub nonce: u64,
    /// The access token, for APIs that need one.
    pub token: Option<&'a str>,
}

impl fmt::Debug for Attempt<'_> {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({} at {})", self.number, self.now)
    }
}

/// An HTTP request, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// The whole URL with its query.
    pub url: String,
    /// The content type and the body of a POST.
    pub body: Option<(&'static str, String)>,
    /// The same request as text for `risk_calls.request`, secrets removed.
    pub redacted: String,
}

impl fmt::Debug for Request {
    /// The redacted text: a signature or a token in the URL must not get into a log by `{:?}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({})", self.redacted)
    }
}

/// The methods that the risk APIs use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Parameters in the query.
    #[default]
    Get,
    /// Parameters in the body.
    Post,
}

impl Method {
    /// The name of the method in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}
