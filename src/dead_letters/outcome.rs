//! The outcome of each letter of a replay, printed as it happens, and the counts of outcomes.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

use super::DeadLetterError;
use crate::audit::shown::{printable_json, printable_line};
use crate::decision::Source;

/// The outcome for one letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Kafka has its event: the replay's number, and where.
    Replayed(i32, Source),
    /// It would be sent: the replay's number, and the letter.
    WouldReplay(i32, String),
    /// It needs no replay, and why.
    LeftOut(String),
    /// It has reached the bound on replays.
    Refused {
        /// How often it was replayed.
        replays: i32,
        /// What is still wrong with it.
        error: String,
    },
    /// It was not sent, and why.
    Failed(String),
}

/// The number of letters by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) replayed: u64,
    pub(super) would_replay: u64,
    pub(super) left_out: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
}

impl Tally {
    fn of(&mut self, outcome: &Outcome) -> &mut u64 {
        match outcome {
            Outcome::Replayed(..) => &mut self.replayed,
            Outcome::WouldReplay(..) => &mut self.would_replay,
            Outcome::LeftOut(_) => &mut self.left_out,
            Outcome::Refused { .. } => &mut self.refused,
            Outcome::Failed(_) => &mut self.failed,
        }
    }

    /// Letters looked at.
    pub(super) fn letters(&self) -> u64 {
        let Self { replayed, would_replay, left_out, refused, failed } = self;
        replayed + would_replay + left_out + refused + failed
    }
}

/// Prints the progress of a replay: one line for each letter.
pub(super) struct Reporter<'a, W> {
    json: bool,
    out: &'a mut W,
    tally: Tally,
}

#[derive(Serialize)]
struct Line<'a> {
    letter: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a, W: Write> Reporter<'a, W> {
    pub(super) fn new(json: bool, out: &'a mut W) -> Self {
        Self { json, out, tally: Tally::default() }
    }

    /// Prints the outcome of a letter.
    pub(super) fn say(
        &mut self,
        letter: &impl Display,
        outcome: Outcome,
    ) -> Result<(), DeadLetterError> {
        *self.tally.of(&outcome) += 1;
        if self.json {
            let json =
                serde_json::to_string(&outcome.line(letter)).map_err(std::io::Error::from)?;
            writeln!(self.out, "{}", printable_json(&json))?;
        } else {
            writeln!(self.out, "{}", printable_line(&format!("{letter}: {}", outcome.text())))?;
        }
        self.out.flush()?;
        Ok(())
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Self::Replayed(number, place) => format!("replayed as {place}, replay {number}"),
            Self::WouldReplay(number, said) => {
                format!("would be replayed, replay {number}: {said}")
            }
            Self::LeftOut(why) => format!("left out: {why}"),
            Self::Refused { replays, error } => format!(
                "refused: it was replayed {replays} times (dead_letters.max_replays) and is still \
                 a dead letter ({error}); another replay would not help"
            ),
            Self::Failed(why) => format!("failed: {why}"),
        }
    }

    fn line<'a>(&'a self, letter: &impl Display) -> Line<'a> {
        let line = |outcome, number: Option<&i32>, place: Option<&Source>, why| Line {
            letter: letter.to_string(),
            outcome,
            number: number.copied(),
            place: place.map(ToString::to_string),
            why,
        };
        match self {
            Self::Replayed(number, place) => line("replayed", Some(number), Some(place), None),
            Self::WouldReplay(number, said) => {
                line("would_replay", Some(number), None, Some(said.as_str()))
            }
            Self::LeftOut(why) => line("left_out", None, None, Some(why.as_str())),
            Self::Refused { error, .. } => line("refused", None, None, Some(error.as_str())),
            Self::Failed(why) => line("failed", None, None, Some(why.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_one_line_whatever_its_event_holds() {
        let mut out = Vec::new();
        let mut reporter = Reporter::new(false, &mut out);
        let said = "not_json, 1 bytes, key k\nreward.claims/0/1: replayed".to_owned();
        reporter.say(&"reward.claims/0/0", Outcome::WouldReplay(1, said)).expect("a buffer");
        let said = String::from_utf8(out).expect("text");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
