//! The business rule: which decision follows from what a risk API found.
//!
//! Owns [`Assessment`] (what an API found), [`Policy`] (the rules) and [`Decision`] (the result).
//! [`crate::schema::Verdict`] is the row that Postgres keeps of it. This module knows no API, no
//! wire format and no clock. The invariant: an assessment that says "not really assessed" never
//! leads to an approval.
//!
//! ```
//! use claimgate::decision::{Decision, Levels};
//!
//! let mut levels = Levels {
//!     approve: vec![0, 1], challenge: vec![], review: vec![2], reject: vec![3, 4],
//! };
//! assert!(levels.check(4).is_ok());
//! levels.review.clear();
//! assert_eq!(levels.check(4).unwrap_err(), "level 2 has no decision");
//! assert_eq!(Decision::from_word("review"), Some(Decision::Review));
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::words::words;

mod policy;
mod shadow;

pub use policy::{Levels, Policy};
pub use shadow::{Policies, Ruled, ShadowRuling};

/// The namespace of decision ids: UUIDv5 of `claim_id` within it (`schemas/decision.v1.json`).
/// Never change it.
const DECISIONS: Uuid = Uuid::from_u128(0x6c61_696d_6761_7465_8d1f_2c9a_5be0_4d31);

words! {
    /// What the settlement pipeline does with a claim (`schemas/decision.v1.json`), mildest first.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Decision {
        Approve = "approve": "Pay.",
        Challenge = "challenge": "Ask the user to prove themselves first.",
        Review = "review": "A person decides.",
        Reject = "reject": "Do not pay.",
    }
}

/// What a risk API found about a claim: the usable content of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    /// A risk level, 0 the lowest, with the types of risk seen.
    Level {
        /// The API's own scale.
        level: u8,
        /// The API's own codes; what they mean depends on the schema.
        risk_types: Vec<i32>,
    },
    /// A captcha to be shown to the user: its script works for one page load.
    Challenge {
        /// JavaScript source.
        script: String,
    },
    /// Whether a captcha's ticket was good.
    Ticket {
        /// Whether the ticket was good.
        valid: bool,
    },
}

impl Assessment {
    /// The columns of a verdict: the level, the types of risk, the captcha's script.
    pub fn kept(self) -> (Option<i16>, Vec<i32>, Option<String>) {
        match self {
            Self::Level { level, risk_types } => (Some(i16::from(level)), risk_types, None),
            Self::Challenge { script } => (None, Vec::new(), Some(script)),
            Self::Ticket { .. } => (None, Vec::new(), None),
        }
    }
}

/// A type of risk in one API's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RiskType {
    /// The API's code.
    pub code: i32,
    /// Its English name, snake case.
    pub name: &'static str,
    /// `account`, `behaviour`, `environment` or `device`.
    pub group: &'static str,
    /// How it changes the decision that follows from the level.
    pub effect: Effect,
}

words! {
    /// How a type of risk changes the decision that follows from the level (`docs/risk-apis.md`,
    /// Policy). Later ones win over earlier ones.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Effect {
        Explains = "explains": "It explains the level and changes nothing.",
        Approves = "approves": "The business listed the account as good: approve.",
        NotAssessed = "not_assessed": "The API could not really assess: at least review.",
        Rejects = "rejects": "The business listed the account as bad: reject.",
    }
}

/// Why a claim was decided as it was:
/// `{"code":"risk_type","value":101,"name":"batch_operation","group":"behaviour"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `level`, `risk_type`, `unassessable`, `unassessed`, `captcha` or `ticket`.
    pub code: String,
    /// The level, the risk type or the provider's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// What the value means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group of the risk type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Reason {
    /// A reason with a value and its name.
    pub fn new(code: &str, value: Option<i64>, name: Option<&str>) -> Self {
        Self { code: code.to_owned(), value, name: name.map(str::to_owned), group: None }
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        let texts = [Some(&self.code), self.name.as_ref(), self.group.as_ref()];
        size_of::<Self>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset within it.
    pub offset: i64,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// The id of a claim's decision. It never changes, so that a consumer can recognise a repeat.
pub fn decision_id(claim_id: &str) -> Uuid {
    Uuid::new_v5(&DECISIONS, claim_id.as_bytes())
}

/// What was decided and why: the part of a [`crate::schema::Verdict`] that the policy makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// The decision about the claim.
    pub decision: Decision,
    /// Why.
    pub reasons: Vec<Reason>,
}

#[cfg(test)]
mod tests;
