//! `shadow_decisions`: what the policy in shadow would have decided otherwise.

use sqlx::types::Json;

use super::Verdict;
use super::json::ReasonList;
use super::table::table;
use super::values::{Micros, Text};
use crate::decision::ShadowRuling;

/// A verdict and the ruling beside it, on their way into `shadow_decisions`.
#[derive(Debug, Clone, Copy)]
pub struct NewShadowDecision<'a> {
    /// What was decided.
    pub verdict: &'a Verdict,
    /// What the policy in shadow rules.
    pub shadow: &'a ShadowRuling,
}

impl<'a> NewShadowDecision<'a> {
    /// That of a verdict, where the policy in shadow rules otherwise.
    pub fn of(verdict: &'a Verdict) -> Option<Self> {
        Some(Self { verdict, shadow: verdict.shadow.as_deref()? })
    }
}

table! {
    /// What the policy in shadow would have decided otherwise.
    SHADOW_DECISIONS: "shadow_decisions", row: NewShadowDecision<'a> {
        claim_id: "text" = Text(&row.verdict.claim_id),
        api: "text" = Text(&row.verdict.api),
        decided_at: "timestamptz" = Micros(row.verdict.decided_at),
        policy_version: "text" = Text(&row.verdict.policy_version),
        decision: "text" = row.verdict.decision.as_str(),
        shadow_version: "text" = Text(&row.shadow.version),
        shadow_decision: "text" = row.shadow.ruling.decision.as_str(),
        shadow_reasons: "jsonb" = Json(ReasonList(&row.shadow.ruling.reasons)),
    }
}
