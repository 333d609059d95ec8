//! Reads the result of an exchange with an API, for the claim and for the attempt's row. Pure.

use crate::assess::exchange::{Exchange, Response};
use crate::risk::{Answer, ApiResult, AttemptOutcome, FaultReason, RiskApi};

/// What the exchange says about the claim, and how the attempt ended.
pub(super) fn read(api: &dyn RiskApi, exchange: &Exchange) -> (ApiResult, AttemptOutcome) {
    let result = match exchange.result.as_ref().map(answer) {
        // The request may have reached the API and may have been acted upon.
        Err(failure) if failure.is_ambiguous() => {
            return (ApiResult::transient(failure.reason()), AttemptOutcome::Unknown);
        }
        Err(failure) => ApiResult::transient(failure.reason()),
        Ok(answer) => api.read_any(&answer),
    };
    let outcome = result.outcome();
    (result, outcome)
}

pub(super) fn answer(response: &Response) -> Answer<'_> {
    Answer { status: response.status, body: &response.body }
}

/// A reason, with more details behind it: `connect: connection refused`.
pub(super) fn sentence(reason: FaultReason, more: [Option<&str>; 2]) -> String {
    [Some(reason.as_str())].into_iter().chain(more).flatten().collect::<Vec<_>>().join(": ")
}
