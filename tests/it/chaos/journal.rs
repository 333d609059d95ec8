//! The journal: everything that was done to the system, with its time, as lines for readers and as
//! facts for the oracle.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What happened. The times are UNIX milliseconds, as in Kafka and the simulator's log.
#[derive(Debug, Default, Clone)]
pub(super) struct Story {
    pub(super) lives: Vec<Life>,
    pub(super) outages: Vec<Outage>,
    /// When a fault was over, and which fault it was.
    pub(super) recoveries: Vec<(i64, String)>,
    pub(super) kills: usize,
    pub(super) stops: usize,
    pub(super) terminations: usize,
    pub(super) broker_outages: usize,
    /// Of these.
    pub(super) broker_kills: usize,
    pub(super) database_outages: usize,
    pub(super) promotions: usize,
    pub(super) api_faults: usize,
    /// What the lab found wrong by itself.
    pub(super) faults: Vec<String>,
}

/// One process of a worker, from its start to its end.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// Its name in the simulator: `w1.3`.
    pub(super) caller: String,
    pub(super) end: Option<(i64, End)>,
    /// When it was stopped with SIGSTOP, and when it went on.
    pub(super) sleeps: Vec<(i64, i64)>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// SIGKILL.
    Killed,
    /// It was told to stop then, and drained.
    Drained { told: i64 },
    /// By itself, with a sentence.
    GaveUp,
}

/// The broker or the database was away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) begin: i64,
    pub(super) end: i64,
}

/// The shared journal.
pub(super) struct Journal {
    began: Instant,
    story: Mutex<Story>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), story: Mutex::default() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A line for readers of the run.
    pub(super) fn say(&self, line: &str) {
        println!("[{:9.3}] {line}", self.elapsed().as_secs_f64());
    }

    pub(super) fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault is over: from here on the time to the next decision is measured.
    pub(super) fn recovered(&self, from: &str) {
        self.say(&format!("{from}: over"));
        self.story().recoveries.push((now(), from.to_owned()));
    }

    /// A fault of the worker that no comparison of identities would show.
    pub(super) fn fault(&self, what: String) {
        self.say(&what);
        self.story().faults.push(what);
    }

    /// A process starts; its number.
    pub(super) fn life(&self, caller: String) -> usize {
        let mut story = self.story();
        story.lives.push(Life { caller, end: None, sleeps: Vec::new() });
        story.lives.len() - 1
    }

    pub(super) fn ended(&self, life: usize, how: End) {
        self.story().lives[life].end = Some((now(), how));
    }
}

/// UNIX milliseconds.
pub(super) fn now() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)
        .unwrap_or(i64::MAX)
}
