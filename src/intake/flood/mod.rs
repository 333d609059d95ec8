//! The flood bound: a producer gone wrong must not drain its topic into dead letters.
//!
//! Pure: time is an argument. It watches how events of the input topic turn out. Too many malformed
//! ones, in a row or as a part of a window, are a flood: then nothing is admitted but one record at
//! a time, a *probe*, and a probe that is well-formed ends it.
//!
//! An event is judged twice: when it is read (malformed or not), and a well-formed one again when
//! its claim was looked up, for a claim id that was used before with other content makes a dead
//! letter too. The invariant: only what was admitted as a probe ends a flood, for what was in
//! flight when it began says nothing about what comes; and only an event with a fault begins one.
//!
//! ```
//! use std::time::Duration;
//! use claimgate::intake::Partition;
//! use claimgate::intake::flood::{Bounds, Change, Flood};
//!
//! let second = Duration::from_secs(1);
//! let bounds = Bounds {
//!     max_run: 2, max_ratio: 0.5, min_events: 100, window: 60 * second, probe_every: 10 * second,
//! };
//! let (mut flood, now) = (Flood::new(bounds), tokio::time::Instant::now());
//! let place = |offset| (Partition::claims(0), offset);
//! assert_eq!(flood.read(now, place(1), true), None);
//! assert_eq!(flood.read(now, place(2), true), Some(Change::Run(2)));
//! assert!(!flood.admits(now), "the rest stays in Kafka");
//! assert!(flood.admits(now + 10 * second), "but for a probe");
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Partition;

/// The window moves in so many steps.
const STEPS: u32 = 20;

/// The bounds, see `[dead_letters]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// So many malformed events in a row.
    pub max_run: u32,
    /// So large a part of a window's events.
    pub max_ratio: f64,
    /// The least events of a window that its ratio says something about.
    pub min_events: u32,
    /// The time just past that counts.
    pub window: Duration,
    /// How often a probe is admitted.
    pub probe_every: Duration,
}

/// Where an event stands: what tells a probe from the rest.
pub type Place = (Partition, i64);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// So many malformed events in a row: a flood began.
    Run(u32),
    /// So large a part of a window's events: a flood began.
    Ratio(f64),
    /// A well-formed event came: the flood is over.
    Over,
}

/// Watches for floods.
#[derive(Debug)]
pub struct Flood {
    bounds: Bounds,
    state: State,
}

#[derive(Debug)]
enum State {
    Calm(Calm),
    Flooded {
        /// When the next probe may be admitted.
        next_probe: Instant,
        /// The probe that is well-formed as far as is known, until its claim was looked up.
        probe: Option<Place>,
    },
}

/// The counters of calm times.
#[derive(Debug, Default)]
struct Calm {
    /// Malformed events since the last one that could be read.
    run: u32,
    /// Conflicts since the last claim that was none.
    conflicts: u32,
    steps: VecDeque<Step>,
    events: u64,
    malformed: u64,
}

#[derive(Debug)]
struct Step {
    began: Instant,
    events: u64,
    malformed: u64,
}

impl Flood {
    /// Calm, with these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: State::Calm(Calm::default()) }
    }

    /// Whether a record of the input topic may be admitted now.
    pub fn admits(&self, now: Instant) -> bool {
        match &self.state {
            State::Calm(_) => true,
            State::Flooded { next_probe, probe } => probe.is_none() && now >= *next_probe,
        }
    }

    /// Whether a flood is on.
    pub fn is_on(&self) -> bool {
        matches!(self.state, State::Flooded { .. })
    }

    /// When the next probe is due.
    pub fn next_probe(&self) -> Option<Instant> {
        match &self.state {
            State::Flooded { next_probe, probe: None } => Some(*next_probe),
            State::Flooded { probe: Some(_), .. } | State::Calm(_) => None,
        }
    }

    /// An admitted event of the input topic was read: a claim, or malformed.
    pub fn read(&mut self, now: Instant, place: Place, malformed: bool) -> Option<Change> {
        match &mut self.state {
            State::Calm(calm) => {
                calm.count(now, self.bounds.window, 1, u64::from(malformed));
                calm.run = if malformed { calm.run.saturating_add(1) } else { 0 };
                malformed.then(|| self.begin(now)).flatten()
            }
            State::Flooded { next_probe, probe } => {
                *next_probe = now + self.bounds.probe_every;
                *probe = (!malformed).then_some(place);
                None
            }
        }
    }

    /// The claim of an event that was read before was looked up: it is a conflict with one recorded
    /// before, or it is not.
    pub fn looked_up(&mut self, now: Instant, place: Place, conflict: bool) -> Option<Change> {
        match &mut self.state {
            State::Calm(calm) => {
                calm.count(now, self.bounds.window, 0, u64::from(conflict));
                calm.conflicts = if conflict { calm.conflicts.saturating_add(1) } else { 0 };
                conflict.then(|| self.begin(now)).flatten()
            }
            State::Flooded { probe, .. } if *probe != Some(place) => None,
            State::Flooded { next_probe, probe } if conflict => {
                *probe = None;
                *next_probe = now + self.bounds.probe_every;
                None
            }
            State::Flooded { .. } => {
                self.state = State::Calm(Calm::default());
                Some(Change::Over)
            }
        }
    }

    /// An event left before its claim was looked up: it was dropped with its partition, or
    /// deferred. If it was the probe, another one takes its place when it is due.
    pub fn left(&mut self, place: Place) {
        if let State::Flooded { probe, .. } = &mut self.state {
            probe.take_if(|probe| *probe == place);
        }
    }

    /// Begins a flood if a bound is reached.
    fn begin(&mut self, now: Instant) -> Option<Change> {
        let State::Calm(calm) = &self.state else { return None };
        let change = calm.over(&self.bounds)?;
        self.state = State::Flooded { next_probe: now + self.bounds.probe_every, probe: None };
        Some(change)
    }
}

impl Calm {
    fn count(&mut self, now: Instant, window: Duration, events: u64, malformed: u64) {
        while self.steps.front().is_some_and(|step| now.duration_since(step.began) >= window) {
            if let Some(old) = self.steps.pop_front() {
                self.events -= old.events;
                self.malformed -= old.malformed;
            }
        }
        let current =
            self.steps.back().is_some_and(|step| now.duration_since(step.began) < window / STEPS);
        if !current {
            self.steps.push_back(Step { began: now, events: 0, malformed: 0 });
        }
        if let Some(step) = self.steps.back_mut() {
            step.events += events;
            step.malformed += malformed;
        }
        self.events += events;
        self.malformed += malformed;
    }

    fn over(&self, bounds: &Bounds) -> Option<Change> {
        let run = self.run.max(self.conflicts);
        if run >= bounds.max_run {
            return Some(Change::Run(run));
        }
        if self.events < u64::from(bounds.min_events) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let ratio = self.malformed as f64 / self.events as f64;
        (ratio > bounds.max_ratio).then_some(Change::Ratio(ratio))
    }
}

#[cfg(test)]
mod tests;
