//! `claimgate dead-letters list`: counts dead letters by error and lists the newest.

use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;

use super::DeadLetterError;
use super::event::replays_before;
use super::filter::Selection;
use super::letters::{Count, Letter, counts, newest};
use crate::audit::shown::{instant, optional, printable, printable_bytes, printable_json, table};
use crate::outbox::postgres::PostgresStore;
use crate::schema::bytes_as_json;

/// The most characters of a key or a path in a table; `show` has all of them.
const SHOWN_MAX: usize = 48;

/// A letter in JSON.
#[derive(Serialize)]
struct Line {
    /// topic/partition/offset@content, the form that the other commands accept.
    letter: String,
    source: String,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
    error: String,
    error_field: Option<String>,
    detail: String,
    /// The first 4 KiB of the key.
    #[serde(serialize_with = "bytes_as_json")]
    key: Option<Vec<u8>>,
    payload_bytes: Option<i32>,
    /// How often the event had been replayed when it became this letter.
    replays: i32,
    /// Whether this letter was replayed: `no`, `yes` or `unfinished`.
    replayed: &'static str,
    trace_id: String,
}

/// Shows the newest letters of a selection. Returns whether there are any.
pub(super) async fn list(
    store: &PostgresStore,
    selection: &Selection,
    limit: u32,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, DeadLetterError> {
    let mut letters = newest(store, selection, limit.saturating_add(1)).await?;
    let more = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    if json {
        for letter in &letters {
            let json = serde_json::to_string(&line(letter)).map_err(std::io::Error::from)?;
            writeln!(out, "{}", printable_json(&json))?;
        }
        if more {
            eprintln!("claimgate: there are more than {limit}: raise --limit, or filter");
        }
    } else if !letters.is_empty() {
        let counts = counts(store, selection).await?;
        out.write_all(text(&counts, &letters, more.then_some(limit)).as_bytes())?;
    }
    out.flush()?;
    Ok(!letters.is_empty())
}

fn line(letter: &Letter) -> Line {
    let id = &letter.id;
    Line {
        letter: id.to_string(),
        source: id.source.to_string(),
        received_at: letter.received_at,
        error: letter.error.clone(),
        error_field: letter.error_field.clone(),
        detail: letter.detail.clone(),
        key: letter.key.clone(),
        payload_bytes: letter.payload_bytes,
        replays: replays_before(letter.replays_header.as_deref()),
        replayed: replayed(letter),
        trace_id: letter.trace_id.clone(),
    }
}

fn replayed(letter: &Letter) -> &'static str {
    match letter.latest_replay() {
        None => "no",
        Some(latest) if latest.has_place => "yes",
        Some(_) => "unfinished",
    }
}

fn text(counts: &[Count], letters: &[Letter], more_than: Option<u32>) -> String {
    let counts = counts.iter().map(|count| {
        let Count { error, error_field, letters, first, last } = count;
        let field = optional(error_field.as_deref().map(cut));
        [error.clone(), field, letters.to_string(), instant(*first), instant(*last)]
    });
    let counts = table(["error", "field", "letters", "first", "last"], counts);
    let letters = table(
        ["received at", "letter", "error", "field", "key", "bytes", "replays", "replayed"],
        letters.iter().map(cells),
    );
    let more = more_than.map(|limit| {
        format!("\nThese are the newest {limit}; there are more: raise --limit, or filter.\n")
    });
    format!("{counts}\n{letters}{}", more.unwrap_or_default())
}

fn cells(letter: &Letter) -> [String; 8] {
    [
        instant(letter.received_at),
        letter.id.to_string(),
        letter.error.clone(),
        optional(letter.error_field.as_deref().map(cut)),
        optional(letter.key.as_deref().map(|key| cut(&printable_bytes(key)))),
        letter.payload_bytes.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string()),
        replays_before(letter.replays_header.as_deref()).to_string(),
        replayed(letter).to_owned(),
    ]
}

/// A letter as a row of a table.
pub(super) fn summary(letter: &Letter) -> String {
    let field =
        letter.error_field.as_deref().map(|field| format!(" {}", cut(field))).unwrap_or_default();
    let payload = letter
        .payload_bytes
        .map_or_else(|| "a tombstone".to_owned(), |bytes| format!("{bytes} bytes"));
    let key = letter
        .key
        .as_deref()
        .map(|key| format!(", key {}", cut(&printable_bytes(key))))
        .unwrap_or_default();
    format!("{}{field}, {payload}{key}", letter.error)
}

/// A text of bounded length.
fn cut(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_or_hostile_is_cut_and_escaped() {
        assert_eq!(cut("account.id"), "account.id");
        assert_eq!(cut(&"红".repeat(100)), format!("{}…", "红".repeat(SHOWN_MAX)));
        assert_eq!(cut("\u{1b}[2J"), "\\u{1b}[2J");
    }
}
