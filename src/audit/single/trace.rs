//! "What was decided in this trace?", asked with the id that a span, a log line or a decision has.

use serde::Serialize;

use super::claim::{cut, is_given, verdicts};
use super::verdict_rows::{verdict_rows, verdict_table};
use crate::audit::report::rows::{RowSet, Tabular};
use crate::audit::report::{Report, there_are_more, with_note};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::Verdict;

/// The verdicts of one trace.
#[derive(Debug, Serialize)]
pub struct TraceFile {
    /// The trace, 32 hex digits.
    pub trace_id: String,
    /// Its verdicts, latest first: a producer may have put many claims into one trace.
    pub verdicts: Vec<Verdict>,
    /// Whether there are more.
    pub more: bool,
}

/// Looks a trace up.
///
/// # Errors
/// [`StoreError`].
pub async fn trace_file(
    store: &PostgresStore,
    trace_id: String,
    limit: u32,
) -> Result<TraceFile, StoreError> {
    let rest =
        format!("where {} order by decided_at desc, claim_id limit $2", is_given("trace_id"));
    let query = verdicts(&rest).bind([&trace_id]).bind(i64::from(limit) + 1);
    let mut verdicts = store.fetch(query).await?;
    let more = cut(&mut verdicts, limit);
    Ok(TraceFile { trace_id, verdicts, more })
}

impl Report for TraceFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn text(&self) -> String {
        if self.verdicts.is_empty() {
            return format!(
                "nothing was decided in trace {}; its claim may have no verdict yet, or be a dead \
                 letter\n",
                self.trace_id
            );
        }
        with_note(verdict_table(&self.verdicts), self.note())
    }

    fn note(&self) -> Option<String> {
        self.more.then(|| there_are_more("latest", self.verdicts.len()))
    }
}

impl Tabular for TraceFile {
    fn rows(&self) -> RowSet {
        verdict_rows(&self.verdicts)
    }
}

/// Parses a trace id: 32 hex digits, in the form of the tables.
pub(in crate::audit) fn parse_trace_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a trace id is 32 hex digits: of 00-4bf9…-00f0…-01, a traceparent, the second part"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_in_either_case() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(parse_trace_id(&id.to_uppercase()).as_deref(), Ok(id));
        for wrong in ["", "4bf9", "g".repeat(32).as_str(), "00-4bf92f3577b34da6a3ce929d0e0e473-01"]
        {
            assert!(parse_trace_id(wrong).is_err_and(|said| said.contains("32")), "{wrong}");
        }
    }
}
