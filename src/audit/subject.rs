//! "What did we decide about this person?", asked without the record holding who the person is.

use serde::Serialize;

use super::claim::verdicts;
use super::report::Report;
use super::rows::{RowSet, Tabular};
use super::verdict_rows::{verdict_rows, verdict_table};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::Verdict;

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
        verdict_table(&self.verdicts)
    }
}

impl Tabular for SubjectFile {
    fn rows(&self) -> RowSet {
        verdict_rows(&self.verdicts)
    }
}
