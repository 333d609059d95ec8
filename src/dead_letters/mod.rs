//! Dead letters: lists and shows them, and replays their events once the cause is fixed.
//!
//! The table `dead_letters` has the exact bytes of every event; this module reads it. Only
//! [`replay`] sends anything. Only [`journal`] writes to Postgres: who replayed what, why, and
//! where it went. [`plan`], [`event`], [`address`] and [`filter`] are pure.
//!
//! The invariants:
//! - No event is sent before its replay is announced in Postgres, so that every replay leaves a
//!   trace.
//! - No event is sent twice under one number. Of two announcements Postgres accepts one. A replay
//!   that was cut short is looked for in the topic before it is sent again; by then the earlier
//!   producer is fenced and can send nothing more.
//! - No event is replayed more than `dead_letters.max_replays` times: its count travels in its
//!   headers.
//!
//! `docs/dead-letters.md` is the page for operators.

mod address;
mod command;
mod event;
mod filter;
mod journal;
mod letters;
mod list;
mod outcome;
mod plan;
mod portion;
mod producer;
mod recovery;
mod replay;
mod show;

use std::time::Duration;

use serde::Deserialize;

use crate::findings::Finding;
use crate::intake::flood;
use crate::outbox::StoreError;
pub use command::{DeadLetters, DeadLettersCommand};
pub use event::{REPLAYED_FROM, REPLAYS};

/// The section `[dead_letters]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most replays of one event: an event that still fails then is refused.
    pub max_replays: u32,
    /// This many malformed events in a row are a flood.
    pub max_run: u32,
    /// A flood is also this part of a window's events being malformed…
    pub max_ratio: f64,
    /// …if the window has at least this many events…
    pub min_events: u32,
    /// …and this is the length of the window.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How often one record is taken on during a flood, to find out whether it has ended.
    #[serde(with = "humantime_serde")]
    pub probe_every: Duration,
}

impl Settings {
    /// The bounds on malformed events.
    pub fn flood_bounds(&self) -> flood::Bounds {
        flood::Bounds {
            max_run: self.max_run,
            max_ratio: self.max_ratio,
            min_events: self.min_events,
            window: self.window,
            probe_every: self.probe_every,
        }
    }

    /// Values that the types allow and that must not be.
    pub fn faults(&self) -> Vec<Finding> {
        let wrong = |key: &str, sentence| Finding::wrong(format!("dead_letters.{key}"), sentence);
        let counts = [
            ("max_replays", self.max_replays),
            ("max_run", self.max_run),
            ("min_events", self.min_events),
        ];
        let zero = counts.iter().filter(|(_, count)| *count == 0);
        let mut faults: Vec<Finding> =
            zero.map(|(key, _)| wrong(key, "must be at least 1")).collect();
        // At 0 every event would be a flood, and a flood without probes would never end.
        if !(self.max_ratio > 0.0 && self.max_ratio <= 1.0) {
            faults.push(wrong("max_ratio", "must be more than 0 and no more than 1"));
        }
        faults
    }
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// PostgreSQL did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
    /// Kafka did not accept what was sent.
    #[error("{0}")]
    Kafka(String),
    /// The question is not possible.
    #[error("{0}")]
    Usage(String),
    /// There is no such dead letter.
    #[error("no dead letter matches")]
    Nothing,
    /// Some letters were not replayed.
    #[error("{undone} of {letters} dead letters were not replayed; their lines say why")]
    Undone {
        /// How many were not replayed.
        undone: u64,
        /// Of how many letters.
        letters: u64,
    },
}
