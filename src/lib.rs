//! A Kafka worker that has reward claims assessed by a risk API and publishes one decision per
//! claim.
//!
//! # A claim's journey
//!
//! 1. [`intake`] reads a *record* from Kafka. The ledger gives it a *ticket*: the duty to finish it
//!    once. Tickets end in any order. A commit names the first offset that is not done; its
//!    metadata, the *offset map*, lists the offsets beyond it that are done.
//! 2. [`claim`] parses the record's event. An event that is not a valid claim becomes a *dead
//!    letter*.
//! 3. [`outbox`] looks the claim up in Postgres (*recall*). A claim that has a *verdict* (the row
//!    that says what was decided and why) is not assessed again.
//! 4. The worker takes the claims of one *subject* (account type and id) one at a time: they wait
//!    in a *lane*.
//! 5. [`assess`] schedules the call: each API has limits, a retry budget and a circuit breaker.
//!    [`risk`] writes the request and reads the answer, one file for each API. A transient error is
//!    retried. A claim that stays without an answer is *deferred*: it goes to the retry topic and
//!    is read again later.
//! 6. [`decision`] applies the policy: approve, challenge, review or reject.
//! 7. [`outbox`] writes a batch of verdicts to Postgres in one transaction, under a *seal*: a hash
//!    by which auditors find rows that were changed later. Then it publishes the decisions to Kafka
//!    in one transaction with the offsets: `Closed` → `Recorded` → `Published`. Then the tickets
//!    end.
//!
//! [`worker`] is the loop that runs all of it. Read it next.
//!
//! # Around the worker
//!
//! [`schema`] has the columns and rows of every table, once for all who write or read them.
//! [`service`] connects the worker to the real Kafka, Postgres and HTTP. [`cli`] reads the command
//! line, [`config`] the settings; [`telemetry`] makes log lines, metrics and spans, and serves the
//! endpoints. [`dead_letters`] lists, shows and replays dead letters; [`audit`] answers auditors,
//! and lets people revise decisions; [`status`] shows operators how workers are; [`policy`] tests a
//! policy before it is put in force. Two more packages are not part of the worker:
//! `crates/simulator` stands in for the risk APIs, `crates/demo` runs everything on one machine.

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
