//! Commands that change something: what is kept ([`retention`]), what readers get once more
//! ([`republish`]), and decisions that a person revises ([`revising`]).
//!
//! To erase a person's data belongs to [`super::seals`], because the seals have to account for it.

pub(super) mod republish;
pub mod retention;
pub(super) mod revising;
