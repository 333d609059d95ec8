//! The answer to a question, as text ([`shown`]), JSON or CSV ([`rows`]).

pub(super) mod rows;
pub(crate) mod shown;

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use rows::Tabular;
use shown::printable_json;

/// The form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for a terminal, control characters escaped
    #[default]
    Text,
    /// One JSON document: everything
    Json,
    /// The main rows as CSV, values exact
    Csv,
}

/// How a question ended; it also sets the command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Found,
    /// There are no such rows.
    Nothing,
    /// The evidence does not lead to the recorded decision.
    Disagrees,
    /// It cannot be found out whether the evidence leads to it.
    Unverifiable,
}

impl End {
    /// The end of a question that found something or not, where `unread` rows might have been found,
    /// too.
    pub(super) fn of(has_found: bool, unread: u64) -> Self {
        match (has_found, unread) {
            (true, _) => Self::Found,
            (false, 0) => Self::Nothing,
            (false, _) => Self::Unverifiable,
        }
    }
}

/// An answer.
pub trait Report: Serialize {
    /// Whether it found anything.
    fn found(&self) -> bool;
    /// How the question ended.
    fn end(&self) -> End {
        if self.found() { End::Found } else { End::Nothing }
    }
    /// The answer for a terminal.
    fn text(&self) -> String;
    /// One sentence about what the main rows do not show, for example that there are more.
    fn note(&self) -> Option<String> {
        None
    }
}

/// The sentence that `--limit` cut a list: `which` rows are shown.
pub(super) fn there_are_more(which: &str, brought: usize) -> String {
    format!("these are the {which} {brought}; there are more: raise --limit")
}

/// Several sentences about what an answer does not show, as one.
pub(super) fn join_notes(notes: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// An answer for a terminal, with the sentence about what it does not show.
pub(super) fn with_note(text: String, note: Option<String>) -> String {
    match note {
        Some(note) => format!("{text}\n{note}\n"),
        None => text,
    }
}

/// Writes an answer. Returns how the question ended.
///
/// # Errors
/// The errors of `out`.
pub(super) fn write(
    report: &(impl Report + Tabular),
    format: Format,
    out: &mut impl Write,
) -> io::Result<End> {
    match format {
        Format::Text => out.write_all(report.text().as_bytes())?,
        Format::Json => {
            writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(report)?))?;
        }
        Format::Csv => {
            report.rows().write_csv(out)?;
            if let Some(note) = report.note() {
                eprintln!("claimgate: {note}");
            }
        }
    }
    out.flush()?;
    Ok(report.end())
}
