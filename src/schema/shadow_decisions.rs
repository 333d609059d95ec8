//! `shadow_decisions`: claims that the policy in shadow would have decided differently.

use super::Verdict;
use super::table::table;
use super::values::{Micros, Text};
use crate::decision::{Decision, ShadowRuling};

/// A row of `shadow_decisions`. It outlives the batch of its verdict: it is written later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowDecision {
    /// The claim.
    pub claim_id: String,
    /// The API that was asked.
    pub api: String,
    /// When it was decided, in microseconds of UNIX time.
    pub decided_at: i64,
    /// The policy that decided.
    pub policy_version: String,
    /// What it decided.
    pub decision: Decision,
    /// What the policy in shadow would have decided.
    pub shadow: ShadowRuling,
}

impl ShadowDecision {
    /// The row of a verdict, if the policy in shadow decides differently.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let shadow = verdict.shadow.as_deref()?.clone();
        Some(Self {
            claim_id: verdict.claim_id.clone(),
            api: verdict.api.clone(),
            decided_at: verdict.decided_at,
            policy_version: verdict.policy_version.clone(),
            decision: verdict.decision,
            shadow,
        })
    }
}

table! {
    /// Claims that the policy in shadow would have decided differently.
    SHADOW_DECISIONS: "shadow_decisions", row: &'a ShadowDecision {
        claim_id: "text" = Text(&row.claim_id),
        api: "text" = Text(&row.api),
        decided_at: "timestamptz" = Micros(row.decided_at),
        policy_version: "text" = Text(&row.policy_version),
        decision: "text" = row.decision.as_str(),
        shadow_version: "text" = Text(&row.shadow.version),
        shadow_decision: "text" = row.shadow.decision.as_str(),
    }
}
