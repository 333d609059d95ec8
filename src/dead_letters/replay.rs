//! Replays letters: page by page, portion by portion, each with its own outcome.
//!
//! The steps for a portion: plan, look for what was cut short, announce, send, record the places,
//! print the outcome ([`super::portion`] has all but the plan). The order matters: if the command
//! ends between two steps, the next command sees where and goes on from there.

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

/// The number of letters of a page, which is read without payloads.
const PAGE: u32 = 500;
/// The most bytes of letters in memory and in one transaction. A single larger letter is sent
/// alone.
const PORTION_BYTES: i64 = 8 << 20;

/// What is to be replayed, and how.
pub(super) struct Request {
    pub(super) selection: Selection,
    /// At most this many letters are sent: the oldest that are not left out.
    pub(super) limit: Option<u32>,
    /// Also those that were already replayed.
    pub(super) again: bool,
    /// Print what would be sent, and send nothing.
    pub(super) dry_run: bool,
    pub(super) approval: Approval,
}

/// A replay under way.
pub(super) struct Replay<'a, W> {
    pub(super) context: DeadLetters<'a>,
    pub(super) request: Request,
    /// When it began, by the clock of Postgres.
    pub(super) started: OffsetDateTime,
    /// Made when the first letter is to be sent.
    pub(super) producer: Option<ReplayProducer>,
    pub(super) reporter: Reporter<'a, W>,
}

impl<'a, W: Write> Replay<'a, W> {
    /// A replay of letters that exist now.
    pub(super) async fn begin(
        context: DeadLetters<'a>,
        mut request: Request,
        json: bool,
        out: &'a mut W,
    ) -> Result<Self, DeadLetterError> {
        let started = server_time(context.store).await?;
        // A replayed event that is still malformed becomes a new letter; this command leaves it
        // alone.
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

    /// How many more letters may be sent. Letters that are left out, refused or failed do not
    /// count; otherwise the next command with this limit would not get past them.
    fn left(&self) -> u64 {
        let Tally { replayed, would_replay, .. } = self.reporter.tally();
        self.request.limit.map_or(u64::MAX, u64::from).saturating_sub(replayed + would_replay)
    }

    /// A place that several events had names none of them.
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
        // An empty list would select everything.
        if !none_named && self.request.selection.named.is_empty() {
            self.request.limit = Some(0);
        }
        Ok(())
    }

    /// Handles letters, only the first ones if there are more than may be sent. Returns how many it
    /// handled.
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
        // From here on, an event of an earlier command is in the topic or never will be.
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

/// The first letters, with a bound on their size.
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
