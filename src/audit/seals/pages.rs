//! Seals, and the rows that name them, a page at a time.
//!
//! A page is read in one snapshot: a batch that is written meanwhile is in it as a whole or not at
//! all.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row};
use time::OffsetDateTime;

use super::matching::{RemovedRow, SealedRow};
use crate::schema::{
    CLAIM_EVENTS, Call, DEAD_LETTERS, DeadLetterRow, EventRow, NewRow, RISK_CALLS, RowDigest,
    SEAL_COLUMNS, SealRow, Table, VERDICTS, Verdict,
};

/// Seals of a page, at most.
const SEALS: i64 = 256;
/// Rows of a page, about.
const ROWS: usize = 4_000;
/// Rows of a table that no seal covers, at most: where there are so many, more would tell nothing.
const UNSEALED: i64 = 1_000;

/// Some seals in the order of their numbers, and the rows that name them.
pub(super) struct Page {
    pub(super) seals: Vec<SealRow>,
    pub(super) rows: Vec<SealedRow>,
    /// The hashes of these seals and of those before them.
    pub(super) heads: HashMap<i64, Vec<u8>>,
    /// What the erasure of persons changed of what these seals cover.
    pub(super) removed: Vec<RemovedRow>,
}

/// The seals after `after`, with the rows that name them or a number between.
pub(super) async fn after(connection: &mut PgConnection, after: i64) -> sqlx::Result<Page> {
    let seals = format!("select {SEAL_COLUMNS} from seals where id > $1 order by id limit $2");
    let seals = sqlx::query_as(AssertSqlSafe(seals)).bind(after).bind(SEALS);
    let mut seals: Vec<SealRow> = seals.fetch_all(&mut *connection).await?;
    let mut covered = 0;
    let mut fits = |seal: &SealRow| {
        let before = covered;
        covered += seal.digests().into_iter().map(Iterator::count).sum::<usize>();
        before < ROWS
    };
    let some = seals.iter().take_while(|seal| fits(seal)).count();
    seals.truncate(some);
    let heads = heads(connection, &seals).await?;
    let last = seals.last().map_or(i64::MAX, |seal| seal.id);
    let removed =
        "select seal, digest, replacement from removed_rows where seal > $1 and seal <= $2";
    let removed =
        sqlx::query_as(removed).bind(after).bind(last).fetch_all(&mut *connection).await?;
    let rows = rows(connection, Which::Naming(after, last)).await?;
    Ok(Page { seals, rows, heads, removed })
}

/// The rows of these claims, with the seals that they name.
pub(super) async fn of_claims(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<Page> {
    let rows = rows(connection, Which::Claims(claim_ids)).await?;
    let ids: Vec<i64> = rows.iter().filter_map(|row| row.seal).collect();
    let seals = format!("select {SEAL_COLUMNS} from seals where id = any($1) order by id");
    let seals = sqlx::query_as(AssertSqlSafe(seals)).bind(&ids);
    let seals: Vec<SealRow> = seals.fetch_all(&mut *connection).await?;
    let heads = heads(connection, &seals).await?;
    let removed = "select seal, digest, replacement from removed_rows where seal = any($1)";
    let removed = sqlx::query_as(removed).bind(ids).fetch_all(connection).await?;
    Ok(Page { seals, rows, heads, removed })
}

/// The rows that no seal covers.
pub(super) async fn unsealed(connection: &mut PgConnection) -> sqlx::Result<Page> {
    let rows = rows(connection, Which::Unsealed).await?;
    Ok(Page { seals: Vec::new(), rows, heads: HashMap::new(), removed: Vec::new() })
}

async fn heads(
    connection: &mut PgConnection,
    seals: &[SealRow],
) -> sqlx::Result<HashMap<i64, Vec<u8>>> {
    let mut ids: Vec<i64> = seals.iter().filter_map(|seal| seal.previous).collect();
    ids.extend(seals.iter().map(|seal| seal.id));
    let heads = sqlx::query_as("select id, head from seals where id = any($1)").bind(ids);
    let heads: Vec<(i64, Vec<u8>)> = heads.fetch_all(connection).await?;
    Ok(heads.into_iter().collect())
}

/// Which rows.
#[derive(Clone, Copy)]
enum Which<'a> {
    /// Those that name a seal after the first and not after the second.
    Naming(i64, i64),
    /// Those that name none; so many at most.
    Unsealed,
    /// Those of these claims.
    Claims(&'a [String]),
}

async fn rows(connection: &mut PgConnection, which: Which<'_>) -> sqlx::Result<Vec<SealedRow>> {
    let mut rows = Vec::new();
    let of = |verdict: Verdict| (verdict.claim_id.clone(), (&verdict).digest().ok());
    read(connection, &VERDICTS, (0, ", recorded_at"), which, of, &mut rows).await?;
    let of = |event: EventRow| (event.claim_id.clone(), event.digest());
    read(connection, &CLAIM_EVENTS, (1, ""), which, of, &mut rows).await?;
    let of = |call: Call| (call.claim_id.clone(), (&call).digest().ok());
    read(connection, &RISK_CALLS, (2, ""), which, of, &mut rows).await?;
    if !matches!(which, Which::Claims(_)) {
        let of = |letter: DeadLetterRow| (letter.id.to_string(), letter.digest());
        read(connection, &DEAD_LETTERS, (3, ", recorded_at"), which, of, &mut rows).await?;
    }
    Ok(rows)
}

async fn read<R>(
    connection: &mut PgConnection,
    table: &Table,
    (number, recorded_at): (usize, &str),
    which: Which<'_>,
    of: impl Fn(R) -> (String, Option<RowDigest>),
    rows: &mut Vec<SealedRow>,
) -> sqlx::Result<()>
where
    R: Send + Unpin + for<'r> FromRow<'r, PgRow>,
{
    let condition = match which {
        Which::Naming(..) => "where seal > $1 and seal <= $2",
        Which::Unsealed => "where seal is null limit $1",
        Which::Claims(_) => "where claim_id = any($1)",
    };
    let query = table.select_and(&format!("{recorded_at}, seal as named_seal"), condition);
    let query = sqlx::query_as(query);
    let query = match which {
        Which::Naming(after, last) => query.bind(after).bind(last),
        Which::Unsealed => query.bind(UNSEALED),
        Which::Claims(claim_ids) => query.bind(claim_ids),
    };
    let found: Vec<Found<R>> = query.fetch_all(connection).await?;
    rows.extend(found.into_iter().map(|Found { row, seal, recorded_at }| {
        let (name, digest) = of(row);
        SealedRow { table: number, name, seal, digest, recorded_at }
    }));
    Ok(())
}

/// A row, and what PostgreSQL filled beside it.
struct Found<R> {
    row: R,
    seal: Option<i64>,
    recorded_at: Option<OffsetDateTime>,
}

impl<'r, R: FromRow<'r, PgRow>> FromRow<'r, PgRow> for Found<R> {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Self> {
        let recorded_at = row.try_get("recorded_at");
        let recorded_at = match recorded_at {
            Err(sqlx::Error::ColumnNotFound(_)) => None,
            found => Some(found?),
        };
        Ok(Self { row: R::from_row(row)?, seal: row.try_get("named_seal")?, recorded_at })
    }
}
