//! Fakes of the outside systems, for this crate's tests and for those of its users (feature `testing`).
//!
//! A fake keeps the promises of what it stands for: it passes the same contract suite (`tests/it/store`).

mod store;

pub use store::{DeadLetter, FakeStore, StoreFault};
