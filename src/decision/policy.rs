//! The policy: which decision follows from an assessment, or from the lack of one. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Assessment, Decision, Effect, Reason, RiskType, Ruling};

/// Which decision each level of one API leads to: `[risk.<api>.policy]`. Every level is in exactly
/// one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Levels that are paid.
    pub approve: Vec<u8>,
    /// Levels that are challenged.
    pub challenge: Vec<u8>,
    /// Levels that a person looks at.
    pub review: Vec<u8>,
    /// Levels that are not paid.
    pub reject: Vec<u8>,
}

impl Levels {
    /// What each level leads to, from 0 on.
    pub fn of(decisions: &[Decision]) -> Self {
        let levels = |wanted| {
            let with = (0..).zip(decisions).filter(move |(_, decision)| **decision == wanted);
            with.map(|(level, _)| level).collect()
        };
        let [approve, challenge, review, reject] = Decision::ALL.map(levels);
        Self { approve, challenge, review, reject }
    }

    fn decide(&self, level: u8) -> Option<Decision> {
        let lists = [&self.approve, &self.challenge, &self.review, &self.reject];
        let found = lists.iter().position(|list| list.contains(&level))?;
        Some(Decision::ALL[found])
    }

    /// Checks that each of `0..=highest` is in exactly one list, and no other level in any.
    ///
    /// # Errors
    /// One sentence that names the level at fault.
    pub fn check(&self, highest: u8) -> Result<(), String> {
        let mut listed: Vec<u8> = [&self.approve, &self.challenge, &self.review, &self.reject]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        listed.sort_unstable();
        for level in 0..=highest {
            match listed.iter().filter(|other| **other == level).count() {
                1 => {}
                0 => return Err(format!("level {level} has no decision")),
                _ => return Err(format!("level {level} has more than one decision")),
            }
        }
        match listed.into_iter().find(|level| *level > highest) {
            Some(level) => {
                Err(format!("level {level} does not exist: the API's highest is {highest}"))
            }
            None => Ok(()),
        }
    }
}

/// The policy in force: every API's levels, and the decision of claims that no API assessed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    levels: BTreeMap<String, Levels>,
    on_unassessed: Decision,
    /// By API, the types of risk that change a decision, and how.
    effects: BTreeMap<String, BTreeMap<i32, Effect>>,
    #[serde(skip)]
    version: String,
}

impl Policy {
    /// The policy of these levels (by API name) and of `retry.on_unassessed`.
    pub fn new(levels: BTreeMap<String, Levels>, on_unassessed: Decision) -> Self {
        Self { levels, on_unassessed, effects: BTreeMap::new(), version: String::new() }.versioned()
    }

    /// The same policy with further risk types of an API that change decisions.
    #[must_use]
    pub fn with_risk_types(mut self, api: &str, risk_types: &[RiskType]) -> Self {
        let decides = |risk_type: &&RiskType| risk_type.effect != Effect::Explains;
        let effects: BTreeMap<i32, Effect> = risk_types
            .iter()
            .filter(decides)
            .map(|risk_type| (risk_type.code, risk_type.effect))
            .collect();
        if !effects.is_empty() {
            self.effects.insert(api.to_owned(), effects);
        }
        self.versioned()
    }

    /// The same policy with other levels of these APIs, and another decision of claims that no API
    /// assessed.
    #[must_use]
    pub fn but_for(
        mut self,
        levels: &BTreeMap<String, Levels>,
        on_unassessed: Option<Decision>,
    ) -> Self {
        let levels = levels.iter().map(|(api, levels)| (api.clone(), levels.clone()));
        self.levels.extend(levels);
        self.on_unassessed = on_unassessed.unwrap_or(self.on_unassessed);
        self.versioned()
    }

    /// The policy that was stored as [`Policy::content`]; `None` if this version cannot read it.
    pub fn from_content(content: &str) -> Option<Self> {
        let policy = serde_json::from_str::<Self>(content).ok()?.versioned();
        (policy.content() == content).then_some(policy)
    }

    /// The version of the policy with this content.
    pub fn version_of(content: &str) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(content)))
    }

    fn versioned(mut self) -> Self {
        self.version = Self::version_of(&self.content());
        self
    }

    /// The whole policy, as JSON. [`Policy::version`] is its hash.
    pub fn content(&self) -> String {
        serde_json::to_string(self).expect("a map of lists always serialises")
    }

    /// The content hash that is stored with every verdict: `sha256:…`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every rule: the API, what it finds, and the decision that follows.
    pub fn rules(&self) -> impl Iterator<Item = (&str, String, &'static str)> {
        let levels = self.levels.iter().flat_map(|(api, levels)| {
            let decided = move |level| {
                Some((api.as_str(), format!("level {level}"), levels.decide(level)?.as_str()))
            };
            (0..=u8::MAX).filter_map(decided)
        });
        let effects = self.effects.iter().flat_map(|(api, effects)| {
            let rule = move |(code, effect): (&i32, &Effect)| {
                (api.as_str(), format!("risk_type {code}"), effect.as_str())
            };
            effects.iter().map(rule)
        });
        let unassessed = ("any", "unassessed".to_owned(), self.on_unassessed.as_str());
        levels.chain(effects).chain([unassessed])
    }

    /// The decisions of an API's levels; `None` if the API gives no levels.
    pub fn levels(&self, api: &str) -> Option<&Levels> {
        self.levels.get(api)
    }

    /// The decision of a claim that no API assessed in time.
    pub fn on_unassessed(&self) -> Decision {
        self.on_unassessed
    }

    /// Decides from what `api` found. `risk_type` looks up a code in the API's table.
    pub fn rule(
        &self,
        api: &str,
        assessment: &Assessment,
        risk_type: impl Fn(i32) -> Option<RiskType>,
    ) -> Ruling {
        let ruling = |decision, code, name| Ruling {
            decision,
            reasons: vec![Reason::new(code, None, name)],
        };
        match assessment {
            Assessment::Level { level, risk_types } => {
                self.rule_level(api, *level, risk_types, risk_type)
            }
            Assessment::Challenge { .. } => ruling(Decision::Challenge, "captcha", None),
            Assessment::Ticket { valid: true } => {
                ruling(Decision::Approve, "ticket", Some("valid"))
            }
            Assessment::Ticket { valid: false } => {
                ruling(Decision::Reject, "ticket", Some("invalid"))
            }
        }
    }

    fn rule_level(
        &self,
        api: &str,
        level: u8,
        risk_types: &[i32],
        risk_type: impl Fn(i32) -> Option<RiskType>,
    ) -> Ruling {
        // No answer is read with a level that the policy does not have. If one came all the same, a
        // person decides.
        let by_level = self
            .levels
            .get(api)
            .and_then(|levels| levels.decide(level))
            .unwrap_or(Decision::Review);
        let mut reasons = vec![Reason::new("level", Some(i64::from(level)), None)];
        let effects = self.effects.get(api);
        let mut strongest = Effect::Explains;
        for code in risk_types {
            let known = risk_type(*code);
            let mut reason =
                Reason::new("risk_type", Some(i64::from(*code)), known.map(|known| known.name));
            reason.group = known.map(|known| known.group.to_owned());
            reasons.push(reason);
            let effect = effects.and_then(|effects| effects.get(code)).copied();
            strongest = strongest.max(effect.unwrap_or(Effect::Explains));
        }
        let decision = match strongest {
            Effect::Explains => by_level,
            Effect::Approves => Decision::Approve,
            Effect::NotAssessed => by_level.max(Decision::Review),
            Effect::Rejects => Decision::Reject,
        };
        Ruling { decision, reasons }
    }

    /// Rules on a claim that the API can never assess, such as one with a bad openid.
    pub fn unassessable(&self, reason: &str, provider_code: Option<i64>) -> Ruling {
        Ruling {
            decision: Decision::Review,
            reasons: vec![Reason::new("unassessable", provider_code, Some(reason))],
        }
    }

    /// Rules on a claim for which the API was called too late, so that its answer says nothing. The
    /// user is not at fault, but is not cleared either: a person decides, whatever
    /// `retry.on_unassessed` says.
    pub fn too_late(&self, reason: &str, provider_code: Option<i64>) -> Ruling {
        Ruling {
            decision: Decision::Review,
            reasons: vec![Reason::new("unassessed", provider_code, Some(reason))],
        }
    }

    /// Rules on a claim about which no API answered in time; `reason` says why the last attempt
    /// failed.
    pub fn unassessed(&self, reason: &str, provider_code: Option<i64>) -> Ruling {
        Ruling {
            decision: self.on_unassessed,
            reasons: vec![Reason::new("unassessed", provider_code, Some(reason))],
        }
    }
}
