//! The three stages of a batch: [`Closed`] → [`Recorded`] → [`Published`]. Only a value of one
//! stage can make a value of the next.

use super::{
    Call, Completed, PublishError, Publisher, RecordOutcome, Recording, Store, StoreError,
    TokenExchange,
};
use crate::intake::{Commit, Ledger};
use crate::schema::Seal;

/// A batch that takes no more records and is to be written to Postgres.
#[derive(Debug)]
pub struct Closed {
    pub(super) number: u64,
    pub(super) completed: Vec<Completed>,
    pub(super) calls: Vec<Call>,
    pub(super) token_exchanges: Vec<TokenExchange>,
    pub(super) previous: Option<Seal>,
}

/// A batch that Postgres has recorded: what its tables say is what will be published.
#[derive(Debug)]
pub struct Recorded {
    number: u64,
    completed: Vec<Completed>,
    seal: Option<Seal>,
}

/// A batch that Kafka has acknowledged, together with its offsets.
#[derive(Debug)]
pub struct Published {
    completed: Vec<Completed>,
}

impl Closed {
    /// The records with their outcomes.
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

    /// The last seal of this worker, to which the batch's seal is chained; `None` where it is not
    /// known.
    pub fn previous(&self) -> Option<Seal> {
        self.previous
    }

    /// Writes the batch to Postgres. Where a claim has a verdict there already, that verdict
    /// becomes the outcome of the record.
    ///
    /// # Errors
    /// Returns the batch with the store's error. It is safe to try again: the store's writes are
    /// idempotent.
    pub async fn record(mut self, store: &impl Store) -> Result<Recorded, (Self, StoreError)> {
        match store.record(&self).await {
            Ok(Recording { overruled, seal }) => {
                for (index, outcome) in overruled {
                    self.completed[index].outcome = outcome;
                }
                for Completed { outcome, .. } in &mut self.completed {
                    if let RecordOutcome::Decided(verdict) = outcome {
                        verdict.seal = seal;
                    }
                }
                Ok(Recorded { number: self.number, completed: self.completed, seal })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Recorded {
    /// The number of this batch. A publisher that does not know whether Kafka took a batch
    /// recognises it by that when it is tried again.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The records with their outcomes.
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// The seal of the batch.
    pub fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Adds a batch that was recorded later, and keeps the number of this one. Not where Kafka may
    /// have taken one of them already: that one is published again unchanged.
    pub fn append(&mut self, mut later: Self) {
        self.completed.append(&mut later.completed);
        self.seal = later.seal;
    }

    /// Takes out the records whose assignment has ended. Another worker has their partitions now
    /// and will find the recorded verdicts.
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

    /// The offsets that are committed with this batch.
    pub fn commits(&self, ledger: &Ledger) -> Vec<Commit> {
        ledger.plan(self.completed.iter().map(|completed| &completed.ticket))
    }

    /// Publishes the batch and commits its offsets, in one transaction.
    ///
    /// # Errors
    /// Returns the batch with the publisher's error. [`PublishError`] says how it may be tried
    /// again.
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
    /// The records with their outcomes.
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// The records of the batch, whose tickets are to be confirmed.
    pub fn into_completed(self) -> Vec<Completed> {
        self.completed
    }
}
