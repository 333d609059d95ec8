//! Compares rows with the seals that cover them. Pure.
//!
//! A row is identified by its digest. A row whose digest is in no seal was altered or inserted. If
//! a digest is in a seal but no row has it, the row was removed, or its retention is over.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use time::OffsetDateTime;

use crate::schema::{RowDigest, SEALED_TABLES, SealRow, micros};
use crate::words::words;

/// A row as it is now.
#[derive(Debug, Clone)]
pub(super) struct SealedRow {
    /// The index of its table in [`SEALED_TABLES`].
    pub(super) table: usize,
    /// Its name: the claim's id, or its place.
    pub(super) name: String,
    /// The number of the seal that it refers to.
    pub(super) seal: Option<i64>,
    /// `None` if a column cannot be read.
    pub(super) digest: Option<RowDigest>,
    /// When it was written, if the table has that.
    pub(super) recorded_at: Option<OffsetDateTime>,
    /// Whether a person was erased from it.
    pub(super) is_erased: bool,
}

/// A row that was deleted, or from which a person was erased: a row of `removed_rows`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct RemovedRow {
    pub(super) seal: i64,
    pub(super) digest: RowDigest,
    /// The row's digest since then.
    pub(super) replacement: Option<RowDigest>,
}

words! {
    /// What is wrong with a row or a seal.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Fault {
        Altered = "altered": "The row is not as it was written.",
        Inserted = "inserted": "No worker wrote it.",
        Removed = "removed": "It was written and is not there.",
        SealRemoved = "seal_removed": "The seal is not there.",
        SealAltered = "seal_altered":
            "The seal's hash does not follow from its content and the seal before it.",
        Contradicted = "contradicted": "A published decision says otherwise.",
    }
}

/// A row or a seal that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealFinding {
    /// Its fault.
    pub fault: Fault,
    /// Its table.
    pub table: &'static str,
    /// Which row: the claim's id, or its place; empty if that is not known.
    pub row: String,
    /// The seal.
    pub seal: Option<i64>,
    /// The finding as a sentence.
    pub detail: String,
}

impl SealFinding {
    pub(super) fn of_seal(fault: Fault, seal: i64, detail: String) -> Self {
        Self { fault, table: "seals", row: seal.to_string(), seal: Some(seal), detail }
    }

    fn of_row(fault: Fault, row: &SealedRow, detail: &str) -> Self {
        let table = SEALED_TABLES[row.table];
        let (row, seal, detail) = (row.name.clone(), row.seal, detail.to_owned());
        Self { fault, table, row, seal, detail }
    }
}

/// The result of the comparison.
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub(super) findings: Vec<SealFinding>,
    /// Rows that are as they were written.
    pub(super) intact: usize,
    /// Rows that no longer exist because their retention is over.
    pub(super) expired: usize,
    /// Rows that were erased, or from which a person was erased, according to `removed_rows`.
    pub(super) erased: usize,
}

/// The first of all seals: `seals_id_seq` begins with it, when the table is made.
const FIRST: i64 = 1;

/// Whether a seal's hash follows from its content, given the hash of the seal before it. Only the
/// first of all seals has none before it.
pub(super) fn check_head(seal: &SealRow, heads: &HashMap<i64, Vec<u8>>) -> Option<SealFinding> {
    if seal.previous.is_none() && seal.id != FIRST {
        let detail = "it follows no other seal, and is not the first".to_owned();
        return Some(SealFinding::of_seal(Fault::SealAltered, seal.id, detail));
    }
    let before = match seal.previous.map(|previous| (previous, heads.get(&previous))) {
        None => &[],
        Some((_, Some(head))) => head.as_slice(),
        Some((previous, None)) => {
            let detail = format!("it is missing, and seal {} follows it", seal.id);
            return Some(SealFinding::of_seal(Fault::SealRemoved, previous, detail));
        }
    };
    (seal.derived_head(before) != seal.head.as_slice()).then(|| {
        let detail = "its hash does not follow from its content and the seal before it".to_owned();
        SealFinding::of_seal(Fault::SealAltered, seal.id, detail)
    })
}

/// What may be missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed<'a> {
    /// Whether only some rows of the seals are given.
    pub(super) is_partial: bool,
    /// For each table, rows sealed before that time.
    pub(super) expired: [Option<OffsetDateTime>; 4],
    /// The erased rows.
    pub(super) removed: &'a [RemovedRow],
}

/// Compares rows with the seals that they refer to.
pub(super) fn check_rows(seals: &[SealRow], rows: &[SealedRow], allowed: Allowed<'_>) -> Matched {
    let mut by_seal: HashMap<i64, Vec<&SealedRow>> = HashMap::with_capacity(seals.len());
    let mut matched = Matched::default();
    for row in rows {
        match row.seal {
            Some(seal) => by_seal.entry(seal).or_default().push(row),
            None => matched.findings.push(SealFinding::of_row(
                Fault::Inserted,
                row,
                "no seal covers it: no worker wrote it",
            )),
        }
    }
    for seal in seals {
        let rows = by_seal.remove(&seal.id).unwrap_or_default();
        check_seal(seal, &rows, allowed, &mut matched);
    }
    let mut orphans: Vec<&SealedRow> = by_seal.into_values().flatten().collect();
    orphans.sort_by_key(|row| (row.table, &row.name));
    for row in orphans {
        let detail = "the seal that it names is missing";
        matched.findings.push(SealFinding::of_row(Fault::Inserted, row, detail));
    }
    matched
}

fn check_seal(seal: &SealRow, rows: &[&SealedRow], allowed: Allowed<'_>, matched: &mut Matched) {
    let mut table = 0..;
    let held = seal.digests().map(|digests| {
        let table = table.next().unwrap_or_default();
        let of_table = rows.iter().copied().filter(|row| row.table == table);
        hold((seal, table), digests, allowed.removed, of_table, matched)
    });
    for (table, Held { unknown, missing, .. }) in held.iter().enumerate() {
        let there: HashSet<&str> =
            rows.iter().filter(|row| row.table == table).map(|row| row.name.as_str()).collect();
        // A verdict and its event are written together, and nearly always an attempt with them.
        let beside = if table == 0 { &held[1].known } else { &held[0].known };
        let gone = beside.difference(&there).filter(|_| SEALED_TABLES[table] != "dead_letters");
        let mut gone: Vec<&str> = gone.copied().collect();
        if gone.len() > *missing {
            // Attempts of earlier batches: it is not known whose attempts are missing here.
            gone.clear();
        }
        let mut missing = *missing;
        let mut unknown = unknown.clone();
        unknown.sort_by_key(|row| !beside.contains(row.name.as_str()));
        for row in unknown {
            let (fault, detail) = if allowed.is_partial || missing > gone.len() {
                missing = missing.saturating_sub(1);
                (Fault::Altered, "it is not as it was written")
            } else {
                (Fault::Inserted, "its seal does not cover it: no worker wrote it")
            };
            matched.findings.push(SealFinding::of_row(fault, row, detail));
        }
        if missing == 0 || allowed.is_partial {
            continue;
        }
        if allowed.expired[table].is_some_and(|expired| seal.sealed_at < micros(expired)) {
            matched.expired += missing;
            continue;
        }
        gone.sort_unstable();
        gone.resize(missing, "");
        matched.findings.extend(gone.into_iter().map(|row| removed(seal.id, table, row)));
    }
}

/// The rows of a table, compared with the digests of a seal.
struct Held<'a> {
    /// Rows that are not in the seal.
    unknown: Vec<&'a SealedRow>,
    /// The number of digests that no row has.
    missing: usize,
    /// The names of the rows that are in the seal.
    known: HashSet<&'a str>,
}

fn hold<'a>(
    (seal, table): (&SealRow, usize),
    digests: impl Iterator<Item = RowDigest>,
    removed: &[RemovedRow],
    rows: impl Iterator<Item = &'a SealedRow>,
    matched: &mut Matched,
) -> Held<'a> {
    let mut left: HashMap<RowDigest, usize> = HashMap::new();
    digests.for_each(|digest| *left.entry(digest).or_default() += 1);
    // A verdict is kept without the person; in other tables the whole row is deleted.
    let may_excuse =
        |row: &&RemovedRow| row.seal == seal.id && row.replacement.is_some() == (table == 0);
    let mut replaced = HashSet::new();
    for row in removed.iter().filter(may_excuse) {
        if left.remove(&row.digest).is_some() {
            matched.erased += 1;
            replaced.extend(row.replacement);
        }
    }
    replaced.iter().for_each(|digest| *left.entry(*digest).or_default() += 1);
    let (mut unknown, mut known) = (Vec::new(), HashSet::new());
    for row in rows {
        let digest = row.digest.filter(|digest| row.is_erased || !replaced.contains(digest));
        let found = digest.and_then(|digest| left.get_mut(&digest)).filter(|left| **left > 0);
        let Some(found) = found else {
            unknown.push(row);
            continue;
        };
        *found -= 1;
        known.insert(row.name.as_str());
        if row.recorded_at.is_none_or(|at| micros(at) == seal.sealed_at) {
            matched.intact += 1;
        } else {
            let detail = "recorded_at is not when its seal was made";
            matched.findings.push(SealFinding::of_row(Fault::Altered, row, detail));
        }
    }
    Held { unknown, missing: left.into_values().sum(), known }
}

/// `row` is empty if no other row of the seal tells its name.
fn removed(seal: i64, table: usize, row: &str) -> SealFinding {
    let detail = format!("seal {seal} covers it, and it is not there");
    let (table, row) = (SEALED_TABLES[table], row.to_owned());
    SealFinding { fault: Fault::Removed, table, row, seal: Some(seal), detail }
}

#[cfg(test)]
mod tests;
