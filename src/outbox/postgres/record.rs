//! Writes one batch, and finds out which of its claims had a verdict already.
//!
//! Owns the order in which the tables are written: verdicts first, sorted by claim id, because
//! workers wait for each other on that key. [`super::faults`] looks for rows that the server
//! refuses. The invariant: after the write, the outcome of each record, replaced or not, is what
//! the tables say.

use std::collections::{HashMap, HashSet};

use sqlx::Connection;

use super::PostgresStore;
use super::error::Failure;
use super::rows::{self, Decided};
use crate::outbox::{Call, Completed, Received, RecordOutcome, StoreError};
use crate::schema::{NewDeadLetter, Seal, Verdict, clean, clean_reasons};

/// The most bytes of one statement, unless a single row has more. PostgreSQL takes messages of up
/// to 1 GB, and a batch of large events could be larger.
const STATEMENT_BYTES: usize = 8 << 20;

/// A record that is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) received: &'a Received,
    pub(super) outcome: &'a RecordOutcome,
}

impl Entry<'_> {
    fn is_dead_letter(&self) -> bool {
        matches!(self.outcome, RecordOutcome::DeadLettered(_))
    }
}

/// An outcome that differs from what the batch says: the claim had a verdict already, or PostgreSQL
/// could not store the verdict character by character.
#[derive(Debug)]
pub(super) struct NewOutcome<'a> {
    /// The record's index in the batch.
    pub(super) index: usize,
    pub(super) received: &'a Received,
    pub(super) outcome: RecordOutcome,
}

impl NewOutcome<'_> {
    pub(super) fn by_index(self) -> (usize, RecordOutcome) {
        (self.index, self.outcome)
    }
}

/// The same, by index alone, as [`Recording`](crate::outbox::Recording) has it.
pub(super) type Overruled = Vec<(usize, RecordOutcome)>;

impl PostgresStore {
    /// Writes a batch. If PostgreSQL refuses a row, everything but that row is written.
    /// `last` is the seal that the batch's seals follow, then the last of them.
    pub(super) async fn record_batch(
        &self,
        completed: &[Completed],
        calls: &[Call],
        last: &mut Seal,
    ) -> Result<Overruled, StoreError> {
        let held = self.unkept.hold_back(completed);
        match self.record_at_once(&entries(completed, &held), calls, last).await {
            Ok(changed) => {
                let changed = changed.into_iter().map(NewOutcome::by_index).collect();
                Ok(self.unkept.recorded(completed, held, changed))
            }
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Data { message, .. }) => {
                tracing::warn!(
                    db.error = message,
                    "PostgreSQL refused a batch; looking for the row at fault"
                );
                self.record_around_faults(completed, calls, last).await
            }
        }
    }

    /// Writes everything, most batches with a single statement.
    pub(super) async fn record_at_once<'a>(
        &self,
        entries: &[Entry<'a>],
        calls: &[Call],
        last: &mut Seal,
    ) -> Result<Vec<NewOutcome<'a>>, Failure> {
        let server = &self.connections;
        let (firsts, repeats) = decided(entries);
        let mut statements = statements(&firsts, calls);
        let rest = !repeats.is_empty() || entries.iter().any(Entry::is_dead_letter);
        if statements.is_empty() && !rest {
            return Ok(Vec::new());
        }
        let mut lease = server.lease().await?;
        let mut taken = HashSet::new();
        if !rest && let [(rows, calls)] = statements[..] {
            // The statement is a transaction of its own. Verdicts of claims that another worker
            // decided can be looked up after it, because a verdict never changes.
            taken.extend(
                server.answer(rows::insert(&mut lease, rows, calls, &self.keys(), last)).await?,
            );
            statements.clear();
            if taken.is_empty() {
                lease.keep();
                self.shadows.add(firsts.iter().map(|row| row.verdict));
                return Ok(firsts.iter().filter_map(as_written).collect());
            }
        }
        let mut transaction = server.answer(lease.begin()).await?;
        let (mut newest, keys) = (*last, self.keys());
        for (rows, calls) in statements {
            let insert = rows::insert(&mut transaction, rows, calls, &keys, &mut newest);
            taken.extend(server.answer(insert).await?);
        }
        let (lost, won): (Vec<_>, Vec<_>) =
            firsts.iter().copied().partition(|row| taken.contains(&row.verdict.claim_id));
        let lost: Vec<_> = lost.into_iter().chain(repeats).collect();
        let mut changed: Vec<NewOutcome<'a>> = won.iter().filter_map(as_written).collect();
        if !lost.is_empty() {
            let claim_ids: Vec<String> =
                lost.iter().map(|row| row.verdict.claim_id.clone()).collect();
            let known = server.answer(rows::select_verdicts(&mut transaction, &claim_ids)).await?;
            self.overrule(&lost, &known, &mut changed)?;
        }
        self.explain_conflicts(&mut transaction, entries, &mut changed).await?;
        for rows in chunks(&dead_letters(entries, &changed), |row| row.received.bytes()) {
            let insert = rows::insert_letters(&mut transaction, rows, &keys, &mut newest);
            server.answer(insert).await?;
        }
        server.answer(transaction.commit()).await?;
        *last = newest;
        lease.keep();
        self.shadows.add(won.iter().map(|row| row.verdict));
        Ok(changed)
    }

    /// The outcomes of records whose claims have verdicts already.
    fn overrule<'a>(
        &self,
        lost: &[Decided<'a>],
        known: &HashMap<String, Verdict>,
        changed: &mut Vec<NewOutcome<'a>>,
    ) -> Result<(), Failure> {
        for Decided { index, verdict, received } in lost.iter().copied() {
            let known = known.get(&verdict.claim_id).cloned().ok_or_else(|| {
                let message = format!(
                    "{}: claim {:?} was neither inserted nor found",
                    self.place(),
                    verdict.claim_id
                );
                Failure::Store(StoreError::Transient(message))
            })?;
            let outcome = RecordOutcome::of_known(known, &received.source, &verdict.fingerprint);
            changed.push(NewOutcome { index, received, outcome });
        }
        Ok(())
    }
}

/// The records of a batch, each with its outcome from `held` where it has one there. `held` is
/// sorted by index.
pub(super) fn entries<'a>(
    completed: &'a [Completed],
    held: &'a [(usize, RecordOutcome)],
) -> Vec<Entry<'a>> {
    let mut held = held.iter().peekable();
    let entry = |(index, completed): (usize, &'a Completed)| {
        let other = held.next_if(|(of, _)| *of == index);
        let outcome = other.map_or(&completed.outcome, |(_, outcome)| outcome);
        Entry { index, received: &completed.received, outcome }
    };
    completed.iter().enumerate().map(entry).collect()
}

/// The claims that the batch decides, sorted by claim id: the first record of each in batch order,
/// and the others.
fn decided<'a>(entries: &[Entry<'a>]) -> (Vec<Decided<'a>>, Vec<Decided<'a>>) {
    let mut rows: Vec<Decided<'a>> = Vec::with_capacity(entries.len());
    for Entry { index, received, outcome } in entries.iter().copied() {
        if let RecordOutcome::Decided(verdict) = outcome {
            rows.push(Decided { index, verdict, received });
        }
    }
    rows.sort_by(|one, other| one.verdict.claim_id.cmp(&other.verdict.claim_id));
    let mut last = None;
    rows.into_iter()
        .partition(|row| last.replace(&row.verdict.claim_id) != Some(&row.verdict.claim_id))
}

/// What is to be written, cut into statements that are not too large.
fn statements<'r, 'a>(
    firsts: &'r [Decided<'a>],
    calls: &'r [Call],
) -> Vec<(&'r [Decided<'a>], &'r [Call])> {
    let bytes = |row: &Decided<'a>| row.verdict.bytes() + row.received.bytes();
    let all =
        firsts.iter().map(bytes).sum::<usize>() + calls.iter().map(Call::bytes).sum::<usize>();
    if all <= STATEMENT_BYTES {
        let is_empty = firsts.is_empty() && calls.is_empty();
        return if is_empty { Vec::new() } else { vec![(firsts, calls)] };
    }
    let firsts = chunks(firsts, bytes).into_iter().map(|rows| (rows, &[][..]));
    firsts.chain(chunks(calls, Call::bytes).into_iter().map(|calls| (&[][..], calls))).collect()
}

/// The outcome of a record whose verdict PostgreSQL could not store character by character: what
/// the table has is published.
fn as_written<'a>(row: &Decided<'a>) -> Option<NewOutcome<'a>> {
    let reasons = clean_reasons(&row.verdict.reasons);
    let challenge = row.verdict.challenge.as_deref().filter(|script| script.contains('\0'));
    if reasons.is_none() && challenge.is_none() {
        return None;
    }
    let mut verdict = row.verdict.clone();
    verdict.challenge = verdict.challenge.map(|script| clean(&script).into_owned());
    verdict.reasons = reasons.unwrap_or(verdict.reasons);
    let outcome = RecordOutcome::Decided(Box::new(verdict));
    Some(NewOutcome { index: row.index, received: row.received, outcome })
}

/// The batch's dead letters, sorted by what identifies them.
fn dead_letters<'a>(
    entries: &'a [Entry<'a>],
    changed: &'a [NewOutcome<'a>],
) -> Vec<NewDeadLetter<'a>> {
    let overruled: HashSet<usize> = changed.iter().map(|change| change.index).collect();
    let own = entries.iter().filter(|entry| !overruled.contains(&entry.index));
    let own = own.map(|entry| (entry.received, entry.outcome));
    let found = changed.iter().map(|change| (change.received, &change.outcome));
    let dead = |(received, outcome): (&'a Received, &'a RecordOutcome)| match outcome {
        RecordOutcome::DeadLettered(reason) => Some(NewDeadLetter::new(received, reason)),
        RecordOutcome::Decided(_)
        | RecordOutcome::Recalled(_)
        | RecordOutcome::Duplicate(_)
        | RecordOutcome::Deferred(_) => None,
    };
    let mut rows: Vec<_> = own.chain(found).filter_map(dead).collect();
    rows.sort_by(|one, other| {
        let key = |row: &NewDeadLetter<'a>| {
            let source = &row.received.source;
            (source.topic.clone(), source.partition, source.offset, row.content.clone())
        };
        key(one).cmp(&key(other))
    });
    // A record that was read twice while PostgreSQL was down gets one row and one digest.
    rows.dedup_by(|one, other| {
        (&one.received.source, &one.content) == (&other.received.source, &other.content)
    });
    rows
}

/// Cuts rows into statements.
fn chunks<T>(rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut chunks = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        let bytes = bytes(row);
        if index > start && sum + bytes > STATEMENT_BYTES {
            chunks.push(&rows[start..index]);
            (start, sum) = (index, 0);
        }
        sum += bytes;
    }
    if start < rows.len() {
        chunks.push(&rows[start..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_bounded_but_takes_any_single_row() {
        let lengths = |rows: &[usize]| {
            chunks(rows, |bytes| *bytes).iter().map(|chunk| chunk.len()).collect::<Vec<_>>()
        };
        let half = STATEMENT_BYTES / 2;
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 500]), [500]);
        assert_eq!(lengths(&[half, half, 1]), [2, 1]);
        assert_eq!(lengths(&[3 * half, 0, half, 3 * half]), [1, 2, 1]);
    }
}
