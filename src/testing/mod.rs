//! Fakes of the outside systems, for this crate's tests and for those of its users (feature
//! `testing`).
//!
//! A fake keeps the promises of what it stands for: it passes the same contract suite
//! (`tests/it/store`, `tests/it/topic`). Its time is tokio's and its randomness is seeded, so that
//! a run on fakes alone can be repeated.

mod broker;
mod faults;
mod intake;
mod process;
mod publisher;
mod signal;
mod store;

pub use broker::{FakeBroker, Transaction};
pub use faults::{FaultProfile, InjectedFault};
pub use intake::{FakeIntake, Membership};
pub use process::Process;
pub use publisher::FakePublisher;
pub use store::{DeadLetter, FakeStore, RowFault, StoreFault};
