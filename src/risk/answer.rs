//! The answer of a risk API, and what it says about the claim.
//!
//! Pure. Owns what an HTTP status means if the body says nothing, and how the operator's
//! `retry.transient_codes` change a result.

use std::time::Duration;

use super::reason::{AttemptOutcome, FaultReason};
use crate::decision::Assessment;

/// A complete HTTP answer, within the size bound.
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

    /// Whether the HTTP status alone decides, whatever the body says.
    pub fn is_read_by_status(&self) -> bool {
        matches!(self.status, 429 | 500..)
    }

    /// The reason for an answer whose body is not what the API promises.
    pub fn reason(&self) -> FaultReason {
        match self.status {
            300..=399 => FaultReason::Redirected,
            429 => FaultReason::Http429,
            400..=499 => FaultReason::Http4xx,
            500.. => FaultReason::Http5xx,
            _ => FaultReason::MalformedAnswer,
        }
    }

    /// The result of such an answer, by its status.
    ///
    /// With 2xx the next answer may be good. A redirect leads away from the API: the configuration
    /// is at fault. With 4xx something in front of the API answered. Depending on the status, the
    /// fault is in the configuration (credentials, address or protocol), in the connection, or in
    /// this one request.
    pub fn unreadable(&self) -> ApiResult {
        let fault = Fault::from(self.reason());
        match self.status {
            300..=399 | 401 | 403 | 404 | 405 | 407 | 426 => ApiResult::AccessDenied(fault),
            408 | 421 | 425 | 429 => ApiResult::transient(fault),
            400..=499 => ApiResult::Unassessable(fault),
            _ => ApiResult::transient(fault),
        }
    }
}

/// What an answer says about the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiResult {
    /// The API assessed the claim.
    Assessed {
        /// What it found.
        assessment: Assessment,
        /// Its return code.
        provider_code: i64,
    },
    /// Another attempt may help.
    Transient(Fault, RetryHint),
    /// No further attempt will help: the API cannot assess this claim.
    Unassessable(Fault),
    /// No further attempt will help until somebody fixes the configuration or the account
    /// (permission, keys, balance). The claim is not at fault.
    AccessDenied(Fault),
}

/// How to retry after a transient fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHint {
    /// After a growing pause.
    Backoff,
    /// At once with a new nonce and timestamp, but only once; then like [`RetryHint::Backoff`].
    FreshSignature,
    /// At once with a new access token, but only once; then like [`RetryHint::Backoff`].
    NewToken,
    /// Like [`RetryHint::Backoff`], but not before this pause is over.
    After(Duration),
    /// Like [`RetryHint::Backoff`], and the API's breaker opens at once: no retry helps soon,
    /// because a balance or a quota is used up.
    Lasting,
}

/// What went wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub reason: FaultReason,
    /// The API's return code, if there is one.
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

/// The pause where a limit per minute or maintenance is the reason.
pub const LIMIT_PAUSE: Duration = Duration::from_secs(60);

impl ApiResult {
    /// A fault to be retried after a growing pause.
    pub fn transient(fault: impl Into<Fault>) -> Self {
        Self::Transient(fault.into(), RetryHint::Backoff)
    }

    /// A fault to be retried after a minute at the earliest: a limit per minute, or maintenance.
    pub fn transient_for_a_minute(fault: Fault) -> Self {
        Self::Transient(fault, RetryHint::After(LIMIT_PAUSE))
    }

    /// The same result, but transient if its code is in `retry.transient_codes`: the operator's
    /// list wins over the API's table. [`RetryHint::Lasting`] stays as it is.
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
            result => result,
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

    /// The API's return code, if there is one.
    pub fn provider_code(&self) -> Option<i64> {
        match self {
            Self::Assessed { provider_code, .. } => Some(*provider_code),
            _ => self.fault()?.provider_code,
        }
    }

    /// Whether the API rejected the call before it looked at the claim. Then the attempt does not
    /// count towards [`Registration::max_attempts`](super::Registration::max_attempts).
    pub fn is_turned_away(&self) -> bool {
        match self {
            Self::AccessDenied(_) => true,
            Self::Transient(fault, hint) => match hint {
                RetryHint::FreshSignature | RetryHint::NewToken | RetryHint::Lasting => true,
                RetryHint::Backoff | RetryHint::After(_) => fault.reason == FaultReason::Http429,
            },
            Self::Assessed { .. } | Self::Unassessable(_) => false,
        }
    }
}
