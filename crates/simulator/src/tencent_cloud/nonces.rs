//! The used nonces: a request that comes twice is a replay (4500).

use std::collections::{BTreeMap, HashSet};

/// The most nonces; with more, the oldest second is dropped.
const MOST: usize = 10_000_000;

/// Nonces by `Timestamp`. Seconds that the clock check refuses anyway are forgotten.
#[derive(Debug, Default)]
pub(in super::super) struct Nonces {
    seconds: BTreeMap<i64, HashSet<u64>>,
    held: usize,
}

impl Nonces {
    /// Whether the pair is new; it is noted as used. `tolerance` is how far a timestamp may be off,
    /// in seconds.
    pub(super) fn is_new(
        &mut self,
        timestamp: i64,
        nonce: u64,
        now: i64,
        tolerance: Option<u64>,
    ) -> bool {
        let oldest = tolerance.map_or(i64::MIN, |seconds| now.saturating_sub_unsigned(seconds));
        while self
            .seconds
            .first_key_value()
            .is_some_and(|(&second, _)| second < oldest || self.held >= MOST)
        {
            self.held -= self.seconds.pop_first().map_or(0, |(_, nonces)| nonces.len());
        }
        let is_new = self.seconds.entry(timestamp).or_default().insert(nonce);
        self.held += usize::from(is_new);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_new_once_and_forgotten_after_its_time() {
        let mut nonces = Nonces::default();
        assert!(nonces.is_new(1000, 7, 1000, Some(300)));
        assert!(!nonces.is_new(1000, 7, 1300, Some(300)));
        assert!(nonces.is_new(1001, 7, 1000, Some(300)), "another second");
        assert!(nonces.is_new(1000, 8, 1000, Some(300)), "another nonce");
        assert!(nonces.is_new(1302, 9, 1302, Some(300)));
        assert_eq!((nonces.held, nonces.seconds.len()), (1, 1));
    }
}
