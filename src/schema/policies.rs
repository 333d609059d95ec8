//! `policies`: the policies that workers started with.

use serde::Serialize;
use time::OffsetDateTime;

use super::table::table;

/// A policy, before it is written into `policies`.
#[derive(Debug, Clone, Copy)]
pub struct NewPolicy<'a> {
    /// [`crate::decision::Policy::version`].
    pub version: &'a str,
    /// [`crate::decision::Policy::content`].
    pub content: &'a str,
    /// Its use.
    pub used: PolicyUse,
}

/// What a worker uses a policy for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyUse {
    /// It decides claims.
    ToDecide,
    /// It runs in shadow beside one that decides.
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
    /// The policies that workers started with.
    POLICIES: "policies", row: NewPolicy<'a> {
        version: "text" = row.version,
        content: "text" = row.content,
        used: "text" = row.used.as_str(),
    }
}

/// A row of `policies`, for auditors.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct PolicyRow {
    pub version: String,
    pub content: String,
    pub used: String,
    #[serde(with = "time::serde::rfc3339")]
    pub first_used_at: OffsetDateTime,
}
