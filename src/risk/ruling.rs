//! Applies a policy to an API's result: for commands that check a decision afterwards, or try a
//! policy before. Pure.

use super::{ApiResult, FaultReason, RiskApi};
use crate::decision::{Policy, Ruling};

/// The decision that follows from a result; `None` if the API is called again.
pub fn rule(policy: &Policy, api: &dyn RiskApi, result: &ApiResult) -> Option<Ruling> {
    match result {
        ApiResult::Assessed { assessment, .. } => {
            Some(policy.rule(api.name(), assessment, |code| api.risk_type(code)))
        }
        ApiResult::Unassessable(fault) => {
            Some(policy.unassessable(fault.reason.as_str(), fault.provider_code))
        }
        ApiResult::Transient(..) | ApiResult::AccessDenied(_) => None,
    }
}

/// The decision if no API assessed the claim in time, for this reason.
pub fn rule_unassessed(policy: &Policy, reason: &str, provider_code: Option<i64>) -> Ruling {
    if reason == FaultReason::TicketExpired.as_str() {
        policy.too_late(reason, provider_code)
    } else {
        policy.unassessed(reason, provider_code)
    }
}
