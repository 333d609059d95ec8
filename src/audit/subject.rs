//! "What did we decide about this person?", asked without the record holding who the person is.

use serde::Serialize;

use super::claim::{is_given, verdicts};
use super::period::Period;
use super::report::Report;
use super::rows::{RowSet, Tabular};
use super::verdict_rows::{verdict_rows, verdict_table};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::Verdict;

/// What was decided about one subject.
#[derive(Debug, Serialize)]
pub struct SubjectFile {
    /// The subject's hash under the key in use.
    pub subject: String,
    /// Its verdicts, latest first.
    pub verdicts: Vec<Verdict>,
}

/// Looks a subject up by its hash under each key, that in use first: what was decided in a period, at most so many verdicts.
///
/// # Errors
/// [`StoreError`].
pub async fn subject_file(
    store: &PostgresStore,
    subjects: Vec<String>,
    period: Period,
    limit: u32,
) -> Result<SubjectFile, StoreError> {
    let query = verdicts(&format!(
        "where {} and decided_at >= $2 and decided_at < $3
        order by decided_at desc, claim_id limit $4",
        is_given("subject")
    ));
    let query = query.bind(&subjects).bind(period.from).bind(period.to).bind(i64::from(limit));
    let verdicts = store.fetch(query).await?;
    let subject = subjects.into_iter().next().unwrap_or_default();
    Ok(SubjectFile { subject, verdicts })
}

impl Report for SubjectFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn text(&self) -> String {
        if self.verdicts.is_empty() {
            return format!("nothing was decided about subject {} in that time\n", self.subject);
        }
        verdict_table(&self.verdicts)
    }
}

impl Tabular for SubjectFile {
    fn rows(&self) -> RowSet {
        verdict_rows(&self.verdicts)
    }
}
