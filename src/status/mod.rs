//! Status: how running workers are, for a person at a terminal or with a browser.
//!
//! Owns no figure of its own: the command asks workers twice for `/livez`, `/readyz` and
//! `/metrics`, and says in one screen what these mean. `asked` is its only file that knows a
//! socket; reading, differences and the screen are pure. The command asks nothing else: not Kafka,
//! not Postgres. `page` says the same in a browser, and shows decisions from Postgres. The
//! invariant: workers and tables are only read from.

mod addresses;
mod api;
mod asked;
mod command;
mod interval;
mod page;
mod report;
mod samples;
mod screen;
#[cfg(test)]
mod snapshots;
mod worker;

pub use command::{StatusCommand, StatusError};
pub use page::StatusPage;
pub use report::End;
