//! The statements of the record that are more than [`crate::schema::insert`].
//!
//! One for any number of rows. Knows no transaction and decides nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::postgres::{PgArguments, PgBindIterExt};
use sqlx::{Arguments, PgConnection};

use super::cipher::EvidenceKeys;
use super::encrypted::decrypt_payload;
use crate::claim::without_secrets;
use crate::outbox::{Call, Received};
use crate::schema::{
    CLAIM_EVENTS, DEAD_LETTERS, LETTER_KEY, NewDeadLetter, NewEvent, NewRow, RISK_CALLS, RowDigest,
    Seal, VERDICT_SEAL, VERDICTS, Verdict,
};

/// A claim that was decided, on its way into `verdicts` and `claim_events`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) verdict: &'a Verdict,
    pub(super) received: &'a Received,
}

impl<'a> Decided<'a> {
    /// The event's payload as it is kept.
    fn payload(&self, keys: &EvidenceKeys) -> Option<Cow<'a, [u8]>> {
        let payload = self.received.payload.as_deref()?;
        Some(keys.payload(&self.verdict.claim_id, without_secrets(payload)))
    }
}

/// An event is written only beside the verdict that rests on it.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let (events, calls) = (1 + VERDICTS.width(), 1 + VERDICTS.width() + CLAIM_EVENTS.width());
    let digests = calls + RISK_CALLS.width();
    let claims = VERDICTS.array(1, "claim_id");
    let written = [
        written(&claims, digests, "new_verdicts", "claim_id"),
        written(&CLAIM_EVENTS.array(events, "claim_id"), digests + 1, "new_events", "claim_id"),
        written(&RISK_CALLS.array(calls, "id"), digests + 2, "new_calls", "id"),
    ];
    let verdicts =
        VERDICTS.insert_sealed(1, "on conflict (claim_id) do nothing returning claim_id");
    let events = CLAIM_EVENTS.insert_sealed(
        events,
        "where claim_id in (select claim_id from new_verdicts) on conflict do nothing returning \
         claim_id",
    );
    let calls = RISK_CALLS.insert_sealed(calls, "on conflict do nothing returning id");
    let [of_verdicts, of_events, of_calls] = written;
    let seal = seal([&of_verdicts, &of_events, &of_calls, NOTHING], digests + 3);
    format!(
        "with {THIS}, new_verdicts as ({verdicts}), new_events as ({events}),
        new_calls as ({calls}),
        {seal}
        select (select id from seal), (select head from seal),
            array(select claim_id from unnest({claims}) as given (claim_id)
                where claim_id not in (select claim_id from new_verdicts))"
    )
});

static INSERT_LETTERS: LazyLock<String> = LazyLock::new(|| {
    let digests = 1 + DEAD_LETTERS.width();
    let keys = LETTER_KEY.split(", ").map(|column| DEAD_LETTERS.array(1, column));
    let keys = keys.collect::<Vec<_>>().join(", ");
    let rest = format!("on conflict do nothing returning {LETTER_KEY}");
    let letters = DEAD_LETTERS.insert_sealed(1, &rest);
    let written = written(&keys, digests, "new_letters", LETTER_KEY);
    let seal = seal([NOTHING, NOTHING, NOTHING, &written], digests + 1);
    format!(
        "with {THIS}, new_letters as ({letters}), {seal}
        select (select id from seal), (select head from seal), array[]::text[]"
    )
});

/// The number of the seal to be.
const THIS: &str = "this as (select nextval('seals_id_seq') as seal)";
/// The digests of a table of which nothing is written.
const NOTHING: &str = "''::bytea";

/// The digests of the rows that were written of those given. `keys` are the arrays of what
/// identifies a row, `digests` the number of the array beside them.
fn written(keys: &str, digests: usize, table: &str, key: &str) -> String {
    format!(
        "(select coalesce(string_agg(digest, ''::bytea order by n), '')
        from unnest({keys}, ${digests}::bytea[]) with ordinality as given ({key}, digest, n)
        where ({key}) in (select {key} from {table}))"
    )
}

/// The seal of these digests, unless there are none. The parameter `previous` is the number of the
/// seal before it, the next one its hash.
fn seal(digests: [&str; 4], previous: usize) -> String {
    let [verdicts, events, calls, letters] = digests;
    let head = previous + 1;
    format!(
        "content (verdicts, events, calls, letters) as (
            select {verdicts}, {events}, {calls}, {letters}
        ), seal as (
            insert into seals
            select seal, ${previous}, verdicts, events, calls, letters, now(),
                claimgate_seal_head(${head}, seal, now(), verdicts, events, calls, letters)
            from this, content
            where octet_length(verdicts || events || calls || letters) > 0
            returning id, head
        )"
    )
}

/// The same text every time, so that it is made and prepared once.
static SELECT_VERDICTS: LazyLock<String> =
    LazyLock::new(|| VERDICTS.select_and(VERDICT_SEAL, "where claim_id = any($1)").0);

/// Writes attempts, and the verdicts of claims that have none with the events behind them; returns
/// the ids of the claims that had one. `rows` are sorted by claim id, each id once: two workers
/// with the same claims then take their locks in the same order. `last` is the seal before it, then
/// its own.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[Decided<'_>],
    calls: &[Call],
    keys: &EvidenceKeys,
    last: &mut Seal,
) -> sqlx::Result<Vec<String>> {
    let verdicts = rows.iter().map(|row| row.verdict);
    let payloads: Vec<_> = rows.iter().map(|row| row.payload(keys)).collect();
    let events = rows.iter().zip(&payloads).map(|(row, payload)| NewEvent {
        claim_id: &row.verdict.claim_id,
        received: row.received,
        payload: payload.as_deref(),
        hashes: row.verdict.event_hashes,
    });
    let calls = keys.calls(calls);
    let mut arguments = NewRow::arrays(verdicts.clone())?;
    NewRow::bind(events.clone(), &mut arguments)?;
    NewRow::bind(calls.iter(), &mut arguments)?;
    add_digests(verdicts, &mut arguments)?;
    add_digests(events, &mut arguments)?;
    add_digests(calls.iter(), &mut arguments)?;
    write(connection, &INSERT, arguments, last).await
}

/// Writes dead letters; one that is there is left alone.
pub(super) async fn insert_letters(
    connection: &mut PgConnection,
    letters: &[NewDeadLetter<'_>],
    keys: &EvidenceKeys,
    last: &mut Seal,
) -> sqlx::Result<()> {
    let letters = keys.letters(letters);
    let mut arguments = NewRow::arrays(letters.iter())?;
    add_digests(letters.iter(), &mut arguments)?;
    write(connection, &INSERT_LETTERS, arguments, last).await.map(|_| ())
}

fn add_digests<R: NewRow>(
    rows: impl Iterator<Item = R>,
    arguments: &mut PgArguments,
) -> sqlx::Result<()> {
    let digests: Vec<RowDigest> = rows.map(NewRow::digest).collect::<sqlx::Result<_>>()?;
    let digests = digests.iter().map(RowDigest::as_slice).bind_iter();
    arguments.add(digests).map_err(sqlx::Error::Encode)
}

/// Runs a statement that seals what it writes.
async fn write(
    connection: &mut PgConnection,
    statement: &'static str,
    mut arguments: PgArguments,
    last: &mut Seal,
) -> sqlx::Result<Vec<String>> {
    arguments.add(last.id).map_err(sqlx::Error::Encode)?;
    arguments.add(last.head.as_slice()).map_err(sqlx::Error::Encode)?;
    let written = sqlx::query_as_with(statement, arguments).fetch_one(connection);
    let (id, head, taken): (Option<i64>, Option<[u8; 32]>, Vec<String>) = written.await?;
    if let (Some(id), Some(head)) = (id, head) {
        *last = Seal { id, head };
    }
    Ok(taken)
}

/// The newest seal: a chain goes on from there.
pub(super) async fn select_newest_seal(connection: &mut PgConnection) -> sqlx::Result<Seal> {
    let newest = "select id, head from seals order by id desc limit 1";
    let (id, head) = sqlx::query_as(newest).fetch_one(connection).await?;
    Ok(Seal { id, head })
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

/// The payloads of the events behind these claims' verdicts, by claim id, as far as they are kept
/// and can be decrypted.
pub(super) async fn select_first_events(
    connection: &mut PgConnection,
    claim_ids: &[String],
    keys: &EvidenceKeys,
) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows: Vec<(String, Option<Vec<u8>>)> = sqlx::query_as(
        "select claim_id, payload
        from claim_events join verdicts using (claim_id, source_topic, source_partition,
            source_offset)
        where claim_id = any($1) and payload is not null",
    )
    .bind(claim_ids)
    .fetch_all(connection)
    .await?;
    let decrypted = rows.into_iter().filter_map(|(claim_id, mut payload)| {
        decrypt_payload(&claim_id, &mut payload, keys).ok()?;
        Some((claim_id, payload?))
    });
    Ok(decrypted.collect())
}
