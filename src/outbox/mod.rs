//! Outbox: writes the outcome of each record to Postgres, then publishes it to Kafka.
//!
//! A batch passes three types, [`Closed`] → [`Recorded`] → [`Published`], and only a value of one
//! can make a value of the next. So nothing is published that is not recorded, and no ticket ends
//! whose outcome is not published. [`batch`] and [`message`] are pure; [`postgres`], [`producer`]
//! and `commands` are the only files here that know an outside system.

use crate::claim::{DeadLetterReason, EventError};
use crate::decision::Source;
use crate::intake::Ticket;
use crate::intake::deferral::Deferral;
use crate::schema::Verdict;

pub mod batch;
pub(crate) mod commands;
pub mod message;
mod ports;
pub mod postgres;
pub mod producer;
mod stages;

pub use batch::Batch;
pub use ports::{PublishError, Publisher, Recording, Store, StoreError};
pub use stages::{Closed, Published, Recorded};

pub use crate::intake::Received;
pub use crate::schema::{Call, TokenExchange};

/// The outcome of a record. Every record that was taken on ends with exactly one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordOutcome {
    /// Decided now, from a risk API's answer, or because no API answered.
    Decided(Box<Verdict>),
    /// Decided before, from this very record: a worker recorded the verdict and ended before it
    /// published the decision.
    Recalled(Box<Verdict>),
    /// Decided before, from another record with the same content. `worker.on_duplicate` says
    /// whether its decision is published again.
    Duplicate(Box<Verdict>),
    /// No answer yet: the claim goes to the retry topic, and is read again later.
    Deferred(Deferral),
    /// Not a valid claim: the record becomes a dead letter.
    DeadLettered(DeadLetterReason),
}

impl RecordOutcome {
    /// The outcome of a record whose claim has a verdict already (`schemas/claim.v1.json`).
    pub fn of_known(verdict: Verdict, source: &Source, fingerprint: &[u8; 32]) -> Self {
        // The source does not matter here: a topic that was created again counts from 0 again, so
        // another claim may have had this record's offset.
        if verdict.fingerprint == *fingerprint {
            Self::of_same(verdict, source)
        } else {
            let detail = format!(
                "claim id {:?} was used before, with other content, by {}",
                verdict.claim_id, verdict.source
            );
            Self::DeadLettered(DeadLetterReason::field(
                EventError::ClaimIdConflict,
                "claim_id",
                detail,
            ))
        }
    }

    /// The outcome of a record whose claim has a verdict already, from an event with the same
    /// content.
    pub fn of_same(verdict: Verdict, source: &Source) -> Self {
        if verdict.source == *source {
            Self::Recalled(Box::new(verdict))
        } else {
            Self::Duplicate(Box::new(verdict))
        }
    }

    /// The verdict of the record's claim, where the claim has one.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Decided(verdict) | Self::Recalled(verdict) | Self::Duplicate(verdict) => {
                Some(verdict)
            }
            Self::Deferred(_) | Self::DeadLettered(_) => None,
        }
    }
}

/// A record with its outcome.
#[derive(Debug)]
pub struct Completed {
    /// The record's ticket.
    pub ticket: Ticket,
    /// The record.
    pub received: Received,
    /// The claim's id, where the record is a claim.
    pub claim_id: Option<String>,
    /// Its outcome.
    pub outcome: RecordOutcome,
}
