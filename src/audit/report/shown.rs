//! Formats values for a terminal, without control characters.

use comfy_table::{Table, presets};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::decision::Reason;

/// A text that is safe for a terminal: an API's answer could hold escape sequences.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            other if other.is_control() || turns(other) => shown.extend(other.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

/// The same in one line, so that a producer's text cannot begin a line that looks like ours.
pub(crate) fn printable_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// JSON as a terminal may get it: it need not escape what stands above U+001F. All of that is in
/// texts, where an escape says the same.
pub(crate) fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if character > '~' && (character.is_control() || turns(character)) {
            shown += &format!("\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character changes the direction of writing: the text behind it on the line, also in
/// other cells, would look different.
fn turns(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&character)
        || ('\u{2066}'..='\u{2069}').contains(&character)
}

/// Bytes as text: bytes that are not UTF-8 are escaped.
pub(crate) fn printable_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => printable(text),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// What a producer or an API sent, with its own lines: indented, so that none looks like ours.
pub(crate) fn block(bytes: &[u8]) -> String {
    format!("  {}", printable_bytes(bytes).replace('\n', "\n  "))
}

/// A point in time, UTC, to the millisecond.
pub(crate) fn instant(time: OffsetDateTime) -> String {
    let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

/// A value that may be missing.
pub(crate) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// How many there are of something: `1 attempt`, `2 attempts`.
pub(crate) fn counted(count: impl ToString, thing: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Reasons in one line: `level 2; risk_type 101 batch_operation (behaviour)`.
pub(crate) fn reasons(reasons: &[Reason]) -> String {
    let line: Vec<String> = reasons.iter().map(reason).collect();
    line.join("; ")
}

/// A reason: `risk_type 101 batch_operation (behaviour)`.
pub(crate) fn reason(reason: &Reason) -> String {
    let value = reason.value.map(|value| format!(" {value}")).unwrap_or_default();
    let name = reason.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let group = reason.group.as_ref().map(|group| format!(" ({group})")).unwrap_or_default();
    printable(&format!("{}{value}{name}{group}", reason.code))
}

/// A table that can be pasted into a ticket.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    grid(header.map(str::to_owned).into(), rows.into_iter().map(Vec::from))
}

/// The same for columns that are known only at run time.
pub(crate) fn grid(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable_line(cell)));
    }
    format!("{table}\n")
}

/// Names and values below each other.
pub(crate) fn sheet<const N: usize>(lines: [(&str, String); N]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line =
        |(name, value): &(&str, String)| format!("{name:width$}  {}\n", printable_line(value));
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shown_speaks_to_the_terminal() {
        assert_eq!(printable("红包\u{1b}[2J\r\u{9b}1m\n"), "红包\\u{1b}[2J\\r\\u{9b}1m\n");
        assert_eq!(printable_bytes(b"a\xff\x1b"), "a\\xff\\x1b");
        assert_eq!(block(b"{}\n\nCall 1\r\n"), "  {}\n  \n  Call 1\\r\n  ");
        let turned = "\u{202e}evorppa\u{2069} a\u{200f}é";
        assert_eq!(printable(turned), "\\u{202e}evorppa\\u{2069} a\\u{200f}é");
        let sheet = sheet([("Claim", "x\nDecision  approve".to_owned())]);
        assert_eq!(sheet, "Claim  x Decision  approve\n");
        let table = table(["a"], [["x\u{1b}]0;y\u{7}\nz".to_owned()]]);
        assert!(!table.contains(['\u{1b}', '\u{7}']) && table.lines().count() == 3, "{table}");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "time")), ["0 times", "1 time", "2 times"]);
    }

    #[test]
    fn json_speaks_to_no_terminal_and_says_the_same() {
        let text = "红包\u{1b}[2J\u{9b}1m\u{7f}\u{202e}evorppa~é\n";
        let value = serde_json::json!({ "text": text, text: [1] });
        let shown = printable_json(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(shown.contains("红包\\u001b[2J\\u009b1m\\u007f\\u202eevorppa~é\\n"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\u{202e}']), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON still");
        assert_eq!(read, value);
    }

    #[test]
    fn a_reason_is_one_line() {
        let typed = Reason {
            group: Some("behaviour".to_owned()),
            ..Reason::new("risk_type", Some(101), Some("batch_operation"))
        };
        let all = [Reason::new("level", Some(2), None), typed, Reason::new("captcha", None, None)];
        assert_eq!(reasons(&all), "level 2; risk_type 101 batch_operation (behaviour); captcha");
    }
}
