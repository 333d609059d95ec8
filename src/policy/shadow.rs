//! `[policy]`: a policy in shadow, as it is configured. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::assess::retry;
use crate::decision::{Decision, Levels, Policy};
use crate::risk::{Registry, SectionError};

/// The section `[policy]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[policy.shadow]`.
    pub shadow: Option<Shadow>,
}

/// The differences of the policy in shadow from the one in force.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// As `retry.on_unassessed`.
    #[serde(deserialize_with = "final_decision")]
    on_unassessed: Option<Decision>,
    /// By API, as `[risk.<api>.policy]`.
    levels: BTreeMap<String, Levels>,
}

fn final_decision<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Decision>, D::Error> {
    retry::final_decision(deserializer).map(Some)
}

impl Shadow {
    /// The whole policy.
    pub fn over(&self, in_force: &Policy) -> Policy {
        in_force.clone().but_for(&self.levels, self.on_unassessed)
    }

    /// Its faults, by key.
    pub fn faults(&self, registry: &Registry) -> Vec<SectionError> {
        let fault = |(api, levels): (&String, &Levels)| {
            let problem = match registry.find(api) {
                Some(id) => {
                    let registration = registry.api(id).registration();
                    registration.levels(Some(levels.clone())).err()?
                }
                None => {
                    let names: Vec<_> =
                        registry.iter().map(|(_, route)| route.api.name()).collect();
                    format!("no such risk API serves anything; there are {}", names.join(", "))
                }
            };
            Some(SectionError::new(format!("policy.shadow.levels.{api}"), problem))
        };
        self.levels.iter().filter_map(fault).collect()
    }
}
