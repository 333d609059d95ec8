//! Evidence that cannot be decrypted here: its key was not given, or the row was altered.

use serde::Serialize;

use crate::audit::report::shown::counted;

/// The rows that cannot be decrypted. They are passed over, so that one of them ends no question
/// about others.
#[derive(Debug, Default, Serialize)]
pub struct Undecryptable {
    /// How many there are.
    pub rows: u64,
    /// Why the first one cannot be.
    pub why: Option<String>,
}

impl Undecryptable {
    pub(in crate::audit) fn add(&mut self, why: String) {
        self.rows += 1;
        if self.why.is_none() {
            self.why = Some(why);
        }
    }

    /// The sentence about what an answer may lack because of that.
    pub(in crate::audit) fn note(&self, thing: &str) -> Option<String> {
        let why = self.why.as_ref()?;
        let rows = counted(self.rows, thing);
        Some(format!("what could not be decrypted was passed over: {rows}; {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_told_and_every_row_counted() {
        let mut rows = Undecryptable::default();
        assert_eq!(rows.note("event"), None);
        for why in ["no such key", "altered"] {
            rows.add(why.to_owned());
        }
        let note = rows.note("event").expect("a note");
        assert_eq!(note, "what could not be decrypted was passed over: 2 events; no such key");
    }
}
