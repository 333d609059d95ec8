//! `claimgate dead-letters …`: what is asked on the command line, answered on the standard output.

use std::io::Write;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::DeadLetterError;
use super::address::{Address, parse_address};
use super::filter::Filter;
use super::list::list;
use super::outcome::Tally;
use super::replay::{Replay, Request};
use super::show::{Form, show};
use crate::audit::Approval;
use crate::kafka;
use crate::outbox::postgres::PostgresStore;

/// Look at events that became no decision, and send them once more when what was wrong is mended.
#[derive(Debug, Args)]
pub struct DeadLettersCommand {
    /// Answer in JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What is wrong, how often, and the newest letters
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many letters, the newest
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// One letter whole: headers, payload, and who replayed it
    Show {
        /// topic/partition/offset@content, as `list` has it; without @content where one event stood
        /// there
        #[arg(value_parser = parse_address)]
        letter: Address,
        /// Write the payload's exact bytes, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Send events to the input topic once more, oldest first
    Replay(Box<ReplayArgs>),
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// These letters: topic/partition/offset@content, without @content where one event stood there
    #[arg(value_parser = parse_address)]
    letters: Vec<Address>,
    #[command(flatten)]
    filter: Filter,
    /// Every letter there is
    #[arg(long)]
    all: bool,
    /// Send at most so many, the oldest that are not left out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Those that were replayed already, too
    #[arg(long)]
    again: bool,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    approval: Approval,
}

/// What the commands work with.
#[derive(Clone, Copy)]
pub struct DeadLetters<'a> {
    /// The record.
    pub store: &'a PostgresStore,
    /// `[kafka]`.
    pub kafka: &'a kafka::Settings,
    /// `dead_letters.max_replays`.
    pub max_replays: u32,
}

impl DeadLettersCommand {
    /// Does what is asked, and says so on `out`.
    ///
    /// # Errors
    /// One sentence: what is wrong, that nothing was found, or how much of a replay was not done.
    pub async fn run(
        self,
        context: DeadLetters<'_>,
        out: &mut impl Write,
    ) -> Result<(), DeadLetterError> {
        let found = match self.action {
            Action::List { filter, limit } => {
                let selection = filter.select(OffsetDateTime::now_utc(), Vec::new())?;
                list(context.store, &selection, limit, self.json, out).await?
            }
            Action::Show { letter, raw } => {
                let form = match (raw, self.json) {
                    (true, _) => Form::Raw,
                    (false, true) => Form::Json,
                    (false, false) => Form::Text,
                };
                show(context.store, &letter, form, out).await?
            }
            Action::Replay(args) => {
                let tally =
                    Replay::begin(context, args.request()?, self.json, out).await?.run().await?;
                if !self.json && tally.letters() > 0 {
                    writeln!(out, "{}", summary(&tally))?;
                }
                match tally.refused + tally.failed {
                    0 => tally.letters() > 0,
                    undone => {
                        return Err(DeadLetterError::Undone { undone, letters: tally.letters() });
                    }
                }
            }
        };
        if found { Ok(()) } else { Err(DeadLetterError::Nothing) }
    }
}

impl ReplayArgs {
    fn request(self) -> Result<Request, DeadLetterError> {
        let Self { letters, filter, all, limit, again, dry_run, approval } = self;
        let usage = |problem: &str| Err(DeadLetterError::Usage(problem.to_owned()));
        match (letters.is_empty(), filter.is_empty(), all) {
            (true, true, false) => {
                return usage(
                    "which letters? Name some (topic/partition/offset), give a filter, or say --all",
                );
            }
            (false, false, _) | (false, _, true) => {
                return usage("name letters or give filters, not both");
            }
            _ => {}
        }
        let selection = filter.select(OffsetDateTime::now_utc(), letters)?;
        Ok(Request { selection, limit, again, dry_run, approval })
    }
}

fn summary(tally: &Tally) -> String {
    let Tally { replayed, would_replay, left_out, refused, failed } = tally;
    let done = if *would_replay > 0 {
        format!("{would_replay} would be replayed, nothing was sent")
    } else {
        format!("{replayed} replayed")
    };
    format!("{done}; {left_out} left out, {refused} refused, {failed} failed")
}
