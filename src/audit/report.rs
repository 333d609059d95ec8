//! What a question is answered with, in text or JSON.

use serde::Serialize;

/// How a question ended; the command's exit code says so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With what was asked for.
    Found,
    /// Nothing of the kind is in the record.
    Nothing,
    /// What is kept does not lead to what was decided.
    Disagrees,
    /// Whether it does cannot be found out.
    Unverifiable,
}

/// An answer.
pub trait Report: Serialize {
    /// Whether it holds what was asked for.
    fn found(&self) -> bool;
    /// How the question ended.
    fn end(&self) -> End {
        if self.found() { End::Found } else { End::Nothing }
    }
    /// The answer for a terminal.
    fn text(&self) -> String;
}
