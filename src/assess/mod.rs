//! Assess: how often, how fast and when the risk APIs are asked.
//!
//! [`CallScheduler`] is where claims wait: for a permit of their API, or for the time of their next
//! attempt. [`retry`], [`limit`], [`breaker`], [`budget`] and [`token`] are pure machines, and so
//! is the scheduler; [`http`] is the only file here that knows a socket. The invariants: a waiting
//! claim holds no permit and no connection; one API's queue never delays another's.

pub mod breaker;
pub mod budget;
pub mod egress;
pub mod exchange;
pub mod http;
pub mod limit;
pub mod permit;
mod queue;
pub mod reach;
pub mod retry;
mod scheduler;
pub mod token;

pub use queue::{ApiQueue, Ended, Waiting};
pub use scheduler::{CallScheduler, Next};

#[cfg(test)]
mod tests;
