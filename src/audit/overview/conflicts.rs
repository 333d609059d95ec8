//! "Which events had the claim id of another event with other content?"
//!
//! An event that repeats a claim with the same content is no conflict: the worker skips and counts
//! it, and writes no row.

use std::collections::HashMap;

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::period::Period;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::{Report, join_notes, there_are_more, with_note};
use crate::audit::single::undecryptable::Undecryptable;
use crate::claim::{Claim, EventError};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{DEAD_LETTERS, DeadLetterRow};

/// The conflicts of a period.
#[derive(Debug, Serialize)]
pub struct Conflicts {
    /// The conflicts, latest first.
    pub conflicts: Vec<Conflict>,
    /// Whether there are more.
    pub more: bool,
    /// Events that cannot be decrypted here: their claim id is not known.
    pub undecryptable: Undecryptable,
}

/// An event with the claim id of another event.
#[derive(Debug, Serialize)]
pub struct Conflict {
    /// When it was received.
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    /// The claim id; `None` if the event is not read here as a claim.
    pub claim_id: Option<String>,
    /// The dead letter that it became, in the form for `claimgate dead-letters show`.
    pub letter: String,
    /// Which fields differ, as far as that was known.
    pub detail: String,
    /// The decision from the other event; `None` if there is none yet.
    pub decision: Option<String>,
    /// When that was decided.
    #[serde(with = "time::serde::rfc3339::option")]
    pub decided_at: Option<OffsetDateTime>,
    /// The trace of the event.
    pub trace_id: String,
}

/// Finds the conflicts that were received in a period, at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub async fn conflicts(
    store: &PostgresStore,
    period: Period,
    limit: usize,
) -> Result<Conflicts, StoreError> {
    let letters = DEAD_LETTERS.select(
        "where error = $1 and received_at >= $2 and received_at < $3
        order by received_at desc, source_topic, source_partition, source_offset, content limit $4",
    );
    let letters = sqlx::query_as(letters)
        .bind(EventError::ClaimIdConflict.as_str())
        .bind(period.from)
        .bind(period.to)
        .bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX));
    let letters: Vec<(DeadLetterRow, _)> = store.fetch_decryptable(letters).await?;
    let more = letters.len() > limit;
    let (mut conflicts, mut undecryptable) = (Vec::new(), Undecryptable::default());
    for (letter, why) in letters.into_iter().take(limit) {
        conflicts.push(conflict(letter));
        why.into_iter().for_each(|why| undecryptable.add(why));
    }
    let decided = decided(store, &conflicts).await?;
    for conflict in &mut conflicts {
        let found = conflict.claim_id.as_ref().and_then(|claim_id| decided.get(claim_id));
        conflict.decision = found.map(|(decision, _)| decision.clone());
        conflict.decided_at = found.map(|(_, decided_at)| *decided_at);
    }
    Ok(Conflicts { conflicts, more, undecryptable })
}

/// A conflict without the decision from the other event, which is looked up later.
fn conflict(letter: DeadLetterRow) -> Conflict {
    let claim = Claim::parse(letter.payload.as_deref(), usize::MAX);
    Conflict {
        received_at: letter.received_at,
        claim_id: claim.ok().map(|claim| claim.claim_id),
        letter: letter.id.to_string(),
        detail: letter.detail,
        decision: None,
        decided_at: None,
        trace_id: letter.trace_id,
    }
}

/// The decisions about the claims with these ids, and their times.
async fn decided(
    store: &PostgresStore,
    conflicts: &[Conflict],
) -> Result<HashMap<String, (String, OffsetDateTime)>, StoreError> {
    let ids: Vec<_> = conflicts.iter().filter_map(|conflict| conflict.claim_id.clone()).collect();
    let query = "select claim_id, decision, decided_at from verdicts where claim_id = any($1)";
    let rows: Vec<(String, String, OffsetDateTime)> =
        store.fetch(sqlx::query_as(query).bind(ids)).await?;
    Ok(rows.into_iter().map(|(id, decision, at)| (id, (decision, at))).collect())
}

impl Report for Conflicts {
    fn found(&self) -> bool {
        !self.conflicts.is_empty()
    }

    fn text(&self) -> String {
        if self.conflicts.is_empty() {
            return "no event of that period had the id of another claim\n".to_owned();
        }
        let columns = ["received_at", "claim_id", "decision", "decided_at", "letter", "detail"];
        let table = self.rows().table_of(&columns);
        with_note(table, self.note())
    }

    fn note(&self) -> Option<String> {
        let more = self.more.then(|| there_are_more("latest", self.conflicts.len()));
        join_notes([more, self.undecryptable.note("event")])
    }
}

impl Tabular for Conflicts {
    fn rows(&self) -> RowSet {
        let columns =
            ["received_at", "claim_id", "letter", "detail", "decision", "decided_at", "trace_id"];
        let cells = |conflict: &Conflict| {
            [
                Cell::time(conflict.received_at),
                Cell::optional(conflict.claim_id.as_ref()),
                Cell::of(&conflict.letter),
                Cell::of(&conflict.detail),
                Cell::optional(conflict.decision.as_ref()),
                conflict.decided_at.map_or(Cell::NULL, Cell::time),
                Cell::of(&conflict.trace_id),
            ]
        };
        RowSet::new(columns, self.conflicts.iter().map(cells))
    }
}
