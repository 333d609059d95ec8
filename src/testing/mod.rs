//! Fakes of the outside systems, for the tests of this crate and of its users (feature `testing`).
//!
//! A fake passes the same contract tests as the real system (`tests/it/store`, `tests/it/topic`).
//! It uses tokio's time and seeded randomness, so that a run with only fakes can be repeated.

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
