//! The flood bound: a faulty producer must not turn its whole topic into dead letters.
//!
//! Pure: time is an argument. It counts well-formed and malformed events of the input topic. Too
//! many malformed ones, in a row or as a part of a window, are a flood. During a flood only one
//! record at a time is admitted, a *probe*. A well-formed probe ends the flood.
//!
//! An event is judged when it is read (malformed or not). A well-formed event is judged again when
//! its claim was looked up, because a claim id that was used before with other content makes a dead
//! letter too. The invariants: only a record that was admitted as a probe ends a flood, because
//! records that were in flight when it began say nothing about later ones; only an event with a
//! fault begins one.
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

/// The window moves in this many steps.
const STEPS: u32 = 20;

/// The bounds, see `[dead_letters]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// The number of malformed events in a row that is a flood.
    pub max_run: u32,
    /// The part of a window's events that is a flood if malformed.
    pub max_ratio: f64,
    /// The least number of events in a window for the ratio to count.
    pub min_events: u32,
    /// The length of the window.
    pub window: Duration,
    /// How often a probe is admitted.
    pub probe_every: Duration,
}

/// The place of an event: it distinguishes a probe from the rest.
pub type Place = (Partition, i64);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// A flood began: this many malformed events in a row.
    Run(u32),
    /// A flood began: this part of a window's events was malformed.
    Ratio(f64),
    /// The flood is over: a well-formed probe came.
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
        /// The probe that was read as well-formed, until its claim was looked up.
        probe: Option<Place>,
    },
}

/// The counters while there is no flood.
#[derive(Debug, Default)]
struct Calm {
    /// Malformed events since the last one that could be read.
    run: u32,
    /// Conflicts since the last claim without one.
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
    /// No flood yet, with these bounds.
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

    /// Whether there is a flood.
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

    /// The claim of an event that was read before was looked up: it conflicts with a recorded
    /// claim, or it does not.
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

    /// An event was dropped with its partition, or deferred, before its claim was looked up. If it
    /// was the probe, another probe replaces it when it is due.
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
