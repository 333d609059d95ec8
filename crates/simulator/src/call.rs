//! The entry of a call in the log, and the totals of an API.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::api::Api;

/// One call of one API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// 1 for the first call since the start or the last clearing.
    pub sequence: u64,
    /// When it was answered, UNIX milliseconds.
    pub at_ms: i64,
    /// The caller: the name after `/caller/` at the start of the path; empty if there is none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub caller: Box<str>,
    /// Which API.
    pub api: Api,
    /// `uid` or `openid`; for a token the app id; empty if there is none.
    pub account: Box<str>,
    /// Distinguishes claims of one account: `client_msg_id` (WeChat), `encryptedCode`, the
    /// captcha's `ticket`.
    pub claim: Box<str>,
    /// 1 for the first call of this account to this API.
    pub number: u32,
    /// `Nonce`; Tencent Cloud only.
    #[serde(serialize_with = "as_text")]
    pub nonce: Option<u64>,
    /// `Timestamp`; Tencent Cloud only.
    pub timestamp: Option<i64>,
    /// The answer.
    pub outcome: Outcome,
    /// The provider code: 0, or what [`Outcome::ErrorCode`] said.
    pub code: Option<i64>,
    /// The risk level in the answer.
    pub level: Option<i64>,
    /// The HTTP status, if there was one.
    pub http_status: Option<u16>,
}

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Code 0 and whatever the API promises with it.
    Answered,
    /// Another provider code.
    ErrorCode,
    /// A bare HTTP status.
    HttpStatus,
    /// A body that is not what the API promises.
    Malformed,
    /// A reset connection.
    Reset,
    /// No answer.
    Hang,
}

/// The totals of one API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All its calls.
    pub calls: u64,
    /// How they were answered.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Calls at this moment.
    pub in_flight: u64,
    /// The most calls at any one moment.
    pub peak_in_flight: u64,
    /// Calls that came while another call of the same account was in flight, to any API.
    pub overlapping: u64,
}

/// Many readers lose digits of a 64-bit JSON number.
fn as_text<S: Serializer>(nonce: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    nonce.map(|nonce| nonce.to_string()).serialize(serializer)
}
