//! What the codes of WeChat mean for a claim.
//!
//! Sources: WeChat "小程序风控 API" (inner codes), "全局返回码" and `servicemarketretrieve` (outer codes).

use crate::risk::{ApiResult, Fault, RetryHint};

/// The class of the service market's and WeChat's own `errcode`.
pub(super) fn classify_outer(code: i64) -> ApiResult {
    let fault = |reason| Fault::coded(reason, code);
    let transient = |reason| ApiResult::Transient(fault(reason), RetryHint::Backoff);
    let lasting = |reason| ApiResult::Transient(fault(reason), RetryHint::Lasting);
    match code {
        -1 | -1000 => transient("busy"),
        40001 | 40014 | 42001 => {
            ApiResult::Transient(fault("bad_access_token"), RetryHint::NewToken)
        }
        40003 | 43104 => ApiResult::Unassessable(fault("bad_openid")),
        43002 | 44002 | 47001 | 40097 => ApiResult::Unassessable(fault("bad_request")),
        45009 => lasting("quota_exceeded"),
        45011 => transient("rate_limited"),
        40013 | 40125 | 40164 | 40243 | 41001 => ApiResult::AccessDenied(fault("bad_credentials")),
        48001 | 48004 | 50002 | 61004 | 61007 => ApiResult::AccessDenied(fault("not_authorised")),
        9301001 => ApiResult::Unassessable(fault("bad_parameter")),
        9301002 => transient("service_failed"),
        9301003 => transient("internal_error"),
        9301004 => transient("save_failed"),
        9301006..=9301008 => ApiResult::AccessDenied(fault("service_not_bought")),
        9301009 => transient("result_check_failed"),
        9301010 => lasting("consumption_failed"),
        9301011 => transient("rate_limited"),
        9301012 => transient("service_timeout"),
        9301013 => ApiResult::AccessDenied(fault("wrong_api_type")),
        _ => transient("unknown_code"),
    }
}

/// The class of the product's own `code` (服务返回 data 内 code 字段说明).
pub(super) fn classify_inner(code: i64) -> ApiResult {
    let fault = |reason| Fault::coded(reason, code);
    match code {
        1 => ApiResult::Unassessable(fault("bad_parameter")),
        2 | 11 => ApiResult::Unassessable(fault("bad_openid")),
        3 => ApiResult::AccessDenied(fault("no_permission")),
        4..=8 | 10 => ApiResult::Transient(fault("internal_error"), RetryHint::Backoff),
        9 => ApiResult::Unassessable(fault("bad_service_id")),
        12 => ApiResult::Unassessable(fault("not_logged_in")),
        13 => ApiResult::AccessDenied(fault("insufficient_balance")),
        _ => ApiResult::Transient(fault("unknown_code"), RetryHint::Backoff),
    }
}
