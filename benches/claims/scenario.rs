//! What is compared: contenders, and the scenarios that each of them goes through.

use std::fmt;

/// What decides the claims.
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
    /// All contenders; the first is the one that the others are compared with.
    pub(crate) const ALL: [Self; 3] = [Self::RawLoop, Self::AtLeastOnce, Self::ExactlyOnce];

    /// Its name in tables, topics and databases; a worker has the name of its guarantee.
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
    /// All of them are in the topic when the clock starts.
    Waiting,
    /// This many per second.
    Steady(u32),
}

/// How the simulated risk API answers.
#[derive(Debug, Clone)]
pub(crate) struct RiskApi {
    /// Its latency, in the form of the simulator's `--latency`.
    pub(crate) latency: String,
    /// The share of transient answers.
    pub(crate) transient: f64,
    /// What its calls go over.
    pub(crate) transport: Transport,
}

/// What calls go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS, on this many connections.
    Http2(usize),
}

impl Transport {
    /// `egress.http2_connections`.
    pub(crate) fn connections(self) -> usize {
        if let Self::Http2(connections) = self { connections } else { 0 }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain HTTP"),
            Self::Tls => f.write_str("TLS"),
            Self::Http2(connections) => write!(f, "HTTP/2 on {connections} connections"),
        }
    }
}

impl RiskApi {
    /// Whether one call per claim is enough: no answer is late or transient.
    pub(crate) fn is_steady(&self) -> bool {
        self.transient == 0.0 && !self.latency.contains('~')
    }
}

/// One measurement, made for every contender.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// The number of claims.
    pub(crate) claims: usize,
    /// How they come.
    pub(crate) arrival: Arrival,
    /// The risk API.
    pub(crate) api: RiskApi,
    /// The most calls at once, in the worker and in the raw loop.
    pub(crate) concurrency: usize,
    /// The partitions of each topic.
    pub(crate) partitions: i32,
    /// This many of the claims belong to one account, evenly spread.
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
        if api.transport != Transport::Plain {
            write!(f, " over {}", api.transport)?;
        }
        if api.transient > 0.0 {
            write!(f, ", and says {} times of 100 to try again", api.transient * 100.0)?;
        }
        write!(f, "; {concurrency} calls at once, {partitions} partitions; rounds: {rounds}")
    }
}
