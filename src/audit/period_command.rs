//! Questions about all that happened in a period, on the command line.

use std::io::Write;

use clap::Subcommand;
use time::OffsetDateTime;

use super::AuditError;
use super::calls::{Bucket, calls};
use super::conflicts::conflicts;
use super::decisions::{By, decisions};
use super::export::{Exported, export};
use super::period::{Lately, Since};
use super::report::{End, Format, write};
use super::search::search;
use super::shadow::shadow_counts;
use super::wanted::Wanted;
use crate::claim::SubjectKeys;
use crate::outbox::postgres::PostgresStore;

/// A question about a period.
#[derive(Debug, Subcommand)]
pub(super) enum PeriodQuestion {
    /// How many claims were decided how, and the top reasons
    Decisions {
        #[command(flatten)]
        period: Lately,
        /// One row for each of these, and each decision
        #[arg(long, value_enum, default_value_t)]
        by: By,
        /// Count every verdict, and use no count that was made before
        #[arg(long)]
        recount: bool,
    },
    /// How often each API was asked, what came of it and how long it took
    Calls {
        #[command(flatten)]
        period: Lately,
        /// One row for each API and each of these (UTC); otherwise one for the whole period
        #[arg(long, value_enum)]
        by: Option<Bucket>,
    },
    /// What the policy in shadow would have decided otherwise, from which decision to which
    Shadow {
        #[command(flatten)]
        period: Lately,
        /// Of each kind at most so many claims, the latest
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=1_000))]
        limit: u32,
    },
    /// Which claims came from an address, named a phone number or a certificate, or were for a
    /// merchant or goods
    Search {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        period: Lately,
        /// At most so many claims, the latest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// All rows of a table as CSV, as PostgreSQL writes them
    Export {
        /// The table
        #[arg(value_enum)]
        table: Exported,
        #[command(flatten)]
        period: Since,
    },
    /// Which events had the id of a claim that was decided from another event
    Conflicts {
        #[command(flatten)]
        period: Lately,
        /// At most so many events, the latest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
}

impl PeriodQuestion {
    /// Answers it as of `now`.
    pub(super) async fn answer(
        self,
        store: &PostgresStore,
        keys: &SubjectKeys,
        now: OffsetDateTime,
        form: Format,
        out: &mut impl Write,
    ) -> Result<End, AuditError> {
        let end = match self {
            Self::Decisions { period, by, recount } => {
                write(&decisions(store, period.period(now)?, by, recount).await?, form, out)
            }
            Self::Calls { period, by } => {
                write(&calls(store, period.period(now)?, by).await?, form, out)
            }
            Self::Shadow { period, limit } => {
                write(&shadow_counts(store, period.period(now)?, limit).await?, form, out)
            }
            Self::Search { wanted, period, limit } => {
                let period = period.period(now)?;
                write(&search(store, keys, period, &wanted, limit as usize).await?, form, out)
            }
            Self::Export { table, period } => {
                export(store, table, period.period(now)?, out).await?;
                Ok(End::Found)
            }
            Self::Conflicts { period, limit } => {
                let period = period.period(now)?;
                write(&conflicts(store, period, limit as usize).await?, form, out)
            }
        };
        Ok(end?)
    }
}
