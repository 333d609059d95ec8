//! A batch that PostgreSQL refuses: is a row at fault, or its table?
//!
//! A table that refuses an ordinary row, or more than a few rows of a batch for one reason, is at
//! fault itself: the worker ends with an error, and no claim becomes a dead letter. Otherwise a row
//! is at fault. The batch is halved until that row stands alone, and it becomes a dead letter.
//!
//! The invariants: attempts are written before verdicts, and a claim with an attempt that cannot be
//! kept gets no verdict.

use std::collections::HashMap;
use std::iter;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::PostgresStore;
use super::error::Failure;
use super::record::{Entry, NewOutcome, Overruled, entries};
use super::rows;
use crate::claim::{DeadLetterReason, EventError};
use crate::outbox::{Call, Completed, Received, RecordOutcome, StoreError};
use crate::schema::{NewDeadLetter, Seal};

/// How many rows of a batch may be refused for one reason before the table is at fault.
const FEW: usize = 3;
/// The most claims at once that have an attempt which could not be kept, and no outcome yet.
const UNKEPT_MAX: usize = 1_000;

/// How many rows of a batch PostgreSQL rejected, by its error code.
#[derive(Debug, Default)]
struct RejectedRows(HashMap<String, usize>);

impl RejectedRows {
    fn count(&mut self, place: &str, code: String, message: &str) -> Result<(), StoreError> {
        let rows = self.0.entry(code).or_default();
        *rows += 1;
        if *rows <= FEW {
            return Ok(());
        }
        Err(StoreError::Fatal(format!(
            "{place}: more than {FEW} rows of a batch were refused for one reason: {message}; the \
             fault is the table's and not theirs: take back what was changed in it, then start \
             again"
        )))
    }
}

/// Claims with an attempt that PostgreSQL refused, and its words. Their next outcome is a dead
/// letter: a decision could not be proved without the answer that it rests on.
#[derive(Debug, Default)]
pub(super) struct Unkept(Mutex<HashMap<String, String>>);

impl Unkept {
    fn claims(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, place: &str, call: &Call, message: &str) -> Result<(), StoreError> {
        let mut claims = self.claims();
        if claims.len() >= UNKEPT_MAX && !claims.contains_key(&call.claim_id) {
            return Err(StoreError::Fatal(format!(
                "{place}: risk_calls refused attempts of {UNKEPT_MAX} claims that are not decided \
                 yet: {message}; take back what was changed in it, then start again"
            )));
        }
        let said = format!("PostgreSQL refuses the attempt {} at {}: {message}", call.id, call.api);
        claims.insert(call.claim_id.clone(), said);
        Ok(())
    }

    /// The outcomes of the records of a batch that are held back, by index.
    pub(super) fn hold_back(&self, completed: &[Completed]) -> Overruled {
        let claims = self.claims();
        if claims.is_empty() {
            return Overruled::new();
        }
        let held = |(index, completed): (usize, &Completed)| match completed.outcome {
            RecordOutcome::Decided(_) | RecordOutcome::Deferred(_) => {
                let message = claims.get(completed.claim_id.as_ref()?)?;
                Some((
                    index,
                    RecordOutcome::DeadLettered(DeadLetterReason::event(
                        EventError::Unrecordable,
                        message.clone(),
                    )),
                ))
            }
            RecordOutcome::Recalled(_)
            | RecordOutcome::Duplicate(_)
            | RecordOutcome::DeadLettered(_) => None,
        };
        completed.iter().enumerate().filter_map(held).collect()
    }

    /// The batch is recorded: the claims that were held back have their dead letters, and may be
    /// replayed. Returns all that was overruled.
    pub(super) fn recorded(
        &self,
        completed: &[Completed],
        held: Overruled,
        mut changed: Overruled,
    ) -> Overruled {
        let mut claims = self.claims();
        for (index, _) in &held {
            if let Some(claim_id) = &completed[*index].claim_id {
                claims.remove(claim_id);
            }
        }
        changed.extend(held);
        changed
    }
}

impl PostgresStore {
    /// Writes everything but the rows at fault.
    pub(super) async fn record_around_faults(
        &self,
        completed: &[Completed],
        calls: &[Call],
        last: &mut Seal,
    ) -> Result<Overruled, StoreError> {
        let mut rejected = RejectedRows::default();
        // Answers first: they are kept whatever is wrong with the other tables.
        self.record_calls_around_faults(calls, &mut rejected, last).await?;
        self.try_rows().await?;
        let held = self.unkept.hold_back(completed);
        let entries = entries(completed, &held);
        let changed = self.record_completed_around_faults(&entries, &mut rejected, last).await?;
        Ok(self.unkept.recorded(completed, held, changed))
    }

    /// Halves the records until those at fault stand alone, in batch order: the first of two
    /// records of one claim still wins.
    async fn record_completed_around_faults(
        &self,
        entries: &[Entry<'_>],
        rejected: &mut RejectedRows,
        last: &mut Seal,
    ) -> Result<Overruled, StoreError> {
        let (mut overruled, mut at_fault) = (Overruled::new(), Vec::new());
        let mut open: Vec<_> = iter::once(0..entries.len()).collect();
        while let Some(range) = open.pop().filter(|range| !range.is_empty()) {
            match self.record_at_once(&entries[range.clone()], &[], last).await {
                Ok(changed) => overruled.extend(changed.into_iter().map(NewOutcome::by_index)),
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Data { .. }) if range.len() > 1 => open.extend(halves(range)),
                Err(Failure::Data { code, message }) => {
                    rejected.count(self.place(), code, &message)?;
                    at_fault.push((&entries[range.start], message));
                }
            }
        }
        // Not before all was looked at: where the table is at fault, no claim becomes a dead
        // letter.
        for (entry, message) in at_fault {
            let reason = self.dead_letter(entry.received, message, last).await?;
            overruled.push((entry.index, RecordOutcome::DeadLettered(reason)));
        }
        Ok(overruled)
    }

    /// The dead letter of a record that PostgreSQL refuses.
    async fn dead_letter(
        &self,
        received: &Received,
        message: String,
        last: &mut Seal,
    ) -> Result<DeadLetterReason, StoreError> {
        let reason = DeadLetterReason::event(EventError::Unrecordable, message);
        tracing::error!(
            source = %received.source,
            db.error = reason.detail,
            "PostgreSQL refuses the record at {}",
            received.source
        );
        let letters = [NewDeadLetter::new(received, &reason)];
        let server = &self.connections;
        let write = async {
            let mut lease = server.lease().await?;
            server.answer(rows::insert_letters(&mut lease, &letters, &self.keys(), last)).await?;
            lease.keep();
            Ok(())
        };
        write.await.map_err(|failure| self.store_error(failure))?;
        Ok(reason)
    }

    /// Halves the attempts until those at fault stand alone. Their claims are remembered, and told
    /// to the log.
    async fn record_calls_around_faults(
        &self,
        calls: &[Call],
        rejected: &mut RejectedRows,
        last: &mut Seal,
    ) -> Result<(), StoreError> {
        let mut at_fault = Vec::new();
        let mut open: Vec<_> = iter::once(0..calls.len()).collect();
        while let Some(range) = open.pop().filter(|range| !range.is_empty()) {
            match self.record_at_once(&[], &calls[range.clone()], last).await {
                Ok(_) => {}
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Data { .. }) if range.len() > 1 => open.extend(halves(range)),
                Err(Failure::Data { code, message }) => {
                    rejected.count(self.place(), code, &message)?;
                    at_fault.push((&calls[range.start], message));
                }
            }
        }
        for (call, message) in at_fault {
            let Call { id, claim_id, http_status, provider_code, .. } = call;
            let [api, outcome, reason] =
                [&call.api, &call.outcome, &call.reason].map(AsRef::as_ref);
            self.unkept.add(self.place(), call, &message)?;
            tracing::error!(
                call.id = %id, claim.id = claim_id, api, outcome,
                reason, http.status = http_status,
                provider.code = provider_code, db.error = message,
                "PostgreSQL refuses the attempt {id}; its claim is not decided and becomes a dead \
                 letter"
            );
        }
        Ok(())
    }
}

/// Both halves of a range, the first one last, because the last one is popped first.
fn halves(range: Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_the_range_and_the_first_is_on_top() {
        assert_eq!(halves(3..8), [5..8, 3..5]);
        assert_eq!(halves(0..2), [1..2, 0..1]);
    }

    #[test]
    fn many_refused_rows_are_a_fault_of_the_table() {
        let mut rejected = RejectedRows::default();
        for code in ["23502", "P0001"] {
            for _ in 0..FEW {
                rejected.count("db", code.to_owned(), "said").expect("a few");
            }
        }
        let error = rejected.count("db", "P0001".to_owned(), "said");
        assert!(
            matches!(&error, Err(StoreError::Fatal(said)) if said.contains("the table's")),
            "{error:?}"
        );
    }
}
