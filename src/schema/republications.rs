//! `republications`: who had decisions published again.

use time::OffsetDateTime;

use super::table::table;

/// A republication that is announced.
#[derive(Debug, Clone, Copy)]
pub struct NewRepublication<'a> {
    /// Who is responsible.
    pub by: &'a str,
    /// Why, in their words.
    pub reason: &'a str,
    /// The claims decided from this time on …
    pub from: OffsetDateTime,
    /// … and before this time.
    pub to: OffsetDateTime,
}

table! {
    /// Who had decisions published again.
    REPUBLICATIONS: "republications", row: NewRepublication<'a> {
        republished_by: "text" = row.by,
        reason: "text" = row.reason,
        decided_from: "timestamptz" = row.from,
        decided_before: "timestamptz" = row.to,
    }
}
