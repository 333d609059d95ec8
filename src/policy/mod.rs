//! `claimgate policy …`: shows the policy in force, and tests a policy by examples before it is in
//! force.
//!
//! Pure. It uses the worker's own code: [`crate::decision::Policy`] decides each example, and the
//! API's own reader reads the answer. This module only compares. The invariant: an example that
//! tests nothing is refused.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::decision::Policy;
use crate::risk::Registry;

mod case;
mod cases;
mod shadow;
mod show;
mod trial;

pub use case::Case;
pub use cases::cases;
pub use shadow::{Settings, Shadow};
pub use trial::{Trial, try_cases};

/// Show the policy in force, or test it.
#[derive(Debug, Args)]
pub struct PolicyCommand {
    /// The policy of this configuration file, in place of the one in force
    #[arg(long, global = true, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The policy in shadow: that of [policy.shadow]
    #[arg(long, global = true)]
    shadow: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which level of each API leads to which decision, and the effect of risk types
    Show {
        /// Answer in JSON, one document
        #[arg(long)]
        json: bool,
    },
    /// Check that the policy decides the examples of a file as expected
    Test {
        /// A TOML file with a [[case]] for each example, such as config/policy-tests.toml
        file: PathBuf,
    },
}

impl PolicyCommand {
    /// The configuration with the policy, if it is not the one in force.
    pub fn other(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// Whether the policy in shadow is meant.
    pub fn is_of_shadow(&self) -> bool {
        self.shadow
    }

    /// The file of examples to test the policy by.
    pub fn examples(&self) -> Option<&Path> {
        match &self.action {
            Action::Test { file } => Some(file),
            Action::Show { .. } => None,
        }
    }

    /// Writes the policy in the form that was asked for, and only the version of the one in
    /// `shadow`.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn show(
        &self,
        registry: &Registry,
        policy: &Policy,
        shadow: Option<&Policy>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let json = matches!(self.action, Action::Show { json: true });
        show::write(registry, (policy, shadow), json, out)
    }
}

#[cfg(test)]
mod tests;
