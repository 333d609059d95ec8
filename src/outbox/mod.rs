//! Outbox: what became of each record goes to Postgres, then to Kafka, then back to the ledger.
//!
//! [`Sealed`] → [`Recorded`] → [`Published`]: each is the only door to the next, so that nothing
//! can be published that is not recorded, and nothing confirmed that is not published. [`batch`]
//! and [`message`] are pure; [`postgres`] and [`producer`] are the only files here that know an
//! outside system.

use std::collections::HashMap;
use std::future::Future;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::claim::DeadLetterReason;
use crate::decision::{Source, Verdict};
use crate::intake::deferral::Deferral;
use crate::intake::{Commit, Headers, Ledger, Ticket, event_bytes};
use crate::trace::TraceContext;

pub mod batch;
pub mod message;
pub mod postgres;
pub mod producer;

pub use batch::Batch;

/// An event as it was received, with what identifies it.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Where it stands in Kafka.
    pub source: Source,
    /// The producer's key.
    pub key: Option<Vec<u8>>,
    /// The producer's headers.
    pub headers: Headers,
    /// The exact bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// When the worker took it on, UNIX microseconds.
    pub received_at: i64,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl Received {
    /// Its key, headers and payload, in bytes.
    pub fn bytes(&self) -> usize {
        event_bytes(self.key.as_deref(), &self.headers, self.payload.as_deref())
    }

    /// What the event is, in 16 hex digits of a hash over key, headers and payload. Kafka's offsets
    /// can begin anew: the place alone does not identify an event, place and content do. The
    /// headers of a deferred claim's history are left out, for they are not the event's own.
    pub fn content(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: Option<&[u8]>| {
            // The length goes first, so that no two events are the same text. Nothing is not the
            // empty text.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        };
        add(self.key.as_deref());
        add(self.payload.as_deref());
        for (name, value) in Deferral::strip(self.headers.clone()) {
            add(Some(name.as_bytes()));
            add(value.as_deref());
        }
        hex::encode(&hash.finalize()[..8])
    }
}

/// One attempt at a risk API: a row of `risk_calls`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The row's own id, time-ordered: attempt numbers can repeat after a crash.
    pub id: Uuid,
    /// The claim it was made for.
    pub claim_id: String,
    /// 1 for the first attempt since the worker took the claim on.
    pub attempt: u32,
    /// The API's name.
    pub api: &'static str,
    /// When it was sent, UNIX microseconds.
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    pub latency: i64,
    /// The HTTP status, where an answer came.
    pub http_status: Option<u16>,
    /// The API's return code, where it could be read.
    pub provider_code: Option<i64>,
    /// `assessed`, `transient`, `unassessable`, `access_denied` or `unknown` (sent, and no answer
    /// came).
    pub outcome: &'static str,
    /// Why, in a bounded word; empty for a verdict.
    pub reason: &'static str,
    /// Why no usable answer came, in the words of whoever noticed.
    pub cause: Option<String>,
    /// The request, secrets removed.
    pub request: String,
    /// The answer's exact bytes; `None` where none came.
    pub response: Option<Vec<u8>>,
    /// The trace in which it was made, 32 hex digits.
    pub trace_id: String,
}

/// One request for an access token: a row of `token_exchanges`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenExchange {
    /// The row's own id, time-ordered.
    pub id: Uuid,
    /// When it was sent, UNIX microseconds.
    pub requested_at: i64,
    /// From the sending to the last byte, microseconds.
    pub latency: i64,
    /// The HTTP status, where an answer came.
    pub http_status: Option<u16>,
    /// The provider's code, where it could be read.
    pub provider_code: Option<i64>,
    /// `fetched` or `failed`.
    pub outcome: &'static str,
    /// Why, in a bounded word; empty where a token was fetched.
    pub reason: &'static str,
    /// Why no usable answer came, in the words of whoever noticed.
    pub cause: Option<String>,
    /// The request, the secret removed.
    pub request: String,
    /// The first bytes of the answer, the token removed; `None` where none came.
    pub response: Option<Vec<u8>>,
}

/// How a record ends. Every record that was taken on ends in exactly one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordOutcome {
    /// Decided now, by a risk API's answer or by the lack of one.
    Assessed(Box<Verdict>),
    /// Decided before, from this very record: a crash fell between Postgres and Kafka.
    Recalled(Box<Verdict>),
    /// Decided before, from another record with the same content; `worker.on_duplicate` says what
    /// becomes of it.
    Duplicate(Box<Verdict>),
    /// No answer for now: to the retry topic, for later.
    Deferred(Deferral),
    /// No claim: a dead letter.
    DeadLettered(DeadLetterReason),
}

impl RecordOutcome {
    /// What becomes of a record whose claim has a verdict already (contract 3.1).
    pub fn of_known(verdict: Verdict, source: &Source, fingerprint: &[u8; 32]) -> Self {
        // What is new at a used place is new: a topic that was made anew counts from 0 again.
        if verdict.fingerprint == *fingerprint {
            Self::of_same(verdict, source)
        } else {
            let detail = format!(
                "claim id {:?} was used before, with other content, by {}",
                verdict.claim_id, verdict.source
            );
            Self::DeadLettered(DeadLetterReason::field("claim_id_conflict", "claim_id", detail))
        }
    }

    /// What becomes of a record whose claim has a verdict already, from an event with the same
    /// content.
    pub fn of_same(verdict: Verdict, source: &Source) -> Self {
        if verdict.source == *source {
            Self::Recalled(Box::new(verdict))
        } else {
            Self::Duplicate(Box::new(verdict))
        }
    }
}

/// A record with its end.
#[derive(Debug)]
pub struct Completed {
    /// The record's ticket.
    pub ticket: Ticket,
    /// The record.
    pub received: Received,
    /// The claim's id, where the record is a claim.
    pub claim_id: Option<String>,
    /// How it ended.
    pub outcome: RecordOutcome,
}

/// A batch that is closed: on its way into Postgres.
#[derive(Debug)]
pub struct Sealed {
    number: u64,
    completed: Vec<Completed>,
    calls: Vec<Call>,
    token_exchanges: Vec<TokenExchange>,
}

/// A batch that Postgres has: what its tables say is what will be published.
#[derive(Debug)]
pub struct Recorded {
    number: u64,
    completed: Vec<Completed>,
}

/// A batch that Kafka has acknowledged, commit and all.
#[derive(Debug)]
pub struct Published {
    completed: Vec<Completed>,
}

impl Sealed {
    /// The records and their ends.
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// The requests for access tokens since the last batch.
    pub fn token_exchanges(&self) -> &[TokenExchange] {
        &self.token_exchanges
    }

    /// The attempts made, also for claims that are not decided yet.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Writes the batch to Postgres. Where a verdict was there before, the end of its record
    /// becomes what the table says.
    ///
    /// # Errors
    /// The batch comes back with the store's error. To try again is safe: the store's writes are
    /// idempotent.
    pub async fn record(mut self, store: &impl Store) -> Result<Recorded, (Self, StoreError)> {
        match store.record(&self).await {
            Ok(overruled) => {
                for (index, outcome) in overruled {
                    self.completed[index].outcome = outcome;
                }
                Ok(Recorded { number: self.number, completed: self.completed })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Recorded {
    /// Tells this batch from the worker's others: a publisher that is in doubt about one must know
    /// whether it is asked again for that one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The records and their ends.
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// Adds a batch that was recorded later. Only for batches of which no commit was tried: the
    /// number stays the first one's.
    pub fn append(&mut self, mut later: Self) {
        self.completed.append(&mut later.completed);
    }

    /// Takes out the records whose assignment has ended: they belong to somebody else now, who will
    /// recall what was recorded.
    pub fn retain_live(&mut self, ledger: &Ledger, gone: &mut Vec<Completed>) {
        gone.extend(self.completed.extract_if(.., |completed| !ledger.is_live(&completed.ticket)));
    }

    /// Takes out these records, by their places in the batch.
    pub fn take_out(&mut self, places: &[usize]) -> Vec<Completed> {
        let mut place = 0..;
        let is_taken =
            |_: &mut Completed| place.next().is_some_and(|place| places.contains(&place));
        self.completed.extract_if(.., is_taken).collect()
    }

    /// What the commit of this batch would say.
    pub fn commits(&self, ledger: &Ledger) -> Vec<Commit> {
        ledger.plan(self.completed.iter().map(|completed| &completed.ticket))
    }

    /// Publishes the batch and commits its records, at once.
    ///
    /// # Errors
    /// The batch comes back with the publisher's error. To try again is safe after an abort; see
    /// [`PublishError`].
    pub async fn publish(
        self,
        publisher: &impl Publisher,
        commits: Vec<Commit>,
    ) -> Result<Published, (Self, PublishError)> {
        match publisher.publish(&self, commits).await {
            Ok(()) => Ok(Published { completed: self.completed }),
            Err(error) => Err((self, error)),
        }
    }
}

impl Published {
    /// The records of the batch, whose tickets are to be confirmed.
    pub fn into_completed(self) -> Vec<Completed> {
        self.completed
    }
}

/// Postgres, as the worker sees it.
pub trait Store: Send + Sync {
    /// The verdicts that these claims have already, by claim id.
    fn recall(
        &self,
        claim_ids: Vec<String>,
    ) -> impl Future<Output = Result<HashMap<String, Verdict>, StoreError>> + Send;

    /// Writes verdicts, events as received, attempts and dead letters, all or nothing.
    ///
    /// Returns, by index into [`Sealed::completed`], the ends that the table overruled: the claim
    /// had a verdict already, and the first one recorded wins. A conflict found this way has its
    /// dead letter written as well.
    fn record(
        &self,
        batch: &Sealed,
    ) -> impl Future<Output = Result<Vec<(usize, RecordOutcome)>, StoreError>> + Send;
}

/// Why Postgres did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work later: the connection, a deadlock, a failover, a full disk.
    #[error("{0}")]
    Transient(String),
    /// It will not mend by itself: a missing table, no permission.
    #[error("{0}")]
    Fatal(String),
}

/// The output topics, as the worker sees them.
pub trait Publisher: Send + Sync {
    /// Publishes decisions and dead letters and commits the offsets, in one transaction.
    fn publish(
        &self,
        batch: &Recorded,
        commits: Vec<Commit>,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// The largest message that the retry topic takes, as far as is known now.
    fn deferred_max_bytes(&self) -> usize;
}

/// Why Kafka did not do as asked. In either case nothing of the transaction will ever be visible,
/// or all of it already is and the generation check will refuse a second one.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Try again: the transaction was aborted, or the producer was made anew.
    #[error("{0}")]
    Aborted(String),
    /// The retry topic takes these records, by their places in the batch, in no form: each needs
    /// another end. Nothing of the batch is committed, and the rest of it can be published at once.
    #[error("the retry topic takes {} of the batch's claims in no form", .0.len())]
    Undeferrable(Vec<usize>),
    /// The worker must end.
    #[error("{0}")]
    Fatal(String),
}
