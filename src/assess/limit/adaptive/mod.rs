//! Adaptive: with how many calls at once an API does most, found by trying.
//!
//! Pure. Calls are watched in rounds of about as many as may be under way; only what began within a
//! round counts. A round says how many calls end well in a second. Now and then one is made with
//! more calls at once, and one with fewer: more stays where it brought more, fewer where it lost
//! nothing. A round in which many more calls fail than usual ends early, and fewer are made from
//! then on; if they fail whatever their number, that is usual. The invariants: never more than the
//! bound, never none; while claims do not wait for the limit, nothing is learned and nothing
//! changes.

use std::time::Duration;

use tokio::time::Instant;

/// In a round at least this many calls end well.
const ROUND_MIN: usize = 12;
/// So many rounds lie between two trials.
const REST: u32 = 3;
/// A trial of more adds so large a part at most, and at least: four times as large a one after each
/// that brought more, half as large a one after each that did not.
const STEP_MAX: f64 = 1.0;
const STEP_MIN: f64 = 0.05;
/// A trial of fewer, where not many calls fail.
const FEWER: f64 = 0.85;
/// More calls stay where they bring this part of what they would bring to an idle API.
const GAIN: f64 = 0.5;
/// Fewer calls stay where at least this part still ends well in the same time.
const LOSS: f64 = 0.95;
/// If this much more of the calls fail than usual, and at least this many, too many calls are made.
const FAILURES: f64 = 0.25;
const FAILURES_MIN: u32 = 10;
/// What is left of the limit when the breaker opens.
const AFTER_OPEN: f64 = 0.1;

/// The limit that is sought.
#[derive(Debug)]
pub(super) struct Adaptive {
    max: usize,
    limit: usize,
    trial: Trial,
    /// The part that the next trial of more adds.
    step: f64,
    /// Whether the next trial is one of more; they take turns.
    more_next: bool,
    /// The part of calls that fails whatever the limit is.
    usual_failures: f64,
    /// Whether a call was refused after the last that was permitted.
    is_reached: bool,
    round: Round,
}

/// What the round under way is for.
#[derive(Debug, Clone, Copy)]
enum Trial {
    /// No trial, and none before this many more rounds.
    None(u32),
    More(Before),
    Fewer(Before),
    /// Too many calls fail: fewer and fewer are made until they do not.
    Fall,
}

/// The limit before a trial, and what it brought.
#[derive(Debug, Clone, Copy)]
struct Before {
    limit: usize,
    goodput: f64,
}

/// The calls that began since, and have ended.
#[derive(Debug, Clone, Copy)]
struct Round {
    since: Instant,
    calls: u32,
    failed: u32,
    /// So many of them ended while others waited for the limit.
    at_limit: u32,
    /// The seconds that they took, in sum.
    busy: f64,
    /// Those of the calls that ended well.
    well_busy: f64,
}

impl Adaptive {
    /// Begins with few calls; `max` at most.
    pub(super) fn new(max: usize, now: Instant) -> Self {
        Self {
            max: max.max(1),
            limit: max.clamp(1, ROUND_MIN),
            trial: Trial::None(0),
            step: STEP_MAX,
            more_next: true,
            usual_failures: 0.0,
            is_reached: false,
            round: Round::new(now),
        }
    }

    /// Calls at once, for now.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// A caller asked for a permit, and got it or not; this many calls are under way now. If these
    /// are fewer than the limit allows, something else refused the permit.
    pub(super) fn asked(&mut self, granted: bool, under_way: usize) {
        self.is_reached = !granted && under_way >= self.limit;
    }

    /// A call has ended.
    pub(super) fn ended(&mut self, well: bool, took: Duration, now: Instant) {
        if now.checked_sub(took).is_none_or(|began| began < self.round.since) {
            return;
        }
        let round = &mut self.round;
        round.calls += 1;
        round.failed += u32::from(!well);
        round.at_limit += u32::from(self.is_reached);
        round.busy += took.as_secs_f64();
        round.well_busy += if well { took.as_secs_f64() } else { 0.0 };
        // Calls that are refused end soon, and say nothing of what the others are about to bring.
        let well = usize::try_from(round.calls - round.failed).unwrap_or(usize::MAX);
        let is_whole = well >= self.limit.max(ROUND_MIN);
        if is_whole || self.is_overloaded(&self.round) {
            self.judge(now);
        }
    }

    /// The breaker has opened: what comes after it begins with few calls.
    pub(super) fn breaker_opened(&mut self, now: Instant) {
        self.set(scaled(self.limit, AFTER_OPEN), Trial::None(0), now);
    }

    fn is_overloaded(&self, round: &Round) -> bool {
        round.failed >= FAILURES_MIN && round.failures() > self.usual_failures + FAILURES
    }

    fn judge(&mut self, now: Instant) {
        let round = self.round;
        let overloaded = self.is_overloaded(&round);
        let tried = Before { limit: self.limit, goodput: round.goodput(self.limit) };
        match self.trial {
            Trial::More(before) | Trial::Fewer(before) if !round.was_at_limit() => {
                self.set(before.limit, Trial::None(REST), now);
            }
            _ if !round.was_at_limit() => self.round = Round::new(now),
            Trial::More(before) if overloaded || !before.is_worth(tried) => {
                // Not so much more, but perhaps half of it: that is tried soon.
                let soon = self.step > STEP_MIN;
                self.more_next |= soon;
                self.step = (self.step / 2.0).max(STEP_MIN);
                self.set(before.limit, Trial::None(if soon { 1 } else { REST }), now);
            }
            Trial::More(_) => {
                self.step = (self.step * 4.0).min(STEP_MAX);
                self.try_more(tried, now);
            }
            _ if overloaded && self.limit > 1 => {
                let fewer = scaled(self.limit, round.useful()).min(self.limit - 1);
                self.set(fewer, Trial::Fall, now);
            }
            Trial::Fall => {
                self.usual_failures = round.failures();
                self.try_more(tried, now);
            }
            Trial::Fewer(before) if tried.goodput < before.goodput * LOSS => {
                self.set(before.limit, Trial::None(0), now);
            }
            Trial::Fewer(_) => self.set(self.limit, Trial::None(0), now),
            Trial::None(rest @ 1..) => {
                self.usual_failures = round.failures();
                self.set(self.limit, Trial::None(rest - 1), now);
            }
            Trial::None(0) => {
                let more = self.more_next && self.limit < self.max;
                self.more_next = !more;
                if more {
                    self.try_more(tried, now);
                } else {
                    self.set(scaled(self.limit, FEWER), Trial::Fewer(tried), now);
                }
            }
        }
    }

    fn try_more(&mut self, before: Before, now: Instant) {
        let more = scaled(self.limit, 1.0 + self.step).max(self.limit + 1);
        let trial = if self.limit < self.max { Trial::More(before) } else { Trial::None(REST) };
        self.set(more, trial, now);
    }

    fn set(&mut self, limit: usize, trial: Trial, now: Instant) {
        self.limit = limit.clamp(1, self.max);
        self.trial = trial;
        self.round = Round::new(now);
    }
}

impl Before {
    /// Whether a larger limit brings so much more that it is worth it.
    fn is_worth(self, larger: Self) -> bool {
        let added = float(larger.limit) / float(self.limit) - 1.0;
        larger.goodput > self.goodput * (1.0 + added * GAIN)
    }
}

impl Round {
    fn new(since: Instant) -> Self {
        Self { since, calls: 0, failed: 0, at_limit: 0, busy: 0.0, well_busy: 0.0 }
    }

    /// Whether the limit was what claims waited for.
    fn was_at_limit(&self) -> bool {
        self.at_limit * 2 >= self.calls
    }

    fn failures(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.calls.max(1))
    }

    /// The part of the calls under way that is not spent on those that fail; half at least.
    fn useful(&self) -> f64 {
        (self.well_busy / self.busy.max(1e-9)).max(0.5)
    }

    /// How many calls end well in a second, if this many are under way: by Little's law, so that it
    /// does not matter when they happened to end.
    fn goodput(&self, under_way: usize) -> f64 {
        float(under_way) * f64::from(self.calls - self.failed) / self.busy.max(1e-9)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit is far below 2^52")]
fn float(calls: usize) -> f64 {
    calls as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit times a few is positive and small, and a cast saturates"
)]
fn scaled(limit: usize, times: f64) -> usize {
    (float(limit) * times).round() as usize
}

#[cfg(test)]
mod tests;
