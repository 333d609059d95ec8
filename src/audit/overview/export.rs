//! Exports the rows of a table in a period as CSV, for DuckDB, pandas or a warehouse.

use std::io::Write;

use clap::ValueEnum;
use time::format_description::well_known::Rfc3339;

use crate::audit::AuditError;
use crate::audit::period::Period;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{CLAIM_EVENTS, DEAD_LETTERS, RISK_CALLS, SHADOW_DECISIONS, Table, VERDICTS};

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// verdicts, by when they were decided
    Verdicts,
    /// risk_calls, by when they were sent
    Calls,
    /// claim_events, by when they were received
    Events,
    /// dead_letters, by when they were received
    DeadLetters,
    /// shadow_decisions, by when the claims were decided
    ShadowDecisions,
}

impl Exported {
    /// The table, the column by which a row is in a period, and the columns that PostgreSQL fills.
    /// One of these is `seal`, which says which seal covers the row.
    fn table(self) -> (&'static Table, &'static str, &'static str) {
        match self {
            Self::Verdicts => (&VERDICTS, "decided_at", ", recorded_at, seal"),
            Self::Calls => (&RISK_CALLS, "requested_at", ", seal"),
            Self::Events => (&CLAIM_EVENTS, "received_at", ", seal"),
            Self::DeadLetters => (&DEAD_LETTERS, "received_at", ", recorded_at, seal"),
            Self::ShadowDecisions => (&SHADOW_DECISIONS, "decided_at", ""),
        }
    }

    /// Selects the rows of a period. `copy` takes no parameters.
    fn select(self, period: Period) -> String {
        let (table, time, more) = self.table();
        let [from, to] = [period.from, period.to].map(|at| at.format(&Rfc3339).unwrap_or_default());
        table.select_and(more, &format!("where {time} >= '{from}' and {time} < '{to}'")).0
    }
}

/// Writes the rows of a period to `out`, as PostgreSQL writes them: a header, times with their
/// zone, bytes in hex.
///
/// # Errors
/// [`AuditError`].
pub async fn export(
    store: &PostgresStore,
    what: Exported,
    period: Period,
    out: &mut impl Write,
) -> Result<(), AuditError> {
    store.copy_out(&what.select(period), |piece| out.write_all(piece)).await??;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_rows_of_a_period_are_selected() {
        let period =
            Period { from: datetime!(2026-03-01 00:00 UTC), to: datetime!(2026-04-01 00:00 +8) };
        assert!(Exported::Calls.select(period).ends_with(
            "from risk_calls where requested_at >= '2026-03-01T00:00:00Z' \
             and requested_at < '2026-04-01T00:00:00+08:00'"
        ));
        for (what, last) in [
            (Exported::Verdicts, ", fingerprint, recorded_at, seal from"),
            (Exported::Calls, ", cause, seal from"),
            (Exported::Events, ", certificate_hash, seal from"),
            (Exported::DeadLetters, ", content, recorded_at, seal from"),
            (Exported::ShadowDecisions, ", shadow_decision from"),
        ] {
            let select = what.select(period);
            assert!(select.contains(last), "every column of the table: {select}");
        }
    }
}
