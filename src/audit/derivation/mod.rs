//! Checks whether verdicts follow from the kept evidence.
//!
//! [`mod@derive`] reads a kept answer again and applies the policy again. [`verify`] does so for
//! one claim, [`rederive`] for all of a period.

mod deciding;
pub(super) mod derive;
pub(super) mod rederivation;
pub(super) mod rederive;
pub(super) mod rows;
pub(super) mod verify;
