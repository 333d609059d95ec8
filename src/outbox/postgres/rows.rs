//! The statements of the record that are more than [`crate::schema::insert`].
//!
//! One for any number of rows. Knows no transaction and decides nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::PgConnection;

use crate::outbox::{Call, Received};
use crate::schema::{CLAIM_EVENTS, NewEvent, NewRow, RISK_CALLS, VERDICTS, Verdict};

/// A claim that was decided, on its way into `verdicts` and `claim_events`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) verdict: &'a Verdict,
    pub(super) received: &'a Received,
}

impl<'a> Decided<'a> {
    fn event(&self) -> NewEvent<'a> {
        NewEvent { claim_id: &self.verdict.claim_id, received: self.received }
    }
}

/// `$1` is the array of claim ids, for they are the verdicts' first column. An event is written
/// only beside the verdict that rests on it.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let (first_event, first_call) =
        (1 + VERDICTS.width(), 1 + VERDICTS.width() + CLAIM_EVENTS.width());
    let verdicts = VERDICTS.insert("on conflict (claim_id) do nothing returning claim_id");
    let events = CLAIM_EVENTS.insert_from(
        first_event,
        "where claim_id in (select claim_id from inserted) on conflict do nothing",
    );
    let calls = RISK_CALLS.insert_from(first_call, "on conflict do nothing");
    format!(
        "with inserted as ({verdicts}), events as ({events}), calls as ({calls})
        select claim_id from unnest($1) as given (claim_id)
        where claim_id not in (select claim_id from inserted)"
    )
});

/// The same text every time, so that it is made and prepared once.
static SELECT_VERDICTS: LazyLock<String> =
    LazyLock::new(|| VERDICTS.select("where claim_id = any($1)").0);

/// Writes attempts, and the verdicts of claims that have none with the events behind them; returns
/// the ids of the claims that had one. `rows` are sorted by claim id, each id once: two workers
/// with the same claims then take their locks in the same order.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[Decided<'_>],
    calls: &[Call],
) -> sqlx::Result<Vec<String>> {
    let mut arguments = NewRow::arrays(rows.iter().map(|row| row.verdict))?;
    NewRow::bind(rows.iter().map(Decided::event), &mut arguments)?;
    NewRow::bind(calls.iter(), &mut arguments)?;
    sqlx::query_scalar_with(INSERT.as_str(), arguments).fetch_all(connection).await
}

/// The verdicts of these claims, by claim id.
pub(super) async fn select_verdicts(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<HashMap<String, Verdict>> {
    let known = sqlx::query_as(SELECT_VERDICTS.as_str()).bind(claim_ids);
    let known: Vec<Verdict> = known.fetch_all(connection).await?;
    Ok(known.into_iter().map(|verdict| (verdict.claim_id.clone(), verdict)).collect())
}

/// The payloads of the events behind these claims' verdicts, by claim id, as far as they are kept.
pub(super) async fn select_first_events(
    connection: &mut PgConnection,
    claim_ids: &[String],
) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "select claim_id, payload
        from claim_events join verdicts using (claim_id, source_topic, source_partition, source_offset)
        where claim_id = any($1) and payload is not null",
    )
    .bind(claim_ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}
