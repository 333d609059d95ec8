//! What is wrong with a configuration: all faults, and one line where only one is wanted. Pure.

use crate::findings::Finding;

/// The key of a fault that belongs to no key.
pub(super) const WHOLE: &str = "configuration";

/// What is wrong with the configuration: at least one fault.
#[derive(Debug)]
pub struct ConfigError(pub(super) Vec<Finding>);

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    /// One line with the first fault and the number of further faults.
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
