//! A policy in shadow: it rules on the same claims as the policy in force, only to be compared with
//! it. Pure.

use super::{Decision, Policy, Ruling};

/// The policy in force, and the one in shadow.
#[derive(Debug, Clone)]
pub struct Policies {
    /// The policy that decides.
    pub in_force: Policy,
    /// The policy that is compared with it, where there is one.
    pub shadow: Option<Policy>,
}

/// What is decided, and what the policy in shadow would have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// By the policy in force.
    pub ruling: Ruling,
    /// By the one in shadow, where it decides otherwise. Reasons say what was found and not by
    /// which policy, so both have the same.
    pub shadow: Option<ShadowRuling>,
}

/// A decision of the policy in shadow that is not that of the policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRuling {
    /// [`Policy::version`].
    pub version: String,
    /// What it decides.
    pub decision: Decision,
}

impl Policies {
    /// Lets both policies rule on the same claim.
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
