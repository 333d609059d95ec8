//! Reads seals and the rows that refer to them, page by page.
//!
//! A page is read in one snapshot: a batch that is written meanwhile is in it completely or not at
//! all.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row};

use super::matching::{RemovedRow, SealedRow};
use crate::schema::{
    CLAIM_EVENTS, Call, DEAD_LETTERS, DeadLetterRow, EventRow, NewRow, RISK_CALLS, RowDigest,
    SEAL_COLUMNS, SealRow, Table, VERDICTS, Verdict,
};

/// The most seals of a page.
const SEALS: i64 = 256;
/// The approximate number of rows of a page.
const ROWS: usize = 4_000;
/// The most rows of a table in a page: there are more only if seals were removed.
const MOST_ROWS: usize = 100_000;

/// Some seals in the order of their numbers, and the rows that refer to them.
#[derive(Default)]
pub(super) struct Page {
    pub(super) seals: Vec<SealRow>,
    pub(super) rows: Vec<SealedRow>,
    /// The hashes of these seals and of those before them.
    pub(super) heads: HashMap<i64, Vec<u8>>,
    /// The rows of these seals that erasures changed.
    pub(super) removed: Vec<RemovedRow>,
}

/// The seals from the number `from` on, with the rows that refer to them or to a number between
/// them.
pub(super) async fn from(connection: &mut PgConnection, from: i64) -> sqlx::Result<Page> {
    let seals = format!("select {SEAL_COLUMNS} from seals where id >= $1 order by id limit $2");
    let seals = sqlx::query_as(AssertSqlSafe(seals)).bind(from).bind(SEALS);
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
        "select seal, digest, replacement from removed_rows where seal >= $1 and seal <= $2";
    let removed = sqlx::query_as(removed).bind(from).bind(last).fetch_all(&mut *connection).await?;
    let rows = rows(connection, Which::Naming(from, last)).await?;
    Ok(Page { seals, rows, heads, removed })
}

/// The rows of these claims, with the seals that they refer to.
pub(super) async fn of_claims(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<Page> {
    let rows = rows(connection, Which::Claims(claim_ids)).await?;
    let ids: Vec<i64> = rows.iter().filter_map(|row| row.seal).collect();
    let Page { seals, heads, .. } = of_seals(connection, &ids).await?;
    let removed = "select seal, digest, replacement from removed_rows where seal = any($1)";
    let removed = sqlx::query_as(removed).bind(ids).fetch_all(connection).await?;
    Ok(Page { seals, rows, heads, removed })
}

/// These seals without their rows.
pub(super) async fn of_seals(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Page> {
    let seals = format!("select {SEAL_COLUMNS} from seals where id = any($1) order by id");
    let seals = sqlx::query_as(AssertSqlSafe(seals)).bind(ids);
    let seals: Vec<SealRow> = seals.fetch_all(&mut *connection).await?;
    let heads = heads(connection, &seals).await?;
    Ok(Page { seals, heads, ..Page::default() })
}

/// The rows that no seal covers.
pub(super) async fn unsealed(connection: &mut PgConnection) -> sqlx::Result<Page> {
    let rows = rows(connection, Which::Unsealed).await?;
    Ok(Page { rows, ..Page::default() })
}

/// The hashes of these seals and of those before them.
async fn heads(
    connection: &mut PgConnection,
    seals: &[SealRow],
) -> sqlx::Result<HashMap<i64, Vec<u8>>> {
    let mut heads: HashMap<i64, Vec<u8>> =
        seals.iter().map(|seal| (seal.id, seal.head.clone())).collect();
    let before = seals.iter().filter_map(|seal| seal.previous);
    let before: Vec<i64> = before.filter(|id| !heads.contains_key(id)).collect();
    let before = sqlx::query_as("select id, head from seals where id = any($1)").bind(before);
    let before: Vec<(i64, Vec<u8>)> = before.fetch_all(connection).await?;
    heads.extend(before);
    Ok(heads)
}

/// Which rows to read.
#[derive(Clone, Copy)]
pub(super) enum Which<'a> {
    /// Rows that refer to a seal from the first number to the second.
    Naming(i64, i64),
    /// Rows without a seal.
    Unsealed,
    /// Rows of these claims.
    Claims(&'a [String]),
}

/// The rows of all tables; for claims without dead letters, which have no column for the claim.
pub(super) async fn rows(
    connection: &mut PgConnection,
    which: Which<'_>,
) -> sqlx::Result<Vec<SealedRow>> {
    let mut rows = Vec::new();
    let verdicts = Source {
        number: 0,
        table: &VERDICTS,
        is_erased: IS_ERASED,
        name: "claim_id",
        recorded_at: "recorded_at",
        times: "claimed_at, decided_at, recorded_at",
        is_whole: IS_WHOLE_VERDICT,
    };
    verdicts.read(connection, which, |verdict: &Verdict| verdict.digest().ok(), &mut rows).await?;
    let events = Source {
        number: 1,
        table: &CLAIM_EVENTS,
        is_erased: "false",
        name: "claim_id",
        recorded_at: NO_TIME,
        times: "received_at",
        is_whole: "true",
    };
    events.read(connection, which, EventRow::digest, &mut rows).await?;
    let calls = Source {
        number: 2,
        table: &RISK_CALLS,
        is_erased: "false",
        name: "claim_id",
        recorded_at: NO_TIME,
        times: "requested_at",
        is_whole: "true",
    };
    calls.read(connection, which, |call: &Call| call.digest().ok(), &mut rows).await?;
    if !matches!(which, Which::Claims(_)) {
        let letters = Source {
            number: 3,
            table: &DEAD_LETTERS,
            is_erased: "false",
            name: LETTER_NAME,
            recorded_at: "recorded_at",
            times: "received_at, recorded_at",
            is_whole: "true",
        };
        letters.read(connection, which, DeadLetterRow::digest, &mut rows).await?;
    }
    Ok(rows)
}

/// Whether a person was erased from a verdict.
const IS_ERASED: &str = "subject = 'erased' and challenge is null";
/// Whether the reasons hold only what [`crate::decision::Reason`] reads, and `claimed_at` only
/// whole seconds.
const IS_WHOLE_VERDICT: &str = "claimed_at = date_trunc('second', claimed_at)
    and case when jsonb_typeof(reasons) = 'array' then not exists (
    select from jsonb_array_elements(reasons) as item where case when jsonb_typeof(item) = 'object'
        then item <> jsonb_strip_nulls(item) or item - '{code,value,name,group}'::text[] <> '{}'
        else true end
) else false end";
/// The value for a table without a time of writing.
const NO_TIME: &str = "null::timestamptz";
/// [`crate::schema::LetterId`] as a text.
const LETTER_NAME: &str =
    "concat_ws('/', source_topic, source_partition, source_offset) || '@' || content";

/// A table whose rows are sealed.
struct Source {
    /// Its place in [`crate::schema::SEALED_TABLES`].
    number: usize,
    table: &'static Table,
    /// The name of a row.
    name: &'static str,
    /// Whether a person was erased from a row.
    is_erased: &'static str,
    /// When a row was written.
    recorded_at: &'static str,
    /// Its times: a time that is null, or that no worker can have written, would not be read.
    times: &'static str,
    /// Whether all of a row is read: a part that is not read would be in no digest.
    is_whole: &'static str,
}

impl Source {
    /// Reads rows one by one and keeps what is needed of each. A row that cannot be read, because
    /// it was altered, has no digest.
    async fn read<R>(
        &self,
        connection: &mut PgConnection,
        which: Which<'_>,
        digest: impl Fn(&R) -> Option<RowDigest>,
        rows: &mut Vec<SealedRow>,
    ) -> sqlx::Result<()>
    where
        R: for<'r> FromRow<'r, PgRow>,
    {
        let condition = match which {
            Which::Naming(..) => "where seal >= $1 and seal <= $2",
            Which::Unsealed => "where seal is null",
            Which::Claims(_) => "where claim_id = any($1)",
        };
        let Self { number, table, name, is_erased, recorded_at, times, is_whole } = self;
        let more = format!(
            ", seal as named_seal, {name} as row_name, {is_erased} as is_erased,
            case when isfinite({recorded_at}) then {recorded_at} end as written_at,
            num_nulls({times}) = 0 and least({times}) > '0001-01-01'
                and greatest({times}) < '10000-01-01' and {is_whole} as is_readable"
        );
        let query = table.select_and(&more, &format!("{condition} limit {MOST_ROWS}"));
        let query = sqlx::query(query);
        let query = match which {
            Which::Naming(from, last) => query.bind(from).bind(last),
            Which::Unsealed => query,
            Which::Claims(claim_ids) => query.bind(claim_ids),
        };
        let mut found = query.fetch(connection);
        while let Some(row) = found.try_next().await? {
            let is_readable: Option<bool> = row.try_get("is_readable")?;
            let readable = is_readable.filter(|is_readable| *is_readable).and_then(|_| {
                let read = R::from_row(&row).ok()?;
                Some((digest(&read)?, row.try_get("written_at").ok()?))
            });
            let (digest, recorded_at) = readable.unzip();
            let (name, seal) = (row.try_get("row_name")?, row.try_get("named_seal")?);
            let recorded_at = recorded_at.flatten();
            let is_erased = row.try_get("is_erased")?;
            rows.push(SealedRow { table: *number, name, seal, digest, recorded_at, is_erased });
        }
        Ok(())
    }
}
