//! What happened to a claim, step by step. Pure.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::claim::ClaimFile;
use crate::audit::report::rows::{Cell, RowSet};
use crate::audit::report::shown::reasons;
use crate::decision::Reason;
use crate::schema::{Call, DeadLetterRow, EventRow, RevisionRow, Verdict, milliseconds, utc};

/// A step of a claim's story. Fields that a step does not have are `None`.
#[derive(Debug, Serialize)]
pub struct Step {
    /// When, by the worker's clock; `recorded` by PostgreSQL's.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `received`, `called`, `decided`, `recorded`, `dead_letter` or `revised`.
    pub step: &'static str,
    /// The step as a sentence.
    pub what: String,
    /// The record, as topic/partition/offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The attempt, a row of `risk_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Uuid>,
    /// The content of the event or of the answer, byte for byte.
    #[serde(skip)]
    pub body: Option<Vec<u8>>,
    /// The columns of CSV that only some steps have, by name.
    #[serde(skip)]
    more: Vec<(&'static str, Cell)>,
}

/// The columns that only some steps have.
const MORE: [&str; 13] = [
    "api",
    "attempt",
    "outcome",
    "reason",
    "http_status",
    "provider_code",
    "latency_ms",
    "decision",
    "reasons",
    "error",
    "detail",
    "trace_id",
    "request",
];

/// All steps of a claim, in order of time.
pub(super) fn steps(
    file: &ClaimFile,
    letters: &[DeadLetterRow],
    revisions: &[RevisionRow],
) -> Vec<Step> {
    let mut steps: Vec<Step> = file.events.iter().map(received).collect();
    steps.extend(file.calls.iter().map(called));
    steps.extend(file.verdict.iter().map(decided));
    steps.extend(file.verdict.iter().filter_map(recorded));
    steps.extend(letters.iter().map(dead));
    steps.extend(revisions.iter().map(revised));
    // The sort is stable: steps of the same microsecond keep the order above.
    steps.sort_by_key(|step| step.at);
    steps
}

impl Step {
    fn new(at: OffsetDateTime, step: &'static str, what: String) -> Self {
        let (source, call_id, body, more) = (None, None, None, Vec::new());
        Self { at, step, what, source, call_id, body, more }
    }
}

fn received(event: &EventRow) -> Step {
    let source = event.source.to_string();
    Step {
        source: Some(source.clone()),
        body: event.payload.clone(),
        more: vec![("trace_id", Cell::of(&event.trace_id))],
        ..Step::new(event.received_at, "received", format!("record {source}"))
    }
}

fn called(call: &Call) -> Step {
    let latency = milliseconds(call.latency);
    let mut what = format!("{} #{}: {}", call.api, call.attempt, call.outcome);
    for part in [
        Some(call.reason.to_string()).filter(|reason| !reason.is_empty()),
        call.http_status.map(|status| format!("http {status}")),
        call.provider_code.map(|code| format!("code {code}")),
        Some(format!("{latency:.1} ms")),
        match call.response {
            None => Some("no answer".to_owned()),
            Some(_) if call.outcome == "unknown" => Some("an incomplete answer".to_owned()),
            Some(_) => None,
        },
    ] {
        what.extend(part.map(|part| format!(", {part}")));
    }
    Step {
        call_id: Some(call.id),
        body: call.response.clone(),
        more: vec![
            ("api", Cell::of(&call.api)),
            ("attempt", Cell::of(call.attempt)),
            ("outcome", Cell::of(&call.outcome)),
            ("reason", Cell::of(&call.reason)),
            ("http_status", Cell::optional(call.http_status)),
            ("provider_code", Cell::optional(call.provider_code)),
            ("latency_ms", Cell::of(latency)),
            ("trace_id", Cell::of(&call.trace_id)),
            ("request", Cell::of(&call.request)),
        ],
        ..Step::new(utc(call.requested_at), "called", what)
    }
}

fn decided(verdict: &Verdict) -> Step {
    let Verdict { decision, reasons: why, .. } = verdict;
    let what = format!("{decision} for {}", reason_line(why));
    Step {
        more: vec![
            ("api", Cell::of(&verdict.api)),
            ("attempt", Cell::of(verdict.attempts)),
            ("provider_code", Cell::optional(verdict.provider_code)),
            ("decision", Cell::of(decision)),
            ("reasons", Cell::reasons(why)),
            ("trace_id", Cell::of(&verdict.trace_id)),
        ],
        ..Step::new(utc(verdict.decided_at), "decided", what)
    }
}

fn reason_line(of: &[Reason]) -> String {
    if of.is_empty() { "no reason given".to_owned() } else { reasons(of) }
}

fn recorded(verdict: &Verdict) -> Option<Step> {
    let what = "the verdict is in the database; its decision is published next".to_owned();
    verdict.recorded_at.map(|at| Step::new(at, "recorded", what))
}

fn revised(row: &RevisionRow) -> Step {
    let RevisionRow { decision, instead_of, revised_by, reason, role, .. } = row;
    let place = row.place().map(|place| place.to_string());
    let published = if place.is_some() { "" } else { "; not known to be published" };
    let what = format!(
        "{decision} instead of {instead_of}, by {revised_by} (login {role}): {reason}{published}"
    );
    Step {
        source: place,
        more: vec![("decision", Cell::of(decision)), ("reason", Cell::of(reason))],
        ..Step::new(row.revised_at, "revised", what)
    }
}

fn dead(letter: &DeadLetterRow) -> Step {
    let source = letter.id.source.to_string();
    let what = format!("{} at {}: {}", letter.error, letter.id, letter.detail);
    Step {
        source: Some(source),
        body: letter.payload.clone(),
        more: vec![
            ("error", Cell::of(&letter.error)),
            ("detail", Cell::of(&letter.detail)),
            ("trace_id", Cell::of(&letter.trace_id)),
        ],
        ..Step::new(letter.received_at, "dead_letter", what)
    }
}

/// Steps as rows.
pub(super) fn step_rows(claim_id: &str, steps: &[Step]) -> RowSet {
    let columns = ["claim_id", "at", "step", "what", "source", "call_id"];
    let columns = columns.into_iter().chain(MORE).chain(["body", "body_base64"]);
    let rows = steps.iter().map(|step| {
        let mut cells = vec![
            Cell::of(claim_id),
            Cell::time(step.at),
            Cell::of(step.step),
            Cell::of(&step.what),
            Cell::optional(step.source.as_ref()),
            Cell::optional(step.call_id),
        ];
        let more = MORE.map(|name| step.more.iter().find(|(column, _)| *column == name));
        cells.extend(more.map(|found| found.map_or(Cell::NULL, |(_, cell)| cell.clone())));
        cells.extend(Cell::bytes(step.body.as_deref()));
        cells
    });
    RowSet::of(columns.collect(), rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_told_in_the_order_of_time() {
        let verdict =
            Verdict { recorded_at: Some(utc(1_632_994_481_300_000)), ..Verdict::ordinary("a") };
        let late = Call { requested_at: 1_632_994_482_000_000, ..Call::ordinary("a") };
        let unanswered = Call {
            outcome: "unknown".into(),
            reason: "timeout".into(),
            http_status: None,
            provider_code: None,
            response: None,
            ..Call::ordinary("a")
        };
        let file = ClaimFile {
            claim_id: "a".to_owned(),
            verdict: Some(verdict),
            calls: vec![unanswered, late],
            events: vec![],
        };
        let steps = steps(&file, &[], &[]);
        let told: Vec<_> = steps.iter().map(|step| step.step).collect();
        assert_eq!(told, ["called", "decided", "recorded", "called"]);
        assert_eq!(steps[0].what, "intelligent_qr_code #1: unknown, timeout, 0.0 ms, no answer");
        assert_eq!(steps[1].what, "review for no reason given");
        let cut = Call { outcome: "unknown".into(), ..Call::ordinary("a") };
        let what = called(&cut).what;
        assert!(what.ends_with(", an incomplete answer"), "{what}");
    }
}
