//! `subject_keys`: under which keys persons were hashed.

use super::table::table;

/// A key's id, on its way into `subject_keys`.
#[derive(Debug, Clone, Copy)]
pub struct NewSubjectKey<'a> {
    /// [`crate::claim::SubjectKey::id`].
    pub id: &'a str,
}

table! {
    /// Under which keys persons were hashed.
    SUBJECT_KEYS: "subject_keys", row: NewSubjectKey<'a> {
        id: "text" = row.id,
    }
}
