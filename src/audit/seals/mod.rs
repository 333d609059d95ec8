//! "Is every row as a worker wrote it?"
//!
//! [`matching`] compares rows with seals and is pure. [`pages`] reads both; [`witness`] reads the
//! decisions in Kafka, whose seals cannot be rewritten. Nothing is written or locked.

mod erasure;
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
    let (start, seals) = begin(store, question.since).await?;
    let mut after = start;
    let bar = super::derivation::rederive::progress(seals, "seals");
    loop {
        let page = store.in_snapshot(async |rows| pages::after(rows, after).await).await?;
        report.add_seals(page.seals.iter().map(|seal| check_head(seal, &page.heads, page.first)));
        // After the page was read: retention may run at the same time, and it records first what it
        // removes.
        let expired = expired(store).await?;
        let allowed = Allowed { expired, removed: &page.removed, ..Allowed::default() };
        report.add_rows(check_rows(&page.seals, &page.rows, allowed));
        bar.inc(u64::try_from(page.seals.len()).unwrap_or_default());
        let Some(last) = page.seals.last() else { break };
        after = last.id;
    }
    let page = store.in_snapshot(async |rows| pages::unsealed(rows).await).await?;
    report.add_rows(check_rows(&page.seals, &page.rows, Allowed::default()));
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
    let seals = page.seals.iter().filter_map(|seal| check_head(seal, &page.heads, page.first));
    let allowed = Allowed { is_partial: true, removed: &page.removed, ..Allowed::default() };
    let rows = check_rows(&page.seals, &page.rows, allowed);
    Ok(seals.chain(rows.findings).collect())
}

/// The number after which the seals of the period begin, and how many there are.
async fn begin(store: &PostgresStore, since: Option<Duration>) -> Result<(i64, u64), StoreError> {
    let count = "select min(id), count(*) from seals
        where sealed_at >= coalesce(now() - $1, '-infinity')";
    let count = sqlx::query_as(count).bind(since.map(super::interval));
    let found: Vec<(Option<i64>, i64)> = store.fetch(count).await?;
    let (first, seals) = found.first().copied().unwrap_or_default();
    let after = match (since, first) {
        // Rows may refer to a number before the first.
        (None, _) => i64::MIN,
        (Some(_), Some(first)) => first - 1,
        (Some(_), None) => i64::MAX,
    };
    Ok((after, seals.unsigned_abs()))
}

/// For each table, the time before which rows need not exist any more.
async fn expired(store: &PostgresStore) -> Result<[Option<OffsetDateTime>; 4], StoreError> {
    let before = expiry::expired(store).await?;
    Ok(SEALED_TABLES.map(|table| before.get(table).map(|before| *before + TOLERANCE)))
}

/// The commands that removed evidence in the period, or that explain missing rows of the seals
/// after `after`: the latest first, and one more than is listed if there are more.
async fn removals(
    store: &PostgresStore,
    question: SealQuestion<'_>,
    after: i64,
) -> Result<Vec<Removal>, StoreError> {
    let removals = "select id, removed_at, removed_by, role, reason,
            (select count(*) from removed_rows where removal = id) as rows
        from removals
        where removed_at >= coalesce(now() - $1, '-infinity')
            or id in (select removal from removed_rows where seal > $2)
        order by id desc limit $3";
    let removals = sqlx::query_as(removals).bind(question.since.map(super::interval)).bind(after);
    let limit = i64::try_from(question.limit.saturating_add(1)).unwrap_or(i64::MAX);
    store.fetch(removals.bind(limit)).await
}
