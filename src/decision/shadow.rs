//! A policy in shadow: it decides the same claims as the policy in force, only for comparison.
//! Pure.

use super::{Decision, Policy, Ruling};

/// The policy in force, and the one in shadow.
#[derive(Debug, Clone)]
pub struct Policies {
    /// The policy that decides.
    pub in_force: Policy,
    /// The policy that is compared with it, if there is one.
    pub shadow: Option<Policy>,
}

/// The decision, and what the policy in shadow would have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// The ruling of the policy in force.
    pub ruling: Ruling,
    /// The decision of the policy in shadow, if it differs. The reasons are the same for both: they
    /// say what the API found.
    pub shadow: Option<ShadowRuling>,
}

/// A decision of the policy in shadow that differs from that of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRuling {
    /// [`Policy::version`].
    pub version: String,
    /// What it decides.
    pub decision: Decision,
}

impl Policies {
    /// Applies both policies to the same claim.
    pub fn rule(&self, rule: impl Fn(&Policy) -> Ruling) -> Ruled {
        let ruling = rule(&self.in_force);
        let shadow = self.shadow.as_ref().and_then(|policy| {
            let decision = rule(policy).decision;
            let is_other = decision != ruling.decision;
            is_other.then(|| ShadowRuling { version: policy.version().to_owned(), decision })
        });
        Ruled { ruling, shadow }
    }
}
