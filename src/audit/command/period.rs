//! Questions about everything in a period, on the command line.

use std::io::Write;

use clap::Subcommand;
use time::OffsetDateTime;

use crate::audit::AuditError;
use crate::audit::overview::calls::{Bucket, calls};
use crate::audit::overview::conflicts::conflicts;
use crate::audit::overview::decisions::{By, decisions};
use crate::audit::overview::export::{Exported, export};
use crate::audit::overview::search::search;
use crate::audit::overview::shadow::shadow_counts;
use crate::audit::overview::wanted::Wanted;
use crate::audit::period::{Lately, Since};
use crate::audit::report::{End, Format, write};
use crate::claim::SubjectKeys;
use crate::outbox::postgres::PostgresStore;

/// A question about a period.
#[derive(Debug, Subcommand)]
pub(super) enum PeriodQuestion {
    /// Count decisions, and the most frequent reasons
    Decisions {
        #[command(flatten)]
        period: Lately,
        /// Group by this, and by decision
        #[arg(long, value_enum, default_value_t)]
        by: By,
        /// Count every verdict again, without the stored counts
        #[arg(long)]
        recount: bool,
    },
    /// Count calls of each API, with outcomes and latencies
    Calls {
        #[command(flatten)]
        period: Lately,
        /// Group by API and this (UTC); without it, by API alone
        #[arg(long, value_enum)]
        by: Option<Bucket>,
    },
    /// Count what the policy in shadow would have decided otherwise, by decision
    Shadow {
        #[command(flatten)]
        period: Lately,
        /// List at most this many claims of each row, the latest
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=1_000))]
        limit: u32,
    },
    /// Find claims by IP address, phone number, certificate, merchant or goods
    Search {
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        period: Lately,
        /// At most this many claims, the latest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// All rows of a table as PostgreSQL's CSV
    Export {
        /// The table
        #[arg(value_enum)]
        table: Exported,
        #[command(flatten)]
        period: Since,
    },
    /// Events whose claim id belongs to a claim that was decided from another event
    Conflicts {
        #[command(flatten)]
        period: Lately,
        /// At most this many events, the latest
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
