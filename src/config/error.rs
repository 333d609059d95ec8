//! What is wrong with a configuration: every fault, and one line for those who want one. Pure.

use crate::findings::Finding;

/// The place of a fault that belongs to no key.
pub(super) const WHOLE: &str = "configuration";

/// What is wrong with the configuration: at least one fault.
#[derive(Debug)]
pub struct ConfigError(pub(super) Vec<Finding>);

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    /// One line with the first fault, which says how many more there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{WHOLE}: ")?;
        if let Some(first) = self.0.first() {
            if first.place != WHOLE {
                write!(f, "{}: ", first.place)?;
            }
            f.write_str(&first.sentence())?;
        }
        match self.0.len().saturating_sub(1) {
            0 => Ok(()),
            more => write!(f, " (and {more} more: `claimgate check --offline` names them all)"),
        }
    }
}

impl ConfigError {
    /// Every fault, with its key.
    pub fn into_findings(self) -> Vec<Finding> {
        self.0
    }
}
