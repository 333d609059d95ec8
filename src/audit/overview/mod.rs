//! Questions about many claims at once: counts and lists of a period, and claims that are open now.
//!
//! One file per question. [`search`] has two more: its criteria ([`wanted`]), and the pages of
//! verdicts that it reads ([`search_pages`]).

pub(super) mod calls;
pub(super) mod conflicts;
pub(super) mod decisions;
pub(super) mod deferred;
pub(super) mod export;
pub(super) mod policies;
pub(super) mod search;
pub(super) mod search_pages;
pub(super) mod shadow;
pub(super) mod unassessed;
pub(super) mod undecided;
pub(super) mod wanted;
