//! The risk APIs: one file each, and what several of them share.
//!
//! A [`RiskApi`] is pure and synchronous: it writes a [`Request`] for a claim and makes a
//! [`ApiResult`] of an [`Answer`]. It knows no socket, no clock, no randomness: time, nonce and
//! access token are handed to it with the [`Attempt`]. Who sends the request, how often and when is
//! [`crate::assess`]'s concern.
//!
//! Adding an API: one new file beside this one, its `mod` + registration pair, one config section
//! (`docs/adding-a-risk-api.md`).

use std::fmt;

use serde::Deserialize;

use crate::claim::{Claim, DeadLetterReason};
use crate::decision::{Assessment, RiskType};

pub mod registry;
pub mod section;

pub mod captcha_check;
pub mod captcha_query;
pub mod intelligent_qr_code;
pub mod mini_program;
pub mod wechat_account;
pub mod wechat_marketing;

pub mod signature;
pub mod tencent_cloud;
pub mod wechat;

mod captcha;
mod reason;
mod tokens;
mod tolerant;

#[cfg(test)]
mod tests;

pub use reason::{AttemptOutcome, FaultReason, FetchOutcome};
pub use registry::{ApiId, Registration, Registry, Route, Shared, TokenId};
pub use section::{ConfigError, Scope};
#[cfg(test)]
use tests::testing;
pub use tokens::{MakeTokens, Token, TokenSource, one_line};

/// One risk API: how to ask it about a claim and how to read what it answers.
pub trait RiskApi: Send + Sync {
    /// What is the same for every claim.
    fn registration(&self) -> &'static Registration;

    /// Until when asking about this claim makes sense, UNIX seconds; `None` for ever. After that it
    /// is not asked about, whoever is to blame for the delay, but left to a person.
    fn ask_until(&self, _: &Claim) -> Option<i64> {
        None
    }

    /// Whether what the API found, asked at this time (UNIX seconds), says less about the user than
    /// about how late it was asked. Such an assessment decides nothing.
    fn is_late(&self, _: &Claim, _: &Assessment, _asked_at: i64) -> bool {
        false
    }

    /// What this API demands of a claim beyond `schemas/claim.v1.json`, checked before anything is
    /// sent.
    ///
    /// # Errors
    /// [`DeadLetterReason`], naming the field.
    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason>;

    /// The request of one attempt, signed.
    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request;

    /// Makes sense of an answer, any bytes. One that [`Answer::is_read_by_status`] is not shown to
    /// the API.
    fn read(&self, answer: &Answer<'_>) -> ApiResult;
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
}

/// What one attempt brings along that the claim does not: everything that is not pure.
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
    /// The redacted text: a signature or a token in the URL must not reach a log by way of `{:?}`.
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
    /// The method as HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// An HTTP answer that arrived whole, within the size bound.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body, any bytes.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// Whether the HTTP status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the HTTP status says it all, whatever the body.
    pub fn is_read_by_status(&self) -> bool {
        matches!(self.status, 429 | 500..)
    }

    /// Why an answer is of no use whose body is not what the API promises.
    pub fn reason(&self) -> FaultReason {
        match self.status {
            300..=399 => FaultReason::Redirected,
            429 => FaultReason::Http429,
            400..=499 => FaultReason::Http4xx,
            500.. => FaultReason::Http5xx,
            _ => FaultReason::MalformedAnswer,
        }
    }

    /// What such an answer says.
    ///
    /// With 2xx the next answer may be whole. A redirect leads away from the API: the set-up is at
    /// fault. With 4xx something between us and the API spoke: about the set-up where the status
    /// says so (who asks, and where), else about this one request.
    pub fn unreadable(&self) -> ApiResult {
        let fault = Fault::from(self.reason());
        match self.status {
            300..=399 | 401 | 403 | 404 | 405 | 407 => ApiResult::AccessDenied(fault),
            408 | 425 | 429 => ApiResult::transient(fault),
            400..=499 => ApiResult::Unassessable(fault),
            _ => ApiResult::transient(fault),
        }
    }
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiResult {
    /// The API assessed the claim.
    Assessed {
        /// What it found.
        assessment: Assessment,
        /// Its return code.
        provider_code: i64,
    },
    /// Asking again may help.
    Transient(Fault, RetryHint),
    /// Asking again will not help: this claim is not assessable.
    Unassessable(Fault),
    /// Asking again will not help until somebody mends the set-up (permission, keys, balance): no
    /// claim's fault.
    AccessDenied(Fault),
}

/// How a transient fault is to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHint {
    /// After a growing pause.
    Backoff,
    /// At once with a new nonce and timestamp, a single time; then like [`RetryHint::Backoff`].
    FreshSignature,
    /// At once with a new access token, a single time; then like [`RetryHint::Backoff`].
    NewToken,
    /// Like [`RetryHint::Backoff`], though no retry mends it soon (a balance or a quota is used
    /// up): the API's breaker opens at once.
    Lasting,
}

/// What went wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub reason: FaultReason,
    /// The API's return code, where there is one.
    pub provider_code: Option<i64>,
}

impl Fault {
    /// A fault with the provider's code.
    pub fn coded(reason: FaultReason, provider_code: i64) -> Self {
        Self { reason, provider_code: Some(provider_code) }
    }
}

impl From<FaultReason> for Fault {
    /// A fault without a code of the provider.
    fn from(reason: FaultReason) -> Self {
        Self { reason, provider_code: None }
    }
}

impl ApiResult {
    /// What a growing pause may mend.
    pub fn transient(fault: impl Into<Fault>) -> Self {
        Self::Transient(fault.into(), RetryHint::Backoff)
    }

    /// The same reading, but transient if its code is among `retry.transient_codes`: the operator's
    /// word wins over the table. What no retry mends soon stays so ([`RetryHint::Lasting`]).
    pub fn or_listed(self, transient_codes: &[i64]) -> Self {
        let listed =
            |fault: &Fault| fault.provider_code.is_some_and(|code| transient_codes.contains(&code));
        match self {
            Self::Unassessable(fault) if listed(&fault) => {
                Self::Transient(fault, RetryHint::Backoff)
            }
            Self::AccessDenied(fault) if listed(&fault) => {
                Self::Transient(fault, RetryHint::Lasting)
            }
            reading => reading,
        }
    }

    /// How the attempt ended.
    pub fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Assessed { .. } => AttemptOutcome::Assessed,
            Self::Transient(..) => AttemptOutcome::Transient,
            Self::Unassessable(_) => AttemptOutcome::Unassessable,
            Self::AccessDenied(_) => AttemptOutcome::AccessDenied,
        }
    }

    /// What went wrong, unless the claim was assessed.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Assessed { .. } => None,
            Self::Transient(fault, _) | Self::Unassessable(fault) | Self::AccessDenied(fault) => {
                Some(fault)
            }
        }
    }

    /// The API's return code, where there is one.
    pub fn provider_code(&self) -> Option<i64> {
        match self {
            Self::Assessed { provider_code, .. } => Some(*provider_code),
            _ => self.fault()?.provider_code,
        }
    }

    /// Whether the claim is to be asked about again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(..) | Self::AccessDenied(_))
    }
}
