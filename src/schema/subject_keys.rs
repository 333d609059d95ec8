//! `subject_keys`: the ids of the keys under which persons were hashed.

use super::table::table;

/// A key's id, before it is written into `subject_keys`.
#[derive(Debug, Clone, Copy)]
pub struct NewSubjectKey<'a> {
    /// [`crate::claim::SubjectKey::id`].
    pub id: &'a str,
}

table! {
    /// The ids of the keys under which persons were hashed.
    SUBJECT_KEYS: "subject_keys", row: NewSubjectKey<'a> {
        id: "text" = row.id,
    }
}
