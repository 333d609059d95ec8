//! Replaying: page by page, portion by portion, each letter to its own end.
//!
//! A portion's way: plan, look for what was cut short, announce, send, record the places, say so
//! ([`super::portion`] is all but the plan). The order is the point: whatever ends the command
//! between two steps, the next command finds out and goes on from there.

use std::collections::HashSet;
use std::io::Write;

use time::OffsetDateTime;

use super::address::{Address, ambiguous};
use super::event::replays_before;
use super::filter::Selection;
use super::letters::{LatestReplay, Letter, at_place, page, server_time};
use super::list::summary;
use super::outcome::{Outcome, Reporter, Tally};
use super::plan::{Plan, plan};
use super::producer::ReplayProducer;
use super::{DeadLetterError, DeadLetters};
use crate::audit::Approval;
use crate::audit::shown::instant;
use crate::schema::ReplayId;

/// Letters that are looked at together, without their payloads.
const PAGE: u32 = 500;
/// The bytes of letters that are in memory, and in one transaction, at once; a single larger one
/// goes alone.
const PORTION_BYTES: i64 = 8 << 20;

/// What is to be replayed, and how.
pub(super) struct Request {
    pub(super) selection: Selection,
    /// At most so many letters are sent, the oldest that are not left out.
    pub(super) limit: Option<u32>,
    /// Those that were replayed already, too.
    pub(super) again: bool,
    /// Say what would be sent, and send nothing.
    pub(super) dry_run: bool,
    pub(super) approval: Approval,
}

/// A replay under way.
pub(super) struct Replay<'a, W> {
    pub(super) context: DeadLetters<'a>,
    pub(super) request: Request,
    /// When it began, by Postgres' clock.
    pub(super) started: OffsetDateTime,
    /// Made for the first letter that is to be sent.
    pub(super) producer: Option<ReplayProducer>,
    pub(super) reporter: Reporter<'a, W>,
}

impl<'a, W: Write> Replay<'a, W> {
    /// A replay of letters that are there now.
    pub(super) async fn begin(
        context: DeadLetters<'a>,
        mut request: Request,
        json: bool,
        out: &'a mut W,
    ) -> Result<Self, DeadLetterError> {
        let started = server_time(context.store).await?;
        // A replay that is malformed still becomes a letter again: not one for this command.
        request.selection.recorded_before = Some(started);
        Ok(Self { context, request, started, producer: None, reporter: Reporter::new(json, out) })
    }

    /// Replays what was asked for.
    ///
    /// # Errors
    /// [`DeadLetterError`]: the rest was not looked at. What was said before has happened.
    pub(super) async fn run(mut self) -> Result<Tally, DeadLetterError> {
        self.leave_out_ambiguous().await?;
        let mut missing: HashSet<Address> = self.request.selection.named.iter().cloned().collect();
        let mut after: Option<Letter> = None;
        while self.left() > 0 {
            let letters =
                page(self.context.store, &self.request.selection, after.as_ref(), PAGE).await?;
            let Some(last) = letters.last() else { break };
            after = Some(last.clone());
            for letter in &letters {
                missing.retain(|named| !named.names(&letter.id));
            }
            let mut rest = letters.as_slice();
            while !rest.is_empty() && self.left() > 0 {
                let seen = self.replay_portion(portion(rest, |letter| letter.bytes)).await?;
                rest = &rest[seen..];
            }
        }
        if self.request.limit.is_none() {
            for named in self.request.selection.named.iter().filter(|named| missing.contains(named))
            {
                self.reporter
                    .say(named, Outcome::Failed("no dead letter was this record".to_owned()))?;
            }
        }
        Ok(self.reporter.tally())
    }

    /// How many letters may be sent still. Those that are left out, refused or failed do not count,
    /// or the next command with this limit would come no further.
    fn left(&self) -> u64 {
        let Tally { replayed, would_replay, .. } = self.reporter.tally();
        self.request.limit.map_or(u64::MAX, u64::from).saturating_sub(replayed + would_replay)
    }

    /// A place at which several events stood names none of them.
    async fn leave_out_ambiguous(&mut self) -> Result<(), DeadLetterError> {
        let named = std::mem::take(&mut self.request.selection.named);
        let none_named = named.is_empty();
        for address in named {
            let at = at_place(self.context.store, &address).await?;
            if at.len() > 1 {
                self.reporter.say(&address, Outcome::Failed(ambiguous(at.iter())))?;
            } else {
                self.request.selection.named.push(address);
            }
        }
        // Without a name everything would be meant.
        if !none_named && self.request.selection.named.is_empty() {
            self.request.limit = Some(0);
        }
        Ok(())
    }

    /// Brings letters to their ends, the first ones if there are more than may be sent; says how
    /// many they were.
    async fn replay_portion(&mut self, letters: &[Letter]) -> Result<usize, DeadLetterError> {
        let (mut due, mut unfinished, mut seen) = (Vec::new(), Vec::new(), 0);
        for letter in letters {
            if self.left() <= (due.len() + unfinished.len()) as u64 {
                break;
            }
            seen += 1;
            let before = replays_before(letter.replays_header.as_deref());
            match plan(before, letter.latest_replay(), self.request.again, self.context.max_replays)
            {
                Plan::Replay(number) if self.request.dry_run => {
                    self.reporter.say(&letter.id, Outcome::WouldReplay(number, summary(letter)))?;
                }
                Plan::Replay(number) => due.push(ReplayId { letter: letter.id.clone(), number }),
                Plan::Resume(latest) if self.request.dry_run => {
                    let said = format!(
                        "{}, unless the command of {} that was cut short sent it",
                        summary(letter),
                        latest.by
                    );
                    self.reporter.say(&letter.id, Outcome::WouldReplay(latest.number, said))?;
                }
                Plan::Resume(latest) => unfinished
                    .push((ReplayId { letter: letter.id.clone(), number: latest.number }, latest)),
                Plan::LeaveOut(latest) => self.reporter.say(
                    &letter.id,
                    Outcome::LeftOut(format!("{}; --again sends it once more", replayed(&latest))),
                )?,
                Plan::Refuse { replays } => {
                    self.reporter.say(
                        &letter.id,
                        Outcome::Refused { replays, error: letter.error.clone() },
                    )?;
                }
            }
        }
        if due.is_empty() && unfinished.is_empty() {
            return Ok(seen);
        }
        // From here on what earlier commands sent is in the topic, or never will be.
        self.producer = Some(self.take_producer().await?);
        let resumed = self.look_for(unfinished).await?;
        self.send(due, resumed).await?;
        Ok(seen)
    }
}

pub(super) fn replayed(latest: &LatestReplay) -> String {
    format!(
        "replayed already (replay {} by {} at {})",
        latest.number,
        latest.by,
        instant(latest.announced_at)
    )
}

/// The first letters, of bounded size.
fn portion<T>(letters: &[T], bytes: impl Fn(&T) -> i64) -> &[T] {
    let mut sum = 0;
    let fits = |letter: &&T| {
        sum += bytes(letter);
        sum <= PORTION_BYTES
    };
    let fitting = letters.iter().take_while(fits).count();
    &letters[..fitting.max(1).min(letters.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_is_bounded_but_takes_any_single_letter() {
        let length = |bytes: &[i64]| portion(bytes, |bytes| *bytes).len();
        let half = PORTION_BYTES / 2;
        assert_eq!(length(&[]), 0);
        assert_eq!(length(&[half, half, 1]), 2);
        assert_eq!(length(&[3 * half, 0]), 1);
        assert_eq!(length(&[0, half, 3 * half]), 2);
    }
}
