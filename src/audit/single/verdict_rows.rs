//! Verdicts as rows: every column in the order of the table.

use crate::audit::report::rows::{Cell, RowSet, json};
use crate::schema::{Verdict, utc};

/// The columns of `verdicts` that auditors get.
const COLUMNS: [&str; 20] = [
    "claim_id",
    "kind",
    "api",
    "api_schema",
    "decision",
    "level",
    "risk_types",
    "reasons",
    "provider_code",
    "policy_version",
    "attempts",
    "challenge",
    "claimed_at",
    "decided_at",
    "recorded_at",
    "source_topic",
    "source_partition",
    "source_offset",
    "trace_id",
    "subject",
];

/// The columns that fit a line of a terminal.
const SHORT: [&str; 5] = ["decided_at", "claim_id", "kind", "decision", "reasons"];

/// Verdicts with all their columns.
pub(super) fn verdict_rows(verdicts: &[Verdict]) -> RowSet {
    RowSet::new(COLUMNS, verdicts.iter().map(cells))
}

/// Verdicts, one line each.
pub(super) fn verdict_table(verdicts: &[Verdict]) -> String {
    verdict_rows(verdicts).table_of(&SHORT)
}

fn cells(row: &Verdict) -> [Cell; 20] {
    [
        Cell::of(&row.claim_id),
        Cell::of(&row.kind),
        Cell::of(&row.api),
        Cell::of(&row.api_schema),
        Cell::of(row.decision),
        Cell::optional(row.level),
        Cell::of(json(&row.risk_types)),
        Cell::reasons(&row.reasons),
        Cell::optional(row.provider_code),
        Cell::of(&row.policy_version),
        Cell::of(row.attempts),
        Cell::optional(row.challenge.as_ref()),
        Cell::time(utc(row.claimed_at.saturating_mul(1_000_000))),
        Cell::time(utc(row.decided_at)),
        row.recorded_at.map_or(Cell::NULL, Cell::time),
        Cell::of(&row.source.topic),
        Cell::of(row.source.partition),
        Cell::of(row.source.offset),
        Cell::of(&row.trace_id),
        Cell::of(&row.subject),
    ]
}
