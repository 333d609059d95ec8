//! `revisions` and `revision_places`: what people decided in place of a worker, and where it was
//! published.

use serde::Serialize;
use time::OffsetDateTime;

use super::table::table;
use crate::decision::{Decision, Source};

/// A revision that is announced.
#[derive(Debug, Clone, Copy)]
pub struct NewRevision<'a> {
    /// The claim.
    pub claim_id: &'a str,
    /// The number of the revision, from 1.
    pub revision: i32,
    /// The new decision.
    pub decision: Decision,
    /// The decision before.
    pub instead_of: Decision,
    /// Who is responsible.
    pub by: &'a str,
    /// Why, in their words.
    pub reason: &'a str,
}

table! {
    /// What people decided in place of a worker.
    REVISIONS: "revisions", row: NewRevision<'a> {
        claim_id: "text" = row.claim_id,
        revision: "int" = row.revision,
        decision: "text" = row.decision.as_str(),
        instead_of: "text" = row.instead_of.as_str(),
        revised_by: "text" = row.by,
        reason: "text" = row.reason,
    }
}

/// Where a revision was published.
#[derive(Debug, Clone, Copy)]
pub struct NewRevisionPlace<'a> {
    /// The claim.
    pub claim_id: &'a str,
    /// The revision.
    pub revision: i32,
    /// Where its decision is.
    pub place: &'a Source,
    /// Who ran the command that published it, or found it there.
    pub by: &'a str,
}

table! {
    /// Where revisions were published.
    REVISION_PLACES: "revision_places", row: NewRevisionPlace<'a> {
        claim_id: "text" = row.claim_id,
        revision: "int" = row.revision,
        place_topic: "text" = row.place.topic.as_str(),
        place_partition: "int" = row.place.partition,
        place_offset: "bigint" = row.place.offset,
        recorded_by: "text" = row.by,
    }
}

/// A row of `revisions` with its place, for auditors.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct RevisionRow {
    pub claim_id: String,
    pub revision: i32,
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    #[sqlx(try_from = "String")]
    pub instead_of: Decision,
    pub revised_by: String,
    pub reason: String,
    pub role: String,
    #[serde(with = "time::serde::rfc3339")]
    pub revised_at: OffsetDateTime,
    pub place_topic: Option<String>,
    pub place_partition: Option<i32>,
    pub place_offset: Option<i64>,
}

impl RevisionRow {
    /// Where it was published, if that is known.
    pub fn place(&self) -> Option<Source> {
        let topic = self.place_topic.clone()?;
        Some(Source { topic, partition: self.place_partition?, offset: self.place_offset? })
    }
}

/// Selects [`RevisionRow`]s.
pub const SELECT_REVISIONS: &str =
    "select claim_id, revision, decision, instead_of, revised_by, reason, role,
        revised_at, place_topic, place_partition, place_offset
    from revisions left join revision_places using (claim_id, revision)";
