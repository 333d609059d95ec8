//! Outages: services that the worker needs go away and come back, and nothing is lost, repeated or
//! delayed.
//!
//! Each test is there twice: short, for the suite, and at its full length, `--ignored`:
//! `cargo test --all-features --test it -- --ignored --nocapture --test-threads=1 outages`

mod cluster;
mod ending;
mod isolation;
mod kafka;
mod postgres;
mod readiness;
mod silence;
mod world;

use std::time::Duration;

pub(crate) use world::{World, lag};

/// How soon after everything is back the first new decision has to come: 5 s. In the suite other
/// tests use the cores as well, so the test only finds a worker that does not recover. At full
/// length a test runs alone and measures the guarantee.
pub(crate) fn recovery_max() -> Duration {
    let alone = std::env::args().any(|argument| argument == "--ignored");
    Duration::from_secs(if alone { 5 } else { 30 })
}

/// `worker::UNRECORDED_MAX`: this many answers may wait for the store…
const UNRECORDED_MAX: u64 = 4_096;
/// …and this many calls of one API may be under way, by default.
const CONCURRENCY: u64 = 64;
