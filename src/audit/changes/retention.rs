//! How long evidence is kept. Verdicts and the record of replays are kept for ever; the rest need
//! not be.
//!
//! The worker never removes evidence. Only `claimgate audit retention` does, run by the owner of
//! the tables.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use sqlx::AssertSqlSafe;

use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::{LONGEST_SPAN, interval};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The shortest retention: a shorter one is a mistake in the unit.
const SHORTEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The value for no end.
const FOREVER: &str = "forever";

/// The section `[audit.retention]`: `"forever"`, or a duration such as `"400days"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of `risk_calls`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub risk_calls: Option<Duration>,
    /// Of `claim_events`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub claim_events: Option<Duration>,
    /// Of `dead_letters`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub dead_letters: Option<Duration>,
    /// Of `shadow_decisions`; `None` keeps them for ever.
    #[serde(deserialize_with = "kept")]
    pub shadow_decisions: Option<Duration>,
}

/// A table whose rows expire.
struct Expiring {
    table: &'static str,
    /// The table from which rows are deleted: the table itself, or its default partition.
    rows_of: &'static str,
    /// The column with the time that counts.
    column: &'static str,
    kept: Duration,
}

impl Retention {
    /// The tables that are not kept for ever.
    fn expiring(&self) -> impl Iterator<Item = Expiring> {
        let tables = [
            ("risk_calls", "risk_calls_default", "requested_at", self.risk_calls),
            ("claim_events", "claim_events_default", "received_at", self.claim_events),
            ("dead_letters", "dead_letters", "received_at", self.dead_letters),
            ("shadow_decisions", "shadow_decisions", "decided_at", self.shadow_decisions),
        ];
        tables.into_iter().filter_map(|(table, rows_of, column, kept)| {
            Some(Expiring { table, rows_of, column, kept: kept? })
        })
    }
}

/// What was removed, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Expired {
    /// Whether it was a dry run, so that nothing was removed.
    dry_run: bool,
    /// Partitions of the large tables.
    partitions: Vec<Partition>,
    /// Rows that are deleted one by one.
    rows: Vec<Rows>,
}

/// A partition whose every row is past its retention.
#[derive(Debug, Serialize)]
struct Partition {
    name: String,
    bytes: i64,
    #[serde(skip)]
    of: &'static str,
}

/// Rows that are past their retention.
#[derive(Debug, Serialize)]
struct Rows {
    table: &'static str,
    #[serde(skip)]
    of: &'static str,
    rows: u64,
}

/// Drops everything past its retention, unless `dry_run`, after a row in `removals` that says so. A
/// partition is dropped when its youngest row may be too old, so rows are kept for up to a month
/// longer. Only the owner of the tables may do this.
///
/// # Errors
/// [`StoreError`]; everything that was dropped before stays dropped.
pub async fn enforce(
    store: &PostgresStore,
    retention: &Retention,
    dry_run: bool,
) -> Result<Expired, StoreError> {
    let mut expired = look(store, retention).await?;
    if dry_run || (expired.partitions.is_empty() && expired.rows.is_empty()) {
        return Ok(expired);
    }
    for Expiring { table, kept, .. } in retention.expiring() {
        let Some(what) = expired.of(table) else { continue };
        let days = kept.as_secs_f64() / SHORTEST.as_secs_f64();
        let why = format!("older than {days} days (audit.retention.{table}): {what}");
        store.announce_expiry(table, kept, &why).await?;
    }
    expired.dry_run = false;
    for partition in &expired.partitions {
        store.drop_partition(&partition.name).await?;
    }
    for Expiring { rows_of, column, kept, .. } in retention.expiring() {
        if let Some(rows) = expired.rows.iter_mut().find(|rows| rows.table == rows_of) {
            rows.rows = store.delete_older(rows_of, column, kept).await?;
        }
    }
    Ok(expired)
}

/// Everything that is past its retention.
async fn look(store: &PostgresStore, retention: &Retention) -> Result<Expired, StoreError> {
    let mut expired = Expired { dry_run: true, ..Expired::default() };
    for table in retention.expiring() {
        expired.partitions.extend(partitions(store, &table).await?);
        expired.rows.push(rows(store, &table).await?);
    }
    expired.rows.retain(|rows| rows.rows > 0);
    Ok(expired)
}

async fn partitions(
    store: &PostgresStore,
    expiring: &Expiring,
) -> Result<Vec<Partition>, StoreError> {
    let query = sqlx::query_as(
        r#"select quote_ident(child.relname), pg_total_relation_size(child.oid)
        from pg_inherits join pg_class as child on child.oid = pg_inherits.inhrelid
        where pg_inherits.inhparent = to_regclass(quote_ident($1))
            and child.relname ~ ('^' || $1 || '_y[0-9]{4}m[0-9]{2}$')
            and to_date(right(child.relname, 7), 'YYYY"m"MM')::timestamptz + interval '1 month' <= now() - $2
        order by child.relname"#,
    );
    let of = expiring.table;
    let found: Vec<(String, i64)> =
        store.fetch(query.bind(of).bind(interval(expiring.kept))).await?;
    Ok(found.into_iter().map(|(name, bytes)| Partition { name, bytes, of }).collect())
}

async fn rows(store: &PostgresStore, expiring: &Expiring) -> Result<Rows, StoreError> {
    let Expiring { table: of, rows_of: table, column, kept } = *expiring;
    let sql = format!("select count(*) from {table} where {column} < now() - $1");
    let found: Vec<(i64,)> =
        store.fetch(sqlx::query_as(AssertSqlSafe(sql)).bind(interval(kept))).await?;
    let rows = found.first().map_or(0, |(rows,)| rows.unsigned_abs());
    Ok(Rows { table, of, rows })
}

impl Expired {
    /// The rows and partitions of a table that are past its retention, if any.
    fn of(&self, table: &str) -> Option<String> {
        let partitions = self.partitions.iter().filter(|partition| partition.of == table);
        let partitions = partitions.map(|partition| format!("partition {}", partition.name));
        let rows = self.rows.iter().filter(|rows| rows.of == table);
        let rows = rows.map(|Rows { table, rows, .. }| format!("{rows} rows of {table}"));
        let all: Vec<String> = partitions.chain(rows).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Report for Expired {
    fn found(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        let Self { dry_run, partitions, rows } = self;
        let [drop, delete] =
            if *dry_run { ["would drop", "would delete"] } else { ["dropped", "deleted"] };
        let partitions = partitions
            .iter()
            .map(|Partition { name, bytes, .. }| format!("{drop} {name}, {bytes} bytes\n"));
        let rows = rows
            .iter()
            .map(|Rows { table, rows, .. }| format!("{delete} {rows} rows of {table}\n"));
        let text: String = partitions.chain(rows).collect();
        if text.is_empty() { "nothing is past its retention\n".to_owned() } else { text }
    }
}

impl Tabular for Expired {
    fn rows(&self) -> RowSet {
        let done = |dry: &'static str, done| Cell::of(if self.dry_run { dry } else { done });
        let partitions = self.partitions.iter().map(|Partition { name, bytes, .. }| {
            [done("would_drop", "dropped"), Cell::of(name), Cell::of(bytes), Cell::NULL]
        });
        let rows = self.rows.iter().map(|Rows { table, rows, .. }| {
            [done("would_delete", "deleted"), Cell::of(table), Cell::NULL, Cell::of(rows)]
        });
        RowSet::new(["action", "table", "bytes", "rows"], partitions.chain(rows))
    }
}

fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == FOREVER {
        return Ok(None);
    }
    match humantime::parse_duration(&text) {
        Ok(duration) if duration > LONGEST_SPAN => Err(serde::de::Error::custom(format!(
            "{text:?} is more than 1000 years; \"forever\" is the word for no end"
        ))),
        Ok(duration) if duration >= SHORTEST => Ok(Some(duration)),
        Ok(_) => Err(serde::de::Error::custom(format!("{text:?} is less than a day"))),
        Err(_) => Err(serde::de::Error::custom(format!(
            "{text:?} is neither \"forever\" nor a duration such as \"400days\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_without_a_configured_retention() {
        let read =
            |json: &str| serde_json::from_str::<Retention>(json).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(Retention::default()));
        assert_eq!(read(r#"{"risk_calls":"forever"}"#), Ok(Retention::default()));
        let days = Duration::from_secs(400 * 86_400);
        assert_eq!(
            read(r#"{"claim_events":"400days"}"#),
            Ok(Retention { claim_events: Some(days), ..Retention::default() })
        );
        for wrong in ["400", "1h", "0s", "", "never", "1001years"] {
            assert!(read(&format!(r#"{{"risk_calls":"{wrong}"}}"#)).is_err(), "{wrong}");
        }
        assert!(read(r#"{"verdicts":"1day"}"#).is_err());
    }
}
