//! What the codes of WeChat mean for a claim.
//!
//! Sources: WeChat "小程序风控 API" (inner codes), "全局返回码" and `servicemarketretrieve` (outer codes).

use crate::risk::{ApiResult, Fault, FaultReason as Why, RetryHint};

/// The class of the service market's and WeChat's own `errcode`.
pub(super) fn classify_outer(code: i64) -> ApiResult {
    let fault = |reason| Fault::coded(reason, code);
    let transient = |reason| ApiResult::transient(fault(reason));
    let lasting = |reason| ApiResult::Transient(fault(reason), RetryHint::Lasting);
    match code {
        -1 | -1000 => transient(Why::Busy),
        // The product's codes, although they belong in `data`: WeChat's own codes are negative or
        // have five digits or more. 13 always means a used-up balance, even if the operator lists
        // it: this project uses the code for every API.
        1..=12 => classify_inner(code),
        13 => lasting(Why::InsufficientBalance),
        40001 | 40014 | 42001 => {
            ApiResult::Transient(fault(Why::BadAccessToken), RetryHint::NewToken)
        }
        40003 | 43104 => ApiResult::Unassessable(fault(Why::BadOpenid)),
        43002 | 44002 | 47001 | 40097 => ApiResult::Unassessable(fault(Why::BadRequest)),
        45009 => lasting(Why::QuotaExceeded),
        45011 => ApiResult::transient_for_a_minute(fault(Why::RateLimited)),
        40013 | 40125 | 40164 | 40243 | 41001 => {
            ApiResult::AccessDenied(fault(Why::BadCredentials))
        }
        40066 => ApiResult::AccessDenied(fault(Why::UnknownPath)),
        48001 | 48004 | 50002 | 61004 | 61007 => ApiResult::AccessDenied(fault(Why::NotAuthorised)),
        9301001 => ApiResult::Unassessable(fault(Why::BadParameter)),
        9301002 => transient(Why::ServiceFailed),
        9301003 => transient(Why::InternalError),
        9301004 => transient(Why::SaveFailed),
        9301006..=9301008 => ApiResult::AccessDenied(fault(Why::ServiceNotBought)),
        9301009 => transient(Why::ResultCheckFailed),
        9301010 => lasting(Why::ConsumptionFailed),
        9301011 => transient(Why::RateLimited),
        9301012 => transient(Why::ServiceTimeout),
        9301013 => ApiResult::AccessDenied(fault(Why::WrongApiType)),
        _ => transient(Why::UnknownCode),
    }
}

/// The class of the product's own `code` (服务返回 data 内 code 字段说明).
pub(super) fn classify_inner(code: i64) -> ApiResult {
    let fault = |reason| Fault::coded(reason, code);
    match code {
        1 => ApiResult::Unassessable(fault(Why::BadParameter)),
        2 | 11 => ApiResult::Unassessable(fault(Why::BadOpenid)),
        3 => ApiResult::AccessDenied(fault(Why::NoPermission)),
        4..=8 | 10 => ApiResult::transient(fault(Why::InternalError)),
        9 => ApiResult::Unassessable(fault(Why::BadServiceId)),
        12 => ApiResult::Unassessable(fault(Why::NotLoggedIn)),
        13 => ApiResult::AccessDenied(fault(Why::InsufficientBalance)),
        _ => ApiResult::transient(fault(Why::UnknownCode)),
    }
}
