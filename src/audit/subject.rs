//! "What did we decide about this person?", asked without the record holding who the person is.

use serde::Serialize;

use super::claim::verdicts;
use super::report::Report;
use super::shown::{instant, reasons, table};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{Verdict, utc};

/// What was decided about one subject.
#[derive(Debug, Serialize)]
pub struct SubjectFile {
    /// The subject's hash.
    pub subject: String,
    /// Its verdicts, latest first.
    pub verdicts: Vec<Verdict>,
}

/// Looks a subject up by its hash.
///
/// # Errors
/// [`StoreError`].
pub async fn subject_file(
    store: &PostgresStore,
    subject: String,
    limit: u32,
) -> Result<SubjectFile, StoreError> {
    let query = verdicts("where subject = $1 order by decided_at desc, claim_id limit $2");
    let verdicts = store.fetch(query.bind(&subject).bind(i64::from(limit))).await?;
    Ok(SubjectFile { subject, verdicts })
}

impl Report for SubjectFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn text(&self) -> String {
        if self.verdicts.is_empty() {
            return format!("nothing was decided about subject {}\n", self.subject);
        }
        table(["decided at", "claim", "kind", "decision", "why"], self.verdicts.iter().map(cells))
    }
}

/// A verdict in one line.
pub(super) fn cells(verdict: &Verdict) -> [String; 5] {
    [
        instant(utc(verdict.decided_at)),
        verdict.claim_id.clone(),
        verdict.kind.clone(),
        verdict.decision.as_str().to_owned(),
        reasons(&verdict.reasons),
    ]
}
