//! Assess: when the risk APIs are called, and how often.
//!
//! Claims wait in the [`CallScheduler`] for a permit of their API, or for the time of their next
//! attempt. A permit depends on the API's [`limit`], its circuit [`breaker`] and, for further
//! attempts, its retry [`budget`]. [`retry`] decides what follows from a result; [`token`] says
//! when an access token is to be fetched. All of these are pure machines. [`http`] sends the
//! requests and is the only file here that knows a socket.
//!
//! The invariants: a waiting claim holds no permit and no connection; the queue of one API never
//! delays another's. (With HTTP/2, calls under way share the connections of their server.)

pub mod breaker;
pub mod budget;
pub mod connect;
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
