//! `claimgate dead-letters show`: one letter in full, and the history of its replays.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use super::DeadLetterError;
use super::address::{Address, ambiguous};
use super::journal::{ReplayRow, history};
use super::letters::at_place;
use crate::audit::shown::{
    block, instant, optional, printable, printable_bytes, printable_json, sheet, table,
};
use crate::audit::source::dead_letters;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{DeadLetterRow, LetterId};

/// A letter and its replays.
#[derive(Serialize)]
struct LetterFile {
    dead_letter: DeadLetterRow,
    replays: Vec<ReplayRow>,
}

/// How a letter is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    /// The exact bytes of the payload, and nothing else.
    Raw,
}

/// Shows a letter. Returns whether there is one.
pub(super) async fn show(
    store: &PostgresStore,
    address: &Address,
    form: Form,
    out: &mut impl Write,
) -> Result<bool, DeadLetterError> {
    let letters = at_place(store, address).await?;
    let [id] = letters.as_slice() else {
        if letters.is_empty() {
            return Ok(false);
        }
        return Err(DeadLetterError::Usage(format!("{address}: {}", ambiguous(letters.iter()))));
    };
    let found = dead_letters(store, &id.source).await?.into_iter().find(|letter| letter.id == *id);
    let Some(letter) = found else { return Ok(false) };
    match form {
        Form::Raw => {
            let tombstone =
                || DeadLetterError::Usage(format!("{id} is a tombstone: it has no payload"));
            out.write_all(&letter.payload.ok_or_else(tombstone)?)?;
        }
        Form::Json => {
            let file = LetterFile { replays: history(store, id).await?, dead_letter: letter };
            let json = serde_json::to_string(&file).map_err(std::io::Error::from)?;
            writeln!(out, "{}", printable_json(&json))?;
        }
        Form::Text => {
            let file = LetterFile { replays: history(store, id).await?, dead_letter: letter };
            out.write_all(file.text(id).as_bytes())?;
        }
    }
    out.flush()?;
    Ok(true)
}

impl LetterFile {
    fn text(&self, id: &LetterId) -> String {
        let letter = &self.dead_letter;
        let payload = letter.payload.as_deref();
        let bytes = payload.map_or_else(
            || "none: a tombstone".to_owned(),
            |payload| format!("{} bytes", payload.len()),
        );
        let mut text = sheet([
            ("Dead letter", id.to_string()),
            ("Error", format!("{}, field {}", letter.error, optional(letter.error_field.as_ref()))),
            ("Detail", letter.detail.clone()),
            ("Received", instant(letter.received_at)),
            ("Trace", letter.trace_id.clone()),
            ("Key", optional(letter.key.as_deref().map(printable_bytes))),
            ("Payload", bytes),
        ]);
        let headers = letter.headers.as_array().map(Vec::as_slice).unwrap_or_default();
        if !headers.is_empty() {
            text += &format!("\n{}", table(["header", "value"], headers.iter().map(header)));
        }
        if let Some(payload) = payload {
            text += &format!("\n{}\n", block(payload));
        }
        text += "\n";
        text += &self.history();
        text
    }

    fn history(&self) -> String {
        if self.replays.is_empty() {
            return "It was not replayed.\n".to_owned();
        }
        let rows = self.replays.iter().map(|replay| {
            let place = replay
                .place()
                .map_or_else(|| "not known yet".to_owned(), |place| place.to_string());
            [
                replay.number.to_string(),
                instant(replay.announced_at),
                replay.replayed_by.clone(),
                replay.reason.clone(),
                place,
                optional(replay.recorded_by.as_ref()),
            ]
        });
        table(["replay", "announced at", "by", "reason", "went to", "recorded by"], rows)
    }
}

fn header(header: &Value) -> [String; 2] {
    let text = |name: &str| header[name].as_str();
    let value = match (text("text"), text("base64")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(base64)) => format!("base64 {base64}"),
        (None, None) => "null".to_owned(),
    };
    [printable(text("name").unwrap_or_default()), value]
}
