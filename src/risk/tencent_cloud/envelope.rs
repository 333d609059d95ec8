//! The envelope of Tencent Cloud's answers, and what its codes mean.
//!
//! Owns the table of error codes. The invariant: an answer whose `code` is not a readable 0 never
//! becomes an [`Envelope`], and one without a usable level never becomes a level.
//!
//! Sources: Tencent Cloud's `错误码`, and `返回结果/错误码` of API 2.0.

use serde::de::{IgnoredAny, MapAccess};

use super::Client;
use crate::decision::Assessment;
use crate::risk::tolerant::{Found, Keys, Readable, read};
use crate::risk::{Answer, ApiResult, Fault, FaultReason as Why, Registration, RetryHint};

/// The most risk types that are kept of one answer; the tables have some 30.
const MOST_RISK_TYPES: usize = 64;

impl Client {
    /// Reads the envelope of an answer with `code` 0.
    ///
    /// # Errors
    /// The result of an answer without an assessment: the class of its error code, or that it
    /// cannot be read.
    pub fn open(&self, answer: &Answer<'_>) -> Result<Envelope, ApiResult> {
        let Some(envelope) = read::<Envelope>(answer.body) else {
            return Err(answer.unreadable());
        };
        match envelope.code {
            Found::Given(0) if answer.is_success() => Ok(envelope),
            Found::Given(code) if code != 0 => Err(classify(code).or_listed(&self.transient_codes)),
            _ => Err(answer.unreadable()),
        }
    }

    /// Reads an answer that promises a risk level of this API.
    pub fn read_level(&self, answer: &Answer<'_>, api: &Registration) -> ApiResult {
        let envelope = match self.open(answer) {
            Ok(envelope) => envelope,
            Err(reading) => return reading,
        };
        let level = envelope
            .level
            .given()
            .and_then(|level| u8::try_from(level).ok())
            .filter(|level| Some(*level) <= api.highest_level());
        let risk_types = match envelope.risk_types {
            Found::Given(risk_types) => Some(bounded(risk_types, api)),
            Found::Absent => Some(Vec::new()),
            Found::Unusable => None,
        };
        match level.zip(risk_types) {
            Some((level, risk_types)) => ApiResult::Assessed {
                assessment: Assessment::Level { level, risk_types },
                provider_code: 0,
            },
            None => without_result(),
        }
    }
}

/// Drops risk types above the bound: each costs memory, a row and a message. Types of the API's
/// table affect the decision and are kept.
fn bounded(mut risk_types: Vec<i32>, api: &Registration) -> Vec<i32> {
    let is_known = |code: &i32| api.risk_type(*code).is_some();
    let known = risk_types.iter().filter(|code| is_known(code)).count();
    let mut room = MOST_RISK_TYPES.saturating_sub(known);
    risk_types.retain(|code| {
        let stays = is_known(code) || room > 0;
        room = room.saturating_sub(usize::from(!is_known(code)));
        stays
    });
    risk_types
}

/// The result for `code` 0 without the promised content: the call is retried, and it never counts
/// as "clean".
pub fn without_result() -> ApiResult {
    ApiResult::transient(Fault::coded(Why::MalformedAnswer, 0))
}

/// The body of an answer that holds this code and nothing else.
pub fn answer_of_code(code: i64) -> String {
    format!("{{\"code\":{code}}}")
}

/// The fields of an answer that affect the decision. All others are kept only in the raw answer.
#[derive(Debug, Default)]
pub struct Envelope {
    code: Found<i64>,
    level: Found<i64>,
    risk_types: Found<Vec<i32>>,
    script: Found<String>,
}

impl Envelope {
    /// The captcha's JavaScript, if there is one.
    pub fn script(self) -> Option<String> {
        self.script.given()
    }
}

impl Readable for Envelope {
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut envelope = Self::default();
        while let Some(key) =
            object.next_key_seed(Keys(&["code", "level", "risktype", "script"]))?
        {
            match key {
                "code" => envelope.code.merge(object.next_value()?),
                "level" => envelope.level.merge(object.next_value()?),
                "risktype" => envelope.risk_types.merge(object.next_value()?),
                "script" => envelope.script.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(envelope))
    }
}

/// The class of an error code of API 2.0 (Tencent Cloud's `错误码`, and the shared `返回结果/错误码`).
fn classify(code: i64) -> ApiResult {
    let fault = |reason| Fault::coded(reason, code);
    let transient = |reason| ApiResult::transient(fault(reason));
    let lasting = |reason| ApiResult::Transient(fault(reason), RetryHint::Lasting);
    match code {
        // Not in Tencent Cloud's table: the code for a used-up balance, which this project uses for
        // every API.
        13 => lasting(Why::InsufficientBalance),
        4000 => ApiResult::Unassessable(fault(Why::BadParameter)),
        4100 => ApiResult::AccessDenied(fault(Why::BadSignature)),
        4101..=4103 | 4110 => ApiResult::AccessDenied(fault(Why::NoPermission)),
        4104 => ApiResult::AccessDenied(fault(Why::BadSecretId)),
        4105 | 4106 => ApiResult::AccessDenied(fault(Why::BadSessionToken)),
        4200 => ApiResult::Transient(fault(Why::RequestExpired), RetryHint::FreshSignature),
        4300 => ApiResult::AccessDenied(fault(Why::AccessDenied)),
        4400 => lasting(Why::QuotaExceeded),
        4500 => ApiResult::Transient(fault(Why::RequestReplayed), RetryHint::FreshSignature),
        4600 => ApiResult::Unassessable(fault(Why::BadProtocol)),
        5000 => ApiResult::Unassessable(fault(Why::ResourceMissing)),
        5100 => transient(Why::OperationFailed),
        5200 => ApiResult::Unassessable(fault(Why::PurchaseFailed)),
        5300 => ApiResult::Unassessable(fault(Why::InsufficientBalance)),
        5400 => ApiResult::Unassessable(fault(Why::PartlyFailed)),
        5500 => ApiResult::Unassessable(fault(Why::NotQualified)),
        6000 => transient(Why::InternalError),
        6100 => transient(Why::UnsupportedOrMaintenance),
        6200 => ApiResult::transient_for_a_minute(fault(Why::Maintenance)),
        _ => transient(Why::UnknownCode),
    }
}
