//! Which attempt decided a claim, if one did. Pure.

use super::derive::Evidence;
use crate::claim::Claim;
use crate::risk::{Answer, ApiResult, Registry};
use crate::schema::{Call, EventRow, Verdict, micros};

/// The attempt whose answer decided: the last that can have. Two workers may ask about a claim that
/// was sent twice; then it is the one of the verdict's trace, and had ended before the verdict.
pub(super) fn deciding<'a>(verdict: &Verdict, calls: &'a [Call]) -> Option<&'a Call> {
    let decisive = |call: &&Call| {
        call.api == verdict.api
            && matches!(call.outcome.as_ref(), "assessed" | "unassessable")
            && call.requested_at <= verdict.decided_at
    };
    // Of several that fit as well it is the last.
    calls.iter().filter(decisive).max_by_key(|call| is_own(verdict, call))
}

/// Whether an attempt was of the verdict's trace, and whether it had ended before the verdict.
fn is_own(verdict: &Verdict, call: &Call) -> (bool, bool) {
    let ended_at = call.requested_at.saturating_add(call.latency);
    (call.trace_id == verdict.trace_id, ended_at <= verdict.decided_at)
}

/// The answer of an attempt; `None` if there is none to read.
pub(super) fn answer_of(call: &Call) -> Option<Answer<'_>> {
    let status = call.http_status.and_then(|status| u16::try_from(status).ok());
    Some(Answer { status: status.unwrap_or_default(), body: call.response.as_deref()? })
}

/// Whether an API assessed the claim, so that the verdict cannot say that none did. The attempt
/// must be the deciding worker's own: a claim that was replayed or sent twice may have others.
pub(super) fn was_assessed(registry: &Registry, evidence: &Evidence<'_>) -> bool {
    let Evidence { verdict, calls, .. } = evidence;
    let (Some(call), Some(event)) = (deciding(verdict, calls), evidence.event()) else {
        return false;
    };
    is_own(verdict, call) == (true, true)
        && call.requested_at >= micros(event.received_at)
        && !was_late(registry, call, event)
}

/// Whether the answer came too late to say anything, or may have: its API is not configured here,
/// or the event cannot be read.
fn was_late(registry: &Registry, call: &Call, event: &EventRow) -> bool {
    let Some(id) = registry.find(&call.api) else { return true };
    let api = registry.get(id).api.as_ref();
    let Ok(claim) = Claim::parse(event.payload.as_deref(), usize::MAX) else { return true };
    match answer_of(call).map(|answer| api.read(&answer)) {
        Some(ApiResult::Assessed { assessment, .. }) => {
            api.is_late(&claim, &assessment, call.requested_at / 1_000_000)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two workers asked about one claim, which had been sent twice to two partitions.
    #[test]
    fn the_answer_that_decided_is_the_one_of_the_verdicts_trace() {
        let verdict = Verdict { decided_at: 1_000, ..Verdict::ordinary("clm-1") };
        let call = |attempt, trace: &str, requested_at, latency| Call {
            attempt,
            requested_at,
            latency,
            trace_id: trace.to_owned(),
            ..Call::ordinary("clm-1")
        };
        let own = &verdict.trace_id;
        let decided = |calls: &[Call]| deciding(&verdict, calls).map(|call| call.attempt);
        assert_eq!(decided(&[call(1, own, 100, 300), call(2, "other", 900, 50)]), Some(1));
        assert_eq!(decided(&[call(1, own, 100, 300), call(2, own, 999, 139)]), Some(1), "too late");
        assert_eq!(decided(&[call(1, own, 100, 300), call(2, own, 500, 300)]), Some(2));
        assert_eq!(decided(&[call(1, "other", 100, 300)]), Some(1), "there is no other");
        assert_eq!(decided(&[call(1, own, 1_001, 1)]), None);
    }
}
