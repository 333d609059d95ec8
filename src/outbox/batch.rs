//! The batch that fills while the last one is on its way.

use super::{Call, Sealed, Settled};

/// Records and attempts that wait for the next flush. Bounded by `worker.max_in_flight`, for every record in it is in flight.
#[derive(Debug, Default)]
pub struct Batch {
    settled: Vec<Settled>,
    calls: Vec<Call>,
    /// Of the answers in `calls`.
    bytes: usize,
    /// Batches closed so far.
    closed: u64,
}

impl Batch {
    /// Adds a record that has ended.
    pub fn settle(&mut self, settled: Settled) {
        self.settled.push(settled);
    }

    /// Adds an attempt. Its claim may not be decided yet: what the API answered is kept all the same.
    pub fn add_call(&mut self, call: Call) {
        self.bytes += size(&call);
        self.calls.push(call);
    }

    /// Whether there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.calls.is_empty()
    }

    /// Records and attempts that wait.
    pub fn len(&self) -> usize {
        self.settled.len() + self.calls.len()
    }

    /// Attempts that wait.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The bytes of the answers that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Closes the batch, with at most `max` records; what is more waits for the next. The attempts all go along: no verdict may be
    /// recorded before the answer that it rests on.
    pub fn seal(&mut self, max: usize) -> Sealed {
        let settled = self.settled.drain(..max.min(self.settled.len())).collect();
        self.bytes = 0;
        self.closed += 1;
        Sealed { number: self.closed, settled, calls: std::mem::take(&mut self.calls) }
    }

    /// Puts a batch that could not be recorded back in front.
    pub fn unseal(&mut self, sealed: Sealed) {
        self.settled.splice(0..0, sealed.settled);
        self.bytes += sealed.calls.iter().map(size).sum::<usize>();
        self.calls.splice(0..0, sealed.calls);
    }
}

fn size(call: &Call) -> usize {
    call.response.as_ref().map_or(0, Vec::len)
}
