//! Outages: what the worker needs goes away and comes back under it, and nothing is lost, repeated
//! or waited for.
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

/// How soon after everything is back the first new decision has to be there: 5 s. In the suite the
/// cores have other tests to do as well, and what is looked for is a worker that does not come
/// back; at full length a test is alone, and it is the promise that is measured.
pub(crate) fn recovery_max() -> Duration {
    let alone = std::env::args().any(|argument| argument == "--ignored");
    Duration::from_secs(if alone { 5 } else { 30 })
}

/// `worker::UNRECORDED_MAX`: so many answers may wait for the store…
const UNRECORDED_MAX: u64 = 4_096;
/// …and so many calls of one API may be under way, by default.
const CONCURRENCY: u64 = 64;
