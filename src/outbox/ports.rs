//! The interfaces by which the worker uses Postgres and Kafka.

use std::collections::HashMap;
use std::future::Future;

use super::{Closed, RecordOutcome, Recorded};
use crate::intake::Commit;
use crate::schema::{Seal, Verdict};

/// Postgres, as the worker sees it.
pub trait Store: Send + Sync {
    /// The verdicts that these claims have already, by claim id. It asks the server even without
    /// any claim: so the caller learns whether the server answers.
    fn recall(
        &self,
        claim_ids: Vec<String>,
    ) -> impl Future<Output = Result<HashMap<String, Verdict>, StoreError>> + Send;

    /// Writes verdicts, events as received, attempts and dead letters, all or nothing.
    ///
    /// If a claim conflicts with a verdict that was there already, its dead letter is written too.
    fn record(&self, batch: &Closed) -> impl Future<Output = Result<Recording, StoreError>> + Send;
}

/// The result of writing a batch.
#[derive(Debug)]
pub struct Recording {
    /// Outcomes that differ from what the batch says, by index into [`Closed::completed`]: the
    /// claim had a verdict already, and the first recorded verdict wins.
    pub overruled: Vec<(usize, RecordOutcome)>,
    /// The seal of the batch, chained to all that this worker wrote before.
    pub seal: Option<Seal>,
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

/// Why Kafka did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Try again: nothing of the batch is committed, and this attempt will not commit it later.
    #[error("{0}")]
    Aborted(String),
    /// Try the same batch again, unchanged and before any other: it may be committed already. The
    /// publisher finds out whether it is.
    #[error("{0}")]
    Uncertain(String),
    /// The retry topic rejects these records (their places in the batch), and a deferred claim
    /// cannot be cut: each needs another outcome. Nothing of the batch is committed, and the rest
    /// of it can be published at once.
    #[error("the retry topic rejects {} of the batch's claims, which cannot be cut", .0.len())]
    Undeferrable(Vec<usize>),
    /// The worker must end.
    #[error("{0}")]
    Fatal(String),
}
