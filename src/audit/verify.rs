//! "Would the answer that is kept lead to the decision that is kept?"
//!
//! The stored bytes are read again by the API's own [`crate::risk::RiskApi::read`] and ruled on by
//! the policy in force. Nothing is asked of a risk API, and nothing is written.

use serde::Serialize;

use super::claim::calls;
use super::report::{End, Report};
use super::shown::{optional, reasons, sheet};
use crate::decision::{Decision, Policy, Reason, Ruling};
use crate::outbox::postgres::PostgresStore;
use crate::outbox::{Store, StoreError};
use crate::risk::{Answer, ApiResult, Registry};
use crate::schema::{Call, Verdict};

/// A verdict beside what its evidence leads to today.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The claim.
    pub claim_id: String,
    /// Whether the evidence leads to the same decision.
    pub agrees: bool,
    /// One sentence that says how this was found.
    pub assessment: String,
    /// What was recorded; `None` where the claim has no verdict.
    pub recorded: Option<Outcome>,
    /// What the evidence leads to; `None` where there is none to read.
    pub derived: Option<Outcome>,
    /// The attempt whose answer was read again.
    pub call: Option<uuid::Uuid>,
}

/// A decision with its grounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The decision.
    pub decision: Decision,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The policy that decided.
    pub policy_version: String,
}

/// Derives a claim's decision anew.
///
/// # Errors
/// [`StoreError`].
pub async fn verify(
    store: &PostgresStore,
    registry: &Registry,
    policy: &Policy,
    claim_id: &str,
) -> Result<Verification, StoreError> {
    let known = store.recall(vec![claim_id.to_owned()]).await?.remove(claim_id);
    let calls = calls(store, claim_id).await?;
    let blank = |assessment: String| Verification {
        claim_id: claim_id.to_owned(),
        agrees: false,
        assessment,
        recorded: None,
        derived: None,
        call: None,
    };
    let Some(verdict) = known else {
        return Ok(blank("the claim has no verdict".to_owned()));
    };
    let recorded = Outcome {
        decision: verdict.decision,
        reasons: verdict.reasons.clone(),
        policy_version: verdict.policy_version.clone(),
    };
    match derive(&verdict, &calls, registry, policy) {
        Err(assessment) => Ok(Verification { recorded: Some(recorded), ..blank(assessment) }),
        Ok((ruling, call)) => {
            let derived = Outcome {
                decision: ruling.decision,
                reasons: ruling.reasons,
                policy_version: policy.version().to_owned(),
            };
            let (agrees, assessment) = compare(&recorded, &derived);
            let call = call.map(|call| call.id);
            Ok(Verification {
                agrees,
                recorded: Some(recorded),
                derived: Some(derived),
                call,
                ..blank(assessment)
            })
        }
    }
}

/// What the evidence leads to, and the attempt that gave it; or why it leads to nothing.
fn derive<'a>(
    verdict: &Verdict,
    calls: &'a [Call],
    registry: &Registry,
    policy: &Policy,
) -> Result<(Ruling, Option<&'a Call>), String> {
    if let Some(reason) = verdict.reasons.iter().find(|reason| reason.code == "unassessed") {
        return Ok((
            policy.unassessed(reason.name.as_deref().unwrap_or_default(), reason.value),
            None,
        ));
    }
    let id = registry
        .find(&verdict.api)
        .ok_or_else(|| format!("the API {} is not configured here", verdict.api))?;
    let api = registry.get(id).api.as_ref();
    if api.schema() != verdict.api_schema {
        return Err(format!(
            "the API {} is configured with schema {}, and the verdict rests on {}",
            api.name(),
            api.schema(),
            verdict.api_schema
        ));
    }
    let decisive = |call: &&Call| {
        call.api == verdict.api && matches!(call.outcome.as_ref(), "assessed" | "unassessable")
    };
    let in_time = |call: &&Call| call.requested_at <= verdict.decided_at;
    let call = calls
        .iter()
        .filter(decisive)
        .rfind(in_time)
        .ok_or("the answer that decided is not kept any more")?;
    let body = call.response.as_deref().ok_or("the attempt that decided has no answer")?;
    let status = call.http_status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    match api.read(&Answer { status, body }) {
        ApiResult::Assessed { assessment, .. } => {
            Ok((policy.rule(api.name(), &assessment, |code| api.risk_type(code)), Some(call)))
        }
        ApiResult::Unassessable(fault) => {
            Ok((policy.unassessable(fault.reason.as_str(), fault.provider_code), Some(call)))
        }
        ApiResult::Transient(fault, _) | ApiResult::AccessDenied(fault) => Err(format!(
            "the answer of attempt {} reads as no assessment today: {}",
            call.id, fault.reason
        )),
    }
}

fn compare(recorded: &Outcome, derived: &Outcome) -> (bool, String) {
    let same_policy = recorded.policy_version == derived.policy_version;
    let assessment = match (recorded.decision == derived.decision, same_policy) {
        (true, true) if recorded.reasons == derived.reasons => {
            "the kept answer leads to the recorded decision, for the same reasons"
        }
        (true, true) => {
            "the kept answer leads to the recorded decision, but for other reasons: the API's table has changed"
        }
        (true, false) => {
            "the kept answer leads to the recorded decision under today's policy as well"
        }
        (false, true) => "the kept answer leads to ANOTHER decision under the same policy",
        (false, false) => {
            "the kept answer leads to another decision, for the policy has changed since"
        }
    };
    (recorded.decision == derived.decision, assessment.to_owned())
}

impl Report for Verification {
    fn found(&self) -> bool {
        self.agrees
    }

    fn end(&self) -> End {
        match (&self.recorded, &self.derived) {
            (None, _) => End::Nothing,
            (Some(_), None) => End::Unverifiable,
            (Some(_), Some(_)) if self.agrees => End::Found,
            (Some(_), Some(_)) => End::Disagrees,
        }
    }

    fn text(&self) -> String {
        let outcome = |outcome: &Option<Outcome>| match outcome {
            Some(Outcome { decision, reasons: why, policy_version }) => {
                format!("{} for {} under {policy_version}", decision.as_str(), reasons(why))
            }
            None => "–".to_owned(),
        };
        sheet([
            ("Claim", self.claim_id.clone()),
            ("Recorded", outcome(&self.recorded)),
            ("Derived", outcome(&self.derived)),
            ("From call", optional(self.call)),
            ("Assessment", self.assessment.clone()),
        ])
    }
}
