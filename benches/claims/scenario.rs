//! What is compared: contenders, and the scenarios that each of them goes through.

use std::time::Duration;

/// Who decides the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The same libraries in a loop, and no guarantee.
    RawLoop,
    /// The worker, `kafka.guarantee = "at_least_once"`.
    AtLeastOnce,
    /// The worker, `kafka.guarantee = "exactly_once"`.
    ExactlyOnce,
}

impl Contender {
    /// All of them, the one that the others are compared with first.
    pub(crate) const ALL: [Self; 3] = [Self::RawLoop, Self::AtLeastOnce, Self::ExactlyOnce];

    /// Its name in tables, topics and databases; the worker's are those of its guarantee.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RawLoop => "raw_loop",
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
        }
    }
}

/// How claims come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrival {
    /// All of them are there when the clock starts.
    Waiting,
    /// So many a second.
    Steady(u32),
}

/// One thing that is measured, of every contender.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// How many claims.
    pub(crate) claims: usize,
    /// How they come.
    pub(crate) arrival: Arrival,
    /// How long the simulated risk API takes to answer.
    pub(crate) latency: Duration,
    /// How many calls are made at once, at most, in the worker and in the raw loop.
    pub(crate) concurrency: usize,
    /// How often each contender runs.
    pub(crate) rounds: usize,
}
