//! Status: how running workers are, for a person at a terminal.
//!
//! Owns no figure of its own: it asks workers for `/readyz` and twice for `/metrics`, and says in
//! one screen what these mean. `asked` is the only file that knows a socket; reading, differences
//! and the screen are pure. The invariant: a worker is only read from, and nothing else is asked:
//! not Kafka, not Postgres.

mod addresses;
mod api;
mod asked;
mod command;
mod interval;
mod report;
mod samples;
mod screen;
#[cfg(test)]
mod snapshots;
mod worker;

pub use command::{StatusCommand, StatusError};
pub use report::End;
