//! The tickets of solved captchas: each passes the first two checks and no more.

use std::collections::HashMap;

use super::super::verdicts;

/// How often a ticket passes.
const PASSES: u8 = 2;

/// Tickets by hash, and how often each passed. It starts afresh when full.
#[derive(Debug)]
pub(in super::super) struct Tickets {
    capacity: usize,
    passed: HashMap<u64, u8>,
}

impl Tickets {
    pub(in super::super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), passed: HashMap::new() }
    }

    /// Whether the ticket is good this time. One with the word `wrong` never is.
    pub(super) fn passes(&mut self, ticket: &str) -> bool {
        if ticket.split(['-', '_', '.']).any(|piece| piece == "wrong") {
            return false;
        }
        if self.passed.len() >= self.capacity {
            self.passed = HashMap::new();
        }
        let passed = self.passed.entry(verdicts::hash(&[ticket.as_bytes()])).or_insert(0);
        *passed = passed.saturating_add(1);
        *passed <= PASSES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_passes_twice() {
        let mut tickets = Tickets::new(10);
        assert_eq!([(); 3].map(|()| tickets.passes("t")), [true, true, false]);
        assert!(tickets.passes("other") && !tickets.passes("wrong-1"));
    }
}
