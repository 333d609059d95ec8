//! A Kafka worker that has reward claims assessed by a risk API and publishes one decision per
//! claim.
//!
//! # A claim's journey
//!
//! 1. [`intake`] reads a *record* from Kafka. The ledger gives it a *ticket*: the duty to finish it
//!    once. Offsets are committed when tickets end, in any order: what is done beyond the committed
//!    offset travels in the commit's metadata, the *offset map*.
//! 2. [`claim`] parses the event. One that is no claim becomes a *dead letter*.
//! 3. [`outbox`] looks the claim up in Postgres (*recall*). One with a *verdict* (the row that says
//!    what was decided and why) is not assessed again.
//! 4. Claims of one *subject* (account type and id) go one at a time, through a *lane*.
//! 5. [`assess`] schedules the call: limits, retry budget and circuit breaker by API. [`risk`]
//!    writes the request and reads the answer, one file for each API. A transient error is retried;
//!    a claim that takes long is *deferred*: it leaves by the retry topic and comes back.
//! 6. [`decision`] applies the policy: approve, challenge, review or reject.
//! 7. [`outbox`] writes a batch to Postgres under a *seal*, a hash by which auditors know its rows
//!    again, then publishes it to Kafka together with the offsets, each in one transaction:
//!    `Closed` → `Recorded` → `Published`. Then its tickets end.
//!
//! [`worker`] is the loop that runs all of it. Read it next.
//!
//! # Around the worker
//!
//! [`schema`] has the columns and rows of every table, once for all who write or read them.
//! [`service`] connects the worker to the real Kafka, Postgres and HTTP. [`cli`] reads the command
//! line, [`config`] the settings; [`telemetry`] makes log lines, metrics and spans, and serves the
//! endpoints. [`dead_letters`] lists, shows and replays dead letters; [`audit`] answers auditors,
//! and lets people decide; [`status`] shows operators how workers are; [`policy`] tests a policy
//! before it decides. Packages of their own, and no part of the worker: `crates/simulator` stands
//! in for the risk APIs, `crates/demo` shows it all on one machine.

pub mod assess;
pub mod audit;
pub mod claim;
pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod decision;
pub mod findings;
pub mod intake;
pub mod kafka;
pub mod live;
pub mod outbox;
pub mod policy;
pub mod risk;
pub mod schema;
pub mod service;
pub mod status;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
mod unix_time;
mod words;
pub mod worker;
