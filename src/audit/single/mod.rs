//! Questions about one thing: a claim, a record of the input topic, a person, a trace.
//!
//! [`claim`] reads everything that is kept about one claim. [`story`] tells it in the order in
//! which it happened ([`steps`]), also for a claim that has no verdict yet ([`waiting`]) or was a
//! dead letter ([`mentions`]).

pub(super) mod claim;
pub(super) mod mentions;
pub(super) mod missing_keys;
pub(crate) mod source;
pub(super) mod steps;
pub(super) mod story;
pub(super) mod subject;
pub(super) mod trace;
pub(super) mod undecryptable;
pub(super) mod verdict_rows;
pub(super) mod waiting;
