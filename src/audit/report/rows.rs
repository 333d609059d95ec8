//! An answer as rows: the same rows for a table on a terminal and for CSV.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::shown::{grid, instant, reasons};
use crate::decision::Reason;

/// An answer that consists of rows, or whose main part does.
pub trait Tabular {
    /// Its main rows.
    fn rows(&self) -> RowSet;
}

/// Named columns, and a value in each of them for every row.
#[derive(Debug)]
pub struct RowSet {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A value for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// `None` is NULL.
    exact: Option<String>,
    /// `None` if people get the exact value.
    shown: Option<String>,
}

impl Cell {
    /// No value.
    pub(in crate::audit) const NULL: Self = Self { exact: None, shown: None };

    /// A value that is the same for programs and people.
    pub(in crate::audit) fn of(value: impl ToString) -> Self {
        Self { exact: Some(value.to_string()), shown: None }
    }

    /// A value that may be missing.
    pub(in crate::audit) fn optional(value: Option<impl ToString>) -> Self {
        value.map_or(Self::NULL, Self::of)
    }

    /// A value that people get in another form.
    pub(in crate::audit) fn shown(exact: impl ToString, shown: String) -> Self {
        Self { exact: Some(exact.to_string()), shown: Some(shown) }
    }

    /// A point in time: RFC 3339 with all digits; people get milliseconds.
    pub(in crate::audit) fn time(time: OffsetDateTime) -> Self {
        Self::shown(time.format(&Rfc3339).unwrap_or_else(|_| time.to_string()), instant(time))
    }

    /// Reasons: the JSON of the column; people get one line.
    pub(in crate::audit) fn reasons(of: &[Reason]) -> Self {
        Self::shown(json(of), reasons(of))
    }

    /// Bytes in two cells, one of which is NULL: the text, or base64 if they are not UTF-8.
    pub(in crate::audit) fn bytes(bytes: Option<&[u8]>) -> [Self; 2] {
        use base64::prelude::{BASE64_STANDARD, Engine};
        match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
            None => [Self::NULL, Self::NULL],
            Some((_, Ok(text))) => [Self::of(text), Self::NULL],
            Some((bytes, Err(_))) => [Self::NULL, Self::of(BASE64_STANDARD.encode(bytes))],
        }
    }

    fn for_people(&self) -> &str {
        self.shown.as_ref().or(self.exact.as_ref()).map_or("–", String::as_str)
    }
}

/// A value as JSON in one line.
pub(in crate::audit) fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl RowSet {
    /// Rows that have a value in each of these columns.
    pub(in crate::audit) fn new<const N: usize>(
        columns: [&'static str; N],
        rows: impl IntoIterator<Item = [Cell; N]>,
    ) -> Self {
        Self::of(columns.into(), rows.into_iter().map(Vec::from).collect())
    }

    /// The same for columns that are put together at run time.
    pub(in crate::audit) fn of(columns: Vec<&'static str>, rows: Vec<Vec<Cell>>) -> Self {
        Self { columns, rows }
    }

    /// All columns, for a terminal.
    pub fn table(&self) -> String {
        self.table_of(&self.columns)
    }

    /// These columns of it, for a terminal.
    pub(in crate::audit) fn table_of(&self, columns: &[&str]) -> String {
        let places: Vec<usize> = columns
            .iter()
            .filter_map(|name| self.columns.iter().position(|column| column == name))
            .collect();
        let header = places.iter().map(|&place| self.columns[place].replace('_', " "));
        let rows = self.rows.iter().map(|row| {
            let cells = places.iter().filter_map(|&place| row.get(place));
            cells.map(|cell| cell.for_people().to_owned()).collect()
        });
        grid(header.collect(), rows)
    }

    /// All columns as CSV (RFC 4180): the names first, values exact, NULL as an empty field.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer
                .write_record(row.iter().map(|cell| cell.exact.as_deref().unwrap_or_default()))?;
        }
        writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn rows() -> RowSet {
        let columns = ["decided_at", "claim_id", "level", "reasons"];
        let at = datetime!(2026-03-01 09:00:00.123456 UTC);
        let reasons = Cell::reasons(&[Reason::new("level", Some(2), None)]);
        let first = [Cell::time(at), Cell::of("=1+1,\"红\"\r\n\u{1b}"), Cell::NULL, reasons];
        let second = [Cell::time(at), Cell::of(""), Cell::optional(Some(2)), Cell::of("x")];
        RowSet::new(columns, [first, second])
    }

    #[test]
    fn csv_holds_the_exact_values() {
        let mut out = Vec::new();
        rows().write_csv(&mut out).expect("a buffer takes all");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            concat!(
                "decided_at,claim_id,level,reasons\n",
                "2026-03-01T09:00:00.123456Z,\"=1+1,\"\"红\"\"\r\n\u{1b}\",,",
                "\"[{\"\"code\"\":\"\"level\"\",\"\"value\"\":2}]\"\n",
                "2026-03-01T09:00:00.123456Z,,2,x\n",
            )
        );
    }

    #[test]
    fn a_table_shows_people_the_columns_that_are_asked_for() {
        let table = rows().table_of(&["reasons", "level", "decided_at"]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "| reasons | level | decided at               |");
        assert_eq!(lines[2], "| level 2 | –     | 2026-03-01T09:00:00.123Z |");
        assert!(!rows().table().contains('\u{1b}'));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        assert_eq!(Cell::bytes(Some(b"a")), [Cell::of("a"), Cell::NULL]);
        assert_eq!(Cell::bytes(Some(b"\xff")), [Cell::NULL, Cell::of("/w==")]);
        assert_eq!(Cell::bytes(None), [Cell::NULL, Cell::NULL]);
    }
}
