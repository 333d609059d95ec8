//! "Is every row as a worker wrote it?"
//!
//! [`matching`] compares rows with seals and is pure. [`pages`] reads both; [`witness`] reads the
//! decisions in Kafka, whose seals cannot be rewritten. Nothing is written or locked.

mod erasure;
mod kept_policies;
mod letters;
mod matching;
mod pages;
mod report;
mod whose;
mod witness;

use std::time::Duration;

use time::OffsetDateTime;

use super::{AuditError, expiry};
use crate::kafka;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::SEALED_TABLES;
pub use erasure::{Erase, Erasure, erase};
use matching::{Allowed, check_head, check_rows};
pub use matching::{Fault, SealFinding};
pub(super) use report::findings;
pub use report::{Removal, SealReport};

/// Rows are dropped by their own time, which is a little before that of their seal.
const TOLERANCE: Duration = Duration::from_secs(24 * 3_600);

/// What is to be verified.
#[derive(Debug, Clone, Copy)]
pub struct SealQuestion<'a> {
    /// How far back; `None` is everything.
    pub since: Option<Duration>,
    /// Where the decisions are in Kafka, if they are to be read as well.
    pub topic: Option<&'a kafka::Settings>,
    /// The most findings that are listed.
    pub limit: usize,
}

/// Compares the rows of a period with their seals, and the seals with each other; on request also
/// with the decisions in Kafka.
///
/// # Errors
/// [`AuditError`].
pub async fn verify_seals(
    store: &PostgresStore,
    question: SealQuestion<'_>,
) -> Result<SealReport, AuditError> {
    let mut report = SealReport::new(question.limit);
    let Start { from: start, seals, before } = begin(store, question.since).await?;
    let ids = before.as_slice();
    let page = store.in_snapshot(async |rows| pages::of_seals(rows, ids).await).await?;
    let faults = page.seals.iter().filter_map(|seal| check_head(seal, &page.heads));
    faults.for_each(|finding| report.add(finding));
    let mut from = start;
    let bar = super::derivation::rederive::progress(seals, "seals");
    loop {
        let page = store.in_snapshot(async |rows| pages::from(rows, from).await).await?;
        report.add_seals(page.seals.iter().map(|seal| check_head(seal, &page.heads)));
        // After the page was read: retention may run at the same time, and it records first what it
        // removes.
        let expired = expired(store).await?;
        let allowed = Allowed { expired, removed: &page.removed, ..Allowed::default() };
        report.add_rows(check_rows(&page.seals, &page.rows, allowed));
        bar.inc(u64::try_from(page.seals.len()).unwrap_or_default());
        let next = page.seals.last().and_then(|last| last.id.checked_add(1));
        let Some(next) = next else { break };
        from = next;
    }
    let page = store.in_snapshot(async |rows| pages::unsealed(rows).await).await?;
    report.add_rows(check_rows(&page.seals, &page.rows, Allowed::default()));
    kept_policies::altered(store).await?.into_iter().for_each(|finding| report.add(finding));
    bar.finish_and_clear();
    report.list_removals(removals(store, question, start).await?);
    if let Some(kafka) = question.topic {
        witness::compare(store, kafka, question.since, &mut report).await?;
    }
    Ok(report)
}

/// The faults of a claim's rows and their seals.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn verify_claim(
    store: &PostgresStore,
    claim_id: &str,
) -> Result<Vec<SealFinding>, StoreError> {
    let ids = [claim_id.to_owned()];
    let page = store.in_snapshot(async |rows| pages::of_claims(rows, &ids).await).await?;
    let seals = page.seals.iter().filter_map(|seal| check_head(seal, &page.heads));
    let allowed = Allowed { is_partial: true, removed: &page.removed, ..Allowed::default() };
    let rows = check_rows(&page.seals, &page.rows, allowed);
    Ok(seals.chain(rows.findings).collect())
}

/// Where the seals of a period begin.
struct Start {
    /// The first number.
    from: i64,
    /// How many seals there are.
    seals: u64,
    /// The last seal before them. It is checked as well: if times of seals were altered, so that
    /// the period begins later, its hash shows it.
    before: Option<i64>,
}

async fn begin(store: &PostgresStore, since: Option<Duration>) -> Result<Start, StoreError> {
    let count = "select first, seals,
            (select max(id) from seals where id < coalesce(first, 9223372036854775807))
        from (select min(id) as first, count(*) as seals from seals
            where sealed_at >= coalesce(now() - $1, '-infinity')) as period";
    let count = sqlx::query_as(count).bind(since.map(super::interval));
    let found: Vec<(Option<i64>, i64, Option<i64>)> = store.fetch(count).await?;
    let (first, seals, before) = found.first().copied().unwrap_or_default();
    let from = match (since, first) {
        // Rows may refer to a number before the first.
        (None, _) => i64::MIN,
        (Some(_), first) => first.unwrap_or(i64::MAX),
    };
    Ok(Start { from, seals: seals.unsigned_abs(), before })
}

/// For each table, the time before which rows need not exist any more.
async fn expired(store: &PostgresStore) -> Result<[Option<OffsetDateTime>; 4], StoreError> {
    let before = expiry::expired(store).await?;
    Ok(SEALED_TABLES.map(|table| before.get(table).map(|before| *before + TOLERANCE)))
}

/// The commands that removed evidence in the period, or that explain missing rows of the seals
/// from the number `from` on: the latest first, and one more than is listed if there are more.
async fn removals(
    store: &PostgresStore,
    question: SealQuestion<'_>,
    from: i64,
) -> Result<Vec<Removal>, StoreError> {
    let removals = "select id,
            least(greatest(removed_at, '1970-01-01'), '9999-12-31') as removed_at,
            removed_by, role, reason,
            (select count(*) from removed_rows where removal = id) as rows
        from removals
        where removed_at >= coalesce(now() - $1, '-infinity')
            or id in (select removal from removed_rows where seal >= $2)
        order by id desc limit $3";
    let removals = sqlx::query_as(removals).bind(question.since.map(super::interval)).bind(from);
    let limit = i64::try_from(question.limit.saturating_add(1)).unwrap_or(i64::MAX);
    store.fetch(removals.bind(limit)).await
}
