//! The tickets of solved captchas: each passes only the first two checks, and none passes when it
//! is too old.

use std::collections::HashMap;
use std::time::Duration;

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

    /// Whether the ticket is good this time, at `now` in UNIX seconds. A ticket with the word
    /// `wrong` never is. A ticket with `at-N`, the time when it was issued, is good for as long as
    /// tickets are valid.
    pub(super) fn passes(&mut self, ticket: &str, now: i64, life: Duration) -> bool {
        let mut pieces = ticket.split(['-', '_', '.']);
        if pieces.clone().any(|piece| piece == "wrong") {
            return false;
        }
        let earned =
            pieces.find(|piece| *piece == "at").and_then(|_| pieces.next()?.parse::<i64>().ok());
        let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        if earned.is_some_and(|earned| now.saturating_sub(earned) > life) {
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
        let mut passes = |ticket| tickets.passes(ticket, 1_000, Duration::from_secs(60));
        assert_eq!([(); 3].map(|()| passes("t")), [true, true, false]);
        assert!(passes("other") && !passes("wrong-1"));
        assert!(passes("ticket-at-940") && !passes("ticket-at-939") && passes("at"));
    }
}
