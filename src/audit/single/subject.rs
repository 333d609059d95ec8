//! "What was decided about this person?" The tables hold only a hash of the person.

use serde::Serialize;

use super::claim::{cut, is_given, verdicts};
use super::missing_keys::{self, missing_keys};
use super::verdict_rows::{verdict_rows, verdict_table};
use crate::audit::period::Period;
use crate::audit::report::rows::{RowSet, Tabular};
use crate::audit::report::{End, Report, join_notes, there_are_more, with_note};
use crate::claim::SubjectKeys;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::Verdict;

/// The verdicts about one subject.
#[derive(Debug, Serialize)]
pub struct SubjectFile {
    /// The subject's hash under the key in use.
    pub subject: String,
    /// Its verdicts, latest first.
    pub verdicts: Vec<Verdict>,
    /// Whether there are more.
    pub more: bool,
    /// The number of keys that were not given and under which there may be more.
    pub missing_keys: u64,
}

/// Looks an account up by its hash under each key: its verdicts in a period, at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub async fn subject_file(
    store: &PostgresStore,
    keys: &SubjectKeys,
    (account_type, id): (&str, &str),
    period: Period,
    limit: u32,
) -> Result<SubjectFile, StoreError> {
    let subjects = keys.each(|key| key.subject(account_type, id));
    let query = verdicts(&format!(
        "where {} and decided_at >= $2 and decided_at < $3
        order by decided_at desc, claim_id limit $4",
        is_given("subject")
    ));
    let query = query.bind(&subjects).bind(period.from).bind(period.to);
    let mut verdicts = store.fetch(query.bind(i64::from(limit) + 1)).await?;
    let more = cut(&mut verdicts, limit);
    let subject = subjects.into_iter().next().unwrap_or_default();
    Ok(SubjectFile { subject, verdicts, more, missing_keys: missing_keys(store, keys).await? })
}

impl Report for SubjectFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty()
    }

    fn end(&self) -> End {
        End::of(self.found(), self.missing_keys)
    }

    fn text(&self) -> String {
        let text = if self.verdicts.is_empty() {
            format!("nothing was decided about subject {} in that time\n", self.subject)
        } else {
            verdict_table(&self.verdicts)
        };
        with_note(text, self.note())
    }

    fn note(&self) -> Option<String> {
        let more = self.more.then(|| there_are_more("latest", self.verdicts.len()));
        join_notes([more, missing_keys::note(self.missing_keys)])
    }
}

impl Tabular for SubjectFile {
    fn rows(&self) -> RowSet {
        verdict_rows(&self.verdicts)
    }
}
