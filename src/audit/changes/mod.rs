//! Commands that change something: [`retention`] deletes old evidence, [`republish`] publishes
//! decisions again, [`revising`] lets a person revise a decision.
//!
//! Erasing a person's data is in [`super::seals`], because the seals have to account for it.

pub(super) mod republish;
pub mod retention;
pub(super) mod revising;
