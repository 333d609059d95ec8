//! What is compared: contenders, and the scenarios that each of them goes through.

use std::fmt;

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

/// How the simulated risk API answers.
#[derive(Debug, Clone)]
pub(crate) struct RiskApi {
    /// How long it takes, as the simulator's `--latency` wants it.
    pub(crate) latency: String,
    /// The share of its answers that say: try again.
    pub(crate) transient: f64,
}

impl RiskApi {
    /// Whether one call a claim is enough: no answer is late, none says to try again.
    pub(crate) fn is_steady(&self) -> bool {
        self.transient == 0.0 && !self.latency.contains('~')
    }
}

/// One thing that is measured, of every contender.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// How many claims.
    pub(crate) claims: usize,
    /// How they come.
    pub(crate) arrival: Arrival,
    /// Who is asked.
    pub(crate) api: RiskApi,
    /// How many calls are made at once, at most, in the worker and in the raw loop.
    pub(crate) concurrency: usize,
    /// Of each topic.
    pub(crate) partitions: i32,
    /// So many of the claims are one account's, evenly spread.
    pub(crate) hot: usize,
    /// How often each contender runs.
    pub(crate) rounds: usize,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claims, arrival, api, concurrency, partitions, hot, rounds } = self;
        match arrival {
            Arrival::Waiting => write!(f, "{claims} claims that wait in line")?,
            Arrival::Steady(rate) => write!(f, "{claims} claims that come {rate} a second")?,
        }
        if *hot > 0 {
            write!(f, ", {hot} of one account")?;
        }
        write!(f, "; the risk API takes {}", api.latency)?;
        if api.transient > 0.0 {
            write!(f, ", and says {} times of 100 to try again", api.transient * 100.0)?;
        }
        write!(f, "; {concurrency} calls at once, {partitions} partitions; rounds: {rounds}")
    }
}
