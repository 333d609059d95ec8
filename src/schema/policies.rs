//! `policies`: the policies that workers began with.

use serde::Serialize;
use time::OffsetDateTime;

use super::table::table;

/// A policy, on its way into `policies`.
#[derive(Debug, Clone, Copy)]
pub struct NewPolicy<'a> {
    /// [`crate::decision::Policy::version`].
    pub version: &'a str,
    /// [`crate::decision::Policy::content`].
    pub content: &'a str,
    /// What for.
    pub used: PolicyUse,
}

/// What a worker uses a policy for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyUse {
    /// It decides claims.
    ToDecide,
    /// It rules beside one that does, and decides nothing.
    InShadow,
}

impl PolicyUse {
    /// The word in `policies.used`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToDecide => "to_decide",
            Self::InShadow => "in_shadow",
        }
    }
}

table! {
    /// The policies that workers began with.
    POLICIES: "policies", row: NewPolicy<'a> {
        version: "text" = row.version,
        content: "text" = row.content,
        used: "text" = row.used.as_str(),
    }
}

/// A row of `policies`, as auditors see it.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct PolicyRow {
    pub version: String,
    pub content: String,
    pub used: String,
    #[serde(with = "time::serde::rfc3339")]
    pub first_used_at: OffsetDateTime,
}
