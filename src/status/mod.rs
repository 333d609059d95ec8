//! Status: shows the state of running workers, at a terminal or in a browser.
//!
//! Owns no figures. The command asks workers twice for `/livez`, `/readyz` and `/metrics`, and
//! shows on one screen what these mean. It asks neither Kafka nor Postgres. `asked` is its only
//! file that knows a socket; reading, differences and the screen are pure. `page` shows the same in
//! a browser, and decisions from Postgres. The invariant: workers and tables are only read.

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
