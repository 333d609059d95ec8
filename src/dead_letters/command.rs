//! `claimgate dead-letters …`: runs the command and writes its answer to the standard output.

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

/// List and show malformed events, and replay them once the cause is fixed.
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
    /// Count dead letters by error, and list the newest
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most this many, the newest
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show one dead letter in full: headers, payload, replays
    Show {
        /// topic/partition/offset@content, as `list` prints it; @content is needed only if several
        /// events had this offset
        #[arg(value_parser = parse_address)]
        letter: Address,
        /// Write the exact bytes of the payload, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Send events to the input topic again, oldest first
    Replay(Box<ReplayArgs>),
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// These dead letters: topic/partition/offset@content; @content is needed only if several
    /// events had this offset
    #[arg(value_parser = parse_address)]
    letters: Vec<Address>,
    #[command(flatten)]
    filter: Filter,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// Send at most this many, the oldest; those that are left out do not count
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Also those that were already replayed
    #[arg(long)]
    again: bool,
    /// Show what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    approval: Approval,
}

/// What the commands need.
#[derive(Clone, Copy)]
pub struct DeadLetters<'a> {
    /// The store.
    pub store: &'a PostgresStore,
    /// `[kafka]`.
    pub kafka: &'a kafka::Settings,
    /// `dead_letters.max_replays`.
    pub max_replays: u32,
}

impl DeadLettersCommand {
    /// Runs the command and writes its answer to `out`.
    ///
    /// # Errors
    /// One sentence: what is wrong, that nothing was found, or how many letters were not replayed.
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
                    "which letters? Name some (topic/partition/offset), give a filter, or say \
                     --all",
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
