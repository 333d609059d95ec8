//! The batch that fills while the last one is recorded and published.
//!
//! ```
//! use claimgate::outbox::Batch;
//!
//! let mut batch = Batch::default();
//! assert!(batch.is_empty());
//! let closed = batch.close(512, None);
//! batch.reopen(closed);
//! assert_eq!((batch.len(), batch.bytes()), (0, 0));
//! ```

use std::collections::HashSet;

use super::{Call, Closed, Completed, TokenExchange};
use crate::schema::{Seal, Verdict};

/// The most token requests that wait while Postgres is down; older ones are dropped.
const MOST_TOKEN_EXCHANGES: usize = 256;

/// Records and attempts that wait for the next flush. Bounded by `worker.max_in_flight`: every
/// record in it is in flight.
#[derive(Debug, Default)]
pub struct Batch {
    completed: Vec<Completed>,
    calls: Vec<Call>,
    token_exchanges: Vec<TokenExchange>,
    /// The bytes of the attempts, and of what the answers added to the verdicts.
    bytes: usize,
    /// Batches closed so far.
    closed: u64,
}

impl Batch {
    /// Adds a record that has ended.
    pub fn complete(&mut self, completed: Completed) {
        self.bytes += weight(&completed);
        self.completed.push(completed);
    }

    /// Adds an attempt, whether or not its claim is decided yet.
    pub fn add_call(&mut self, call: Call) {
        self.bytes += call.bytes();
        self.calls.push(call);
    }

    /// Adds a request for an access token, with its answer.
    pub fn add_token_exchange(&mut self, exchange: TokenExchange) {
        self.token_exchanges.push(exchange);
        let surplus = self.token_exchanges.len().saturating_sub(MOST_TOKEN_EXCHANGES);
        self.token_exchanges.drain(..surplus);
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.completed.is_empty() && self.calls.is_empty() && self.token_exchanges.is_empty()
    }

    /// How many records and attempts wait.
    pub fn len(&self) -> usize {
        self.completed.len() + self.calls.len()
    }

    /// Whether it holds as many records as one flush takes: `max`.
    pub fn is_full(&self, max: usize) -> bool {
        self.completed.len() >= max
    }

    /// How many records wait.
    pub fn records(&self) -> usize {
        self.completed.len()
    }

    /// How many attempts wait.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The bytes of the answers that wait, and of what they added to verdicts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Closes the batch with at most `max` records and about as many attempts. The rest waits for
    /// the next batch. `previous` is the last seal of this worker, if it is known.
    pub fn close(&mut self, max: usize, previous: Option<Seal>) -> Closed {
        let completed: Vec<_> = self.completed.drain(..max.min(self.completed.len())).collect();
        let calls = self.take_calls(max, &completed);
        let waiting = self.completed.iter().map(weight).chain(self.calls.iter().map(Call::bytes));
        self.bytes = waiting.sum();
        self.closed += 1;
        let token_exchanges = std::mem::take(&mut self.token_exchanges);
        Closed { number: self.closed, completed, calls, token_exchanges, previous }
    }

    /// Takes out the attempts of these records, because no verdict may be recorded before the
    /// answer that it rests on; then other attempts, oldest first, until there are `max`.
    fn take_calls(&mut self, max: usize, completed: &[Completed]) -> Vec<Call> {
        if self.calls.len() <= max {
            return std::mem::take(&mut self.calls);
        }
        let ids: HashSet<&str> =
            completed.iter().filter_map(|completed| completed.claim_id.as_deref()).collect();
        let is_of_these = |call: &Call| ids.contains(call.claim_id.as_str());
        let needed = self.calls.iter().filter(|call| is_of_these(call)).count();
        let mut room = max.saturating_sub(needed);
        let goes = |call: &mut Call| {
            is_of_these(call) || room.checked_sub(1).map(|left| room = left).is_some()
        };
        self.calls.extract_if(.., goes).collect()
    }

    /// Puts a batch that could not be recorded back in front.
    pub fn reopen(&mut self, closed: Closed) {
        self.bytes += closed.completed.iter().map(weight).sum::<usize>();
        self.bytes += closed.calls.iter().map(Call::bytes).sum::<usize>();
        self.completed.splice(0..0, closed.completed);
        self.calls.splice(0..0, closed.calls);
        self.token_exchanges.splice(0..0, closed.token_exchanges);
    }
}

fn weight(completed: &Completed) -> usize {
    completed.outcome.verdict().map_or(0, Verdict::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Reason, Source};
    use crate::intake::{Admission, Assigned, Ledger, Partition};
    use crate::outbox::{Received, RecordOutcome};
    use crate::trace::TraceContext;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let partition = Partition::claims(0);
        let assigned =
            Assigned { partition, epoch: 1, offset: None, metadata: String::new(), log_end: 9 };
        ledger.assign(&assigned);
        ledger
    }

    /// A record whose answer had this many risk types.
    fn completed(ledger: &mut Ledger, offset: i64, types: usize) -> Completed {
        let Admission::Ticket(ticket) = ledger.admit(Partition::claims(0), offset, 1) else {
            panic!("taken on")
        };
        let source = Source { topic: String::new(), partition: 0, offset };
        let verdict = Verdict {
            reasons: vec![Reason::new("risk_type", Some(101), Some("batch_operation")); types],
            risk_types: vec![101; types],
            ..Verdict::ordinary("a")
        };
        let received = Received {
            source,
            key: None,
            headers: vec![],
            payload: None,
            received_at: 0,
            trace: TraceContext::fresh(1),
        };
        Completed {
            ticket,
            received,
            claim_id: None,
            outcome: RecordOutcome::Decided(Box::new(verdict)),
        }
    }

    #[test]
    fn a_record_and_its_attempts_stay_in_one_batch() {
        let mut ledger = ledger();
        let mut batch = Batch::default();
        for id in ["x", "y", "a", "z", "a"] {
            batch.add_call(Call::ordinary(id));
        }
        let mut decided = completed(&mut ledger, 0, 0);
        decided.claim_id = Some("a".to_owned());
        batch.complete(decided);
        let mut flush = |max| {
            let closed = batch.close(max, None);
            let ids: Vec<_> = closed.calls().iter().map(|call| call.claim_id.clone()).collect();
            ids.concat()
        };
        assert_eq!([flush(3), flush(1), flush(9)], ["xaa", "y", "z"]);
        assert_eq!(batch.bytes(), 0);
    }

    #[test]
    fn a_batchs_bytes_include_the_answers() {
        let mut ledger = ledger();
        let mut batch = Batch::default();
        for (offset, types) in [(0, 0), (1, 64), (2, 64)] {
            batch.complete(completed(&mut ledger, offset, types));
        }
        let whole = batch.bytes();
        assert!(
            whole > 2 * 64 * (size_of::<Reason>() + "risk_typebatch_operation".len()),
            "{whole} bytes"
        );
        let closed = batch.close(2, None);
        assert_eq!(batch.bytes(), whole / 2, "what goes is no longer weighed, what stays is");
        batch.reopen(closed);
        assert_eq!(batch.bytes(), whole);
    }
}
