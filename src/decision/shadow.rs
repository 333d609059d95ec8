//! A policy in shadow: it rules beside the one in force, and decides nothing. Pure.

use super::{Policy, Ruling};

/// The policy in force, and the one in shadow.
#[derive(Debug, Clone)]
pub struct Policies {
    /// The one that decides.
    pub in_force: Policy,
    /// The one whose rulings are compared with it, where there is one.
    pub shadow: Option<Policy>,
}

/// What is decided, and what the policy in shadow would have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// By the policy in force.
    pub ruling: Ruling,
    /// By the one in shadow, where it rules otherwise.
    pub shadow: Option<ShadowRuling>,
}

/// A ruling of the policy in shadow that is not that of the policy in force.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRuling {
    /// [`Policy::version`].
    pub version: String,
    /// What it rules.
    pub ruling: Ruling,
}

impl Policies {
    /// Lets both rule on the same.
    pub fn rule(&self, rule: impl Fn(&Policy) -> Ruling) -> Ruled {
        let ruling = rule(&self.in_force);
        let shadow = self.shadow.as_ref().and_then(|policy| {
            let other = rule(policy);
            let is_other = other != ruling;
            is_other.then(|| ShadowRuling { version: policy.version().to_owned(), ruling: other })
        });
        Ruled { ruling, shadow }
    }
}
