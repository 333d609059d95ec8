//! One batch, one transaction: who wins a claim, and what is written beside.
//!
//! Owns the order in which the tables are written (verdicts first, sorted by claim id: it is their key on which workers wait for
//! each other) and the search for a row that PostgreSQL refuses. The invariant: an end that is returned here or left alone is
//! what the tables say.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::ops::Range;

use sqlx::Connection;

use super::PostgresStore;
use super::encode::{clean, clean_reasons};
use super::error::Failure;
use super::rows::{self, Dead, Decided};
use crate::claim::Malformed;
use crate::decision::Verdict;
use crate::outbox::{Call, Disposition, Received, Settled, StoreError};

/// The most bytes that one statement carries, unless a single row has more. A message to the server ends at 1 GB, and a batch
/// of large events could reach that.
const STATEMENT_BYTES: usize = 8 << 20;

/// Ends that the table overruled, by index into the batch.
type Overruled = Vec<(usize, Disposition)>;

impl PostgresStore {
    /// Writes a batch; where PostgreSQL refuses a row, everything but that row.
    pub(super) async fn record_batch(
        &self,
        settled: &[Settled],
        calls: &[Call],
    ) -> Result<Overruled, StoreError> {
        match self.record_at_once(settled, calls).await {
            Ok(overruled) => Ok(overruled),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Data { message, .. }) => {
                tracing::warn!(
                    db.error = message,
                    "PostgreSQL refused a batch; looking for the row at fault"
                );
                let overruled = self.record_around_faults(settled).await?;
                self.record_calls_around_faults(calls).await?;
                Ok(overruled)
            }
        }
    }

    async fn record_at_once(&self, settled: &[Settled], calls: &[Call]) -> Result<Overruled, Failure> {
        let server = &self.connections;
        let (firsts, repeats) = decided(settled);
        let mut lease = server.lease().await?;
        let mut transaction = server.answer(lease.begin()).await?;

        let mut taken = HashSet::new();
        for rows in chunks(&firsts, |row| verdict_bytes(row.verdict)) {
            taken.extend(server.answer(rows::insert_verdicts(&mut transaction, rows)).await?);
        }
        let (lost, won): (Vec<_>, Vec<_>) =
            firsts.into_iter().partition(|row| taken.contains(&row.verdict.claim_id));
        for rows in chunks(&won, |row| event_bytes(row.received)) {
            server.answer(rows::insert_events(&mut transaction, rows)).await?;
        }
        for rows in chunks(calls, call_bytes) {
            server.answer(rows::insert_calls(&mut transaction, rows)).await?;
        }

        let lost: Vec<_> = lost.into_iter().chain(repeats).collect();
        let mut overruled: Overruled = won.iter().filter_map(as_written).collect();
        if !lost.is_empty() {
            let claim_ids: Vec<String> = lost.iter().map(|row| row.verdict.claim_id.clone()).collect();
            let known = server.answer(rows::select_verdicts(&mut transaction, &claim_ids)).await?;
            overruled.extend(self.overrule(&lost, &known)?);
        }
        for rows in chunks(&dead_letters(settled, &overruled), |row| event_bytes(row.received)) {
            server.answer(rows::insert_dead_letters(&mut transaction, rows)).await?;
        }
        server.answer(transaction.commit()).await?;
        lease.keep();
        Ok(overruled)
    }

    /// The ends of records whose claims have verdicts already.
    fn overrule(&self, lost: &[Decided<'_>], known: &HashMap<String, Verdict>) -> Result<Overruled, Failure> {
        let end = |row: &Decided<'_>| {
            let verdict = known.get(&row.verdict.claim_id).cloned().ok_or_else(|| {
                let message = format!(
                    "{}: claim {:?} was neither inserted nor found",
                    self.place(),
                    row.verdict.claim_id
                );
                Failure::Store(StoreError::Transient(message))
            })?;
            Ok((row.index, Disposition::of_known(verdict, &row.received.source, &row.verdict.fingerprint)))
        };
        lost.iter().map(end).collect()
    }

    /// Halves the batch until the rows at fault stand alone, in batch order: the first of two records of one claim still wins.
    async fn record_around_faults(&self, settled: &[Settled]) -> Result<Overruled, StoreError> {
        let mut overruled = Overruled::new();
        let mut open: Vec<_> = iter::once(0..settled.len()).collect();
        while let Some(range) = open.pop().filter(|range| !range.is_empty()) {
            match self.record_at_once(&settled[range.clone()], &[]).await {
                Ok(found) => {
                    overruled.extend(found.into_iter().map(|(index, end)| (range.start + index, end)))
                }
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Data { .. }) if range.len() > 1 => open.extend(halves(range)),
                Err(Failure::Data { message, .. }) => {
                    let malformed = self.quarantine(&settled[range.start].received, message).await?;
                    overruled.push((range.start, Disposition::Quarantined(malformed)));
                }
            }
        }
        Ok(overruled)
    }

    /// The dead letter of a record that PostgreSQL refuses.
    async fn quarantine(&self, received: &Received, message: String) -> Result<Malformed, StoreError> {
        let malformed = Malformed::event("unrecordable", message);
        tracing::error!(source = %received.source, db.error = malformed.detail, "PostgreSQL refuses the record at {}", received.source);
        let rows = [Dead { received, malformed: &malformed }];
        let server = &self.connections;
        let write = async {
            let mut lease = server.lease().await?;
            server.answer(rows::insert_dead_letters(&mut lease, &rows)).await?;
            lease.keep();
            Ok(())
        };
        write.await.map_err(|failure| self.store_error(failure))?;
        Ok(malformed)
    }

    /// Attempts have no dead letters: one that PostgreSQL refuses is told to the log, so that it does not stop all others.
    async fn record_calls_around_faults(&self, calls: &[Call]) -> Result<(), StoreError> {
        let mut open: Vec<_> = iter::once(0..calls.len()).collect();
        while let Some(range) = open.pop().filter(|range| !range.is_empty()) {
            match self.record_at_once(&[], &calls[range.clone()]).await {
                Ok(_) => {}
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Data { .. }) if range.len() > 1 => open.extend(halves(range)),
                Err(Failure::Data { message, .. }) => {
                    let Call { id, claim_id, .. } = &calls[range.start];
                    tracing::error!(call.id = %id, claim.id = claim_id, db.error = message, "PostgreSQL refuses the attempt {id}; it is not kept");
                }
            }
        }
        Ok(())
    }
}

/// Both halves of a range, the first one last, for it is popped first.
fn halves(range: Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle]
}

/// The claims that the batch decides, sorted by claim id: the first record of each in batch order, and the others.
fn decided(settled: &[Settled]) -> (Vec<Decided<'_>>, Vec<Decided<'_>>) {
    let mut rows: Vec<Decided<'_>> = Vec::with_capacity(settled.len());
    for (index, Settled { received, disposition, .. }) in settled.iter().enumerate() {
        if let Disposition::Assessed(verdict) = disposition {
            rows.push(Decided { index, verdict, received });
        }
    }
    rows.sort_by(|one, other| one.verdict.claim_id.cmp(&other.verdict.claim_id));
    let mut last = None;
    rows.into_iter().partition(|row| last.replace(&row.verdict.claim_id) != Some(&row.verdict.claim_id))
}

/// The end of a record whose verdict PostgreSQL could not take letter by letter: the table's version is what will be published.
fn as_written(row: &Decided<'_>) -> Option<(usize, Disposition)> {
    let reasons = clean_reasons(&row.verdict.reasons);
    let challenge = row.verdict.challenge.as_deref().filter(|script| script.contains('\0'));
    if reasons.is_none() && challenge.is_none() {
        return None;
    }
    let mut verdict = row.verdict.clone();
    verdict.challenge = verdict.challenge.map(|script| clean(&script).into_owned());
    verdict.reasons = reasons.unwrap_or(verdict.reasons);
    Some((row.index, Disposition::Assessed(Box::new(verdict))))
}

/// The batch's dead letters, sorted by source.
fn dead_letters<'a>(settled: &'a [Settled], overruled: &'a [(usize, Disposition)]) -> Vec<Dead<'a>> {
    let own = settled.iter().map(|settled| (&settled.received, &settled.disposition));
    let found = overruled.iter().map(|(index, disposition)| (&settled[*index].received, disposition));
    let dead = |(received, disposition): (&'a Received, &'a Disposition)| match disposition {
        Disposition::Quarantined(malformed) => Some(Dead { received, malformed }),
        Disposition::Assessed(_)
        | Disposition::Recalled(_)
        | Disposition::Duplicate(_)
        | Disposition::Repeated
        | Disposition::Parked(_) => None,
    };
    let mut rows: Vec<_> = own.chain(found).filter_map(dead).collect();
    rows.sort_by(|one, other| {
        let place = |row: &Dead<'a>| {
            (&row.received.source.topic, row.received.source.partition, row.received.source.offset)
        };
        place(one).cmp(&place(other))
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

fn verdict_bytes(verdict: &Verdict) -> usize {
    verdict.challenge.as_ref().map_or(0, String::len)
}

fn event_bytes(event: &Received) -> usize {
    let headers: usize =
        event.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
    event.payload.as_ref().map_or(0, Vec::len) + event.key.as_ref().map_or(0, Vec::len) + headers
}

fn call_bytes(call: &Call) -> usize {
    call.request.len() + call.response.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_bounded_but_takes_any_single_row() {
        let lengths =
            |rows: &[usize]| chunks(rows, |bytes| *bytes).iter().map(|chunk| chunk.len()).collect::<Vec<_>>();
        let half = STATEMENT_BYTES / 2;
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 500]), [500]);
        assert_eq!(lengths(&[half, half, 1]), [2, 1]);
        assert_eq!(lengths(&[3 * half, 0, half, 3 * half]), [1, 2, 1]);
    }

    #[test]
    fn halves_cover_the_range_and_the_first_is_on_top() {
        assert_eq!(halves(3..8), [5..8, 3..5]);
        assert_eq!(halves(0..2), [1..2, 0..1]);
    }
}
