//! `policies`: the policies that decided.

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
}

table! {
    /// The policies that decided.
    POLICIES: "policies", row: NewPolicy<'a> {
        version: "text" = row.version,
        content: "text" = row.content,
    }
}

/// A row of `policies`, as auditors see it.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct PolicyRow {
    pub version: String,
    pub content: String,
    #[serde(with = "time::serde::rfc3339")]
    pub first_used_at: OffsetDateTime,
}
