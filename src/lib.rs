//! claimgate stands between reward claims and the money they pay out.
//!
//! It reads claim events from Kafka, asks the matching risk API about each one, keeps the verdict and every raw answer in Postgres, and
//! publishes one decision per claim. The settlement pipeline pays from the decisions and must never miss or double one; auditors ask
//! Postgres why a claim was refused; operators follow it by OpenTelemetry.
//!
//! # A claim's journey
//!
//! ```text
//!  Kafka                                        risk APIs (Tencent Cloud, WeChat)
//!    │ claim events                                     ▲  │ answers
//!    ▼                                                  │  ▼
//!  intake ──► ledger ──► recall ──► lanes ──► desk ──► assess        every slow step is a task;
//!  (thread)   ticket     decided    one at    permits,    │          the worker's loop owns the rest
//!                        before?    a time    retries     ▼
//!    ▲                      │       a subject           batch
//!    │                      └──────────────────────────►  │
//!    │ pause                                              ▼
//!  ledger ◄── confirm ◄── publish (one Kafka transaction) ◄── record (one Postgres transaction)
//!                         decisions, dead letters, offsets    verdicts, calls, events, dead letters
//! ```
//!
//! # In reading order
//!
//! 1. [`worker`]: one loop that owns everything that changes. Start here.
//! 2. [`claim`] and [`decision`]: what comes in, what goes out, and the rule between them. Pure.
//! 3. [`intake`]: the ledger that cannot believe what Kafka has not acknowledged, the offset map, the lanes.
//! 4. [`risk`]: the APIs, one file each; [`assess`]: how often, how fast and when they are asked.
//! 5. [`outbox`]: `Sealed` → `Recorded` → `Published`, each the only door to the next.
//! 6. [`service`] wires the real Kafka, Postgres and HTTP to the worker; [`config`], [`cli`] and [`telemetry`] do what they say.
//! 7. [`dead_letters`] shows what is no claim, and sends it once more when it is mended.
//! 8. [`audit`] answers auditors; [`simulator`] stands in for the risk APIs; [`demo`] shows it all on one machine.
//!
//! # Glossary
//!
//! One word per fact, the same in code, SQL, spans and configuration.
//!
//! | word | what it is |
//! | --- | --- |
//! | record | what Kafka delivers; an *event* is its payload |
//! | claim | an event that is well-formed; any other becomes a *dead letter* |
//! | ticket | the right and the duty to finish one record; it ends once |
//! | watermark | the offset below which every record of a partition is done |
//! | offset map | which records beyond the watermark are done; it travels in the commit's metadata |
//! | subject | account type and id; the claims of one subject go one at a time, through a *lane* |
//! | attempt | one question to a risk API; a *call* is its row |
//! | reading | what an answer says: verdict, transient, refused, configuration |
//! | finding | the usable content of a good answer: a risk level, a captcha, a ticket's validity |
//! | verdict | what was decided about a claim, with provenance: a row; the first one recorded wins |
//! | decision | approve, challenge, review or reject; also the event that says so |
//! | disposition | how a record ended: assessed, recalled, duplicate, quarantined |
//! | recall | to look up whether a claim has a verdict, before anybody is asked |
//! | replay | a dead letter's event sent to the input topic once more; its *number* counts the event's replays, its *place* is where it went |
//! | flood | so many malformed events that intake pauses and takes on *probes* only |
//! | flush | one batch's way: record, publish, confirm |
//!
//! # The promises
//!
//! 1. Every well-formed claim gets exactly one decision, every other event exactly one dead letter, for a `read_committed` consumer, through
//!    SIGKILL and failure of broker, database and APIs.
//! 2. A verdict is written before its decision is visible, once per claim id.
//! 3. Every answer of a risk API is kept byte for byte with the request that caused it, secrets removed.
//! 4. A claim already decided is never sent to a risk API again.
//! 5. One sick API does not slow the others, and none is asked faster than its bounds.
//! 6. Claims of one subject are assessed one at a time, in order.

pub mod assess;
pub mod audit;
pub mod claim;
pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod decision;
pub mod demo;
pub mod findings;
pub mod intake;
pub mod kafka;
pub mod outbox;
pub mod risk;
pub mod service;
pub mod simulator;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
pub mod worker;
