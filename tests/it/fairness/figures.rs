//! The figures of a stream: decided of sent in the second half, and how long its claims waited.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::load::Sent;
use crate::tail::Decided;

/// The table's head.
pub(super) const HEAD: &str = "| A | B: decided of sent | B keeps | B waits p50, p99 | in flight \
    at the end |\n\
                               | --- | --- | --- | --- | --- |";

/// The figures of one row.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    sent: usize,
    decided: usize,
    p50: Duration,
    p99: Duration,
    in_flight: u64,
    /// Faults besides figures.
    pub(super) faults: Vec<String>,
}

impl Figures {
    /// What the claims of `sent` got from `half` to `end`.
    pub(super) fn of(
        sent: &Sent,
        decided: &[Decided],
        half: Instant,
        end: Instant,
        in_flight: u64,
    ) -> Self {
        let within = |at: &Instant| (half..end).contains(at);
        let mine = decided.iter().filter(|decided| within(&decided.at));
        let mine =
            mine.filter_map(|decided| Some((sent.stream.number(&decided.claim_id)?, decided.at)));
        let mut waits: Vec<Duration> =
            mine.map(|(number, at)| at.saturating_duration_since(sent.at[number])).collect();
        waits.sort_unstable();
        let part = |part: f64| {
            let index = (waits.len() as f64 * part) as usize;
            waits.get(index.min(waits.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Self {
            sent: sent.at.iter().filter(|at| within(at)).count(),
            decided: waits.len(),
            p50: part(0.5),
            p99: part(0.99),
            in_flight,
            faults: twice(decided),
        }
    }

    fn share(&self) -> f64 {
        self.decided as f64 / self.sent.max(1) as f64
    }

    /// The part of its decisions that B keeps, compared with its rate alone.
    pub(super) fn kept(&self, alone: &Self) -> f64 {
        self.share() / alone.share()
    }

    /// A row of the table.
    pub(super) fn row(&self, what: &str, alone: &Self) -> String {
        format!(
            "| {what} | {} of {} | {:.1} % | {:.2} s, {:.2} s | {} |",
            self.decided,
            self.sent,
            self.kept(alone) * 100.0,
            self.p50.as_secs_f64(),
            self.p99.as_secs_f64(),
            self.in_flight
        )
    }
}

/// Claims with more than one decision.
fn twice(decided: &[Decided]) -> Vec<String> {
    let mut seen = HashSet::new();
    let again = decided.iter().filter(|decided| !seen.insert(&*decided.claim_id));
    again.map(|decided| format!("{} was decided twice", decided.claim_id)).collect()
}
