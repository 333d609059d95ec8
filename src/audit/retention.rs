//! How long the evidence is kept. Verdicts and the record of replays are kept for ever; the rest
//! need not be.
//!
//! The worker never takes evidence away: `claimgate audit retention` does, run by the owner of the
//! tables.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use sqlx::AssertSqlSafe;

use super::interval;
use super::report::Report;
use super::rows::{Cell, RowSet, Tabular};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The shortest retention: less is a mistake in the unit.
const SHORTEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The word for no end.
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

impl Retention {
    /// The tables of which rows are deleted, the time that counts, and how long they are kept.
    fn of_rows(&self) -> [(&'static str, &'static str, Option<Duration>); 2] {
        [
            ("dead_letters", "received_at", self.dead_letters),
            ("shadow_decisions", "decided_at", self.shadow_decisions),
        ]
    }
}

/// What went, or would go.
#[derive(Debug, Default, Serialize)]
pub struct Expired {
    /// Whether it is all there still.
    dry_run: bool,
    /// Partitions of the large tables.
    partitions: Vec<Partition>,
    /// Rows of the tables that have no partition of their age.
    rows: Vec<Rows>,
}

/// A partition whose every row is past its retention.
#[derive(Debug, Serialize, sqlx::FromRow)]
struct Partition {
    name: String,
    bytes: i64,
}

/// Rows that are past their retention.
#[derive(Debug, Serialize)]
struct Rows {
    table: &'static str,
    /// The time that counts.
    #[serde(skip)]
    column: &'static str,
    #[serde(skip)]
    kept: Duration,
    rows: u64,
}

/// The tables whose partitions expire, and the time that counts.
const PARTITIONED: [(&str, &str, &str); 2] = [
    ("risk_calls", "risk_calls_default", "requested_at"),
    ("claim_events", "claim_events_default", "received_at"),
];

/// Drops what is past its retention, unless `dry_run`, and says so in `removals` before. A partition
/// goes when its youngest row may be too old, so rows are kept for up to a month more. Only the
/// owner of the tables may do this.
///
/// # Errors
/// [`StoreError`]; what was dropped before it stays dropped.
pub async fn enforce(
    store: &PostgresStore,
    retention: &Retention,
    dry_run: bool,
) -> Result<Expired, StoreError> {
    let mut expired = look(store, retention).await?;
    if dry_run || (expired.partitions.is_empty() && expired.rows.is_empty()) {
        return Ok(expired);
    }
    let what = expired.text();
    let partitioned =
        [("risk_calls", retention.risk_calls), ("claim_events", retention.claim_events)];
    let of_rows = retention.of_rows().map(|(table, _, kept)| (table, kept));
    for (table, kept) in partitioned.into_iter().chain(of_rows) {
        if let Some(kept) = kept {
            store.announce_expiry(table, kept, &what).await?;
        }
    }
    expired.dry_run = false;
    for partition in &expired.partitions {
        store.drop_partition(&partition.name).await?;
    }
    for Rows { table, column, kept, rows } in &mut expired.rows {
        *rows = store.delete_older(table, column, *kept).await?;
    }
    Ok(expired)
}

/// What is past its retention.
async fn look(store: &PostgresStore, retention: &Retention) -> Result<Expired, StoreError> {
    let mut expired = Expired { dry_run: true, ..Expired::default() };
    for ((table, default, column), kept) in
        PARTITIONED.into_iter().zip([retention.risk_calls, retention.claim_events])
    {
        let Some(kept) = kept else { continue };
        expired.partitions.extend(partitions(store, table, kept).await?);
        expired.rows.push(rows(store, default, column, kept).await?);
    }
    for (table, column, kept) in retention.of_rows() {
        let Some(kept) = kept else { continue };
        expired.rows.push(rows(store, table, column, kept).await?);
    }
    expired.rows.retain(|rows| rows.rows > 0);
    Ok(expired)
}

async fn partitions(
    store: &PostgresStore,
    table: &str,
    kept: Duration,
) -> Result<Vec<Partition>, StoreError> {
    let query = sqlx::query_as(
        r#"select quote_ident(child.relname) as name, pg_total_relation_size(child.oid) as bytes
        from pg_inherits join pg_class as child on child.oid = pg_inherits.inhrelid
        where pg_inherits.inhparent = to_regclass(quote_ident($1))
            and child.relname ~ ('^' || $1 || '_y[0-9]{4}m[0-9]{2}$')
            and to_date(right(child.relname, 7), 'YYYY"m"MM')::timestamptz + interval '1 month' <= now() - $2
        order by child.relname"#,
    );
    store.fetch(query.bind(table).bind(interval(kept))).await
}

async fn rows(
    store: &PostgresStore,
    table: &'static str,
    column: &'static str,
    kept: Duration,
) -> Result<Rows, StoreError> {
    let sql = format!("select count(*) from {table} where {column} < now() - $1");
    let found: Vec<(i64,)> =
        store.fetch(sqlx::query_as(AssertSqlSafe(sql)).bind(interval(kept))).await?;
    let rows = found.first().map_or(0, |(rows,)| rows.unsigned_abs());
    Ok(Rows { table, column, kept, rows })
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
            .map(|Partition { name, bytes }| format!("{drop} {name}, {bytes} bytes\n"));
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
        let partitions = self.partitions.iter().map(|Partition { name, bytes }| {
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
    fn everything_is_kept_unless_a_duration_of_days_says_otherwise() {
        let read =
            |json: &str| serde_json::from_str::<Retention>(json).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(Retention::default()));
        assert_eq!(read(r#"{"risk_calls":"forever"}"#), Ok(Retention::default()));
        let days = Duration::from_secs(400 * 86_400);
        assert_eq!(
            read(r#"{"claim_events":"400days"}"#),
            Ok(Retention { claim_events: Some(days), ..Retention::default() })
        );
        for wrong in ["400", "1h", "0s", "", "never"] {
            assert!(read(&format!(r#"{{"risk_calls":"{wrong}"}}"#)).is_err(), "{wrong}");
        }
        assert!(read(r#"{"verdicts":"1day"}"#).is_err());
    }
}
