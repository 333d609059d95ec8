//! What a question is answered with, in text ([`shown`]), JSON or CSV ([`rows`]).

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

/// How a question ended; the command's exit code says so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With what was asked for.
    Found,
    /// Nothing of the kind is in the record.
    Nothing,
    /// What is kept does not lead to the recorded decision.
    Disagrees,
    /// Whether it does cannot be found out.
    Unverifiable,
}

/// An answer.
pub trait Report: Serialize {
    /// Whether it holds what was asked for.
    fn found(&self) -> bool;
    /// How the question ended.
    fn end(&self) -> End {
        if self.found() { End::Found } else { End::Nothing }
    }
    /// The answer for a terminal.
    fn text(&self) -> String;
    /// What the main rows alone would hide, in one sentence: that there are more, for example.
    fn note(&self) -> Option<String> {
        None
    }
}

/// That so many are brought of more, by `--limit`: `which` of them.
pub(super) fn there_are_more(which: &str, brought: usize) -> String {
    format!("these are the {which} {brought}; there are more: raise --limit")
}

/// An answer for a terminal, with what it does not hold.
pub(super) fn with_note(text: String, note: Option<String>) -> String {
    match note {
        Some(note) => format!("{text}\n{note}\n"),
        None => text,
    }
}

/// Writes an answer, and says how the question ended.
///
/// # Errors
/// Those of `out`.
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
