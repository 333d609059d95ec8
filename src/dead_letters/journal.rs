//! The journal of replays: `dead_letter_replays` and `dead_letter_replay_places`. Rows are only
//! ever added.
//!
//! A replay is announced, its event is sent, its place is recorded. Whatever ends the command in
//! between leaves an announcement without a place, which is the truth: nobody knows until the topic
//! is read.

use serde::Serialize;
use time::OffsetDateTime;

use super::address::LetterId;
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// A replay, by what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReplayId {
    /// The dead letter.
    pub(super) letter: LetterId,
    /// The replay's number.
    pub(super) number: i32,
}

/// Who answers for a replay, and why it is made.
#[derive(Debug, Clone)]
pub(super) struct Approval {
    pub(super) by: String,
    pub(super) reason: String,
}

/// A replay in the history of a letter.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(super) struct ReplayRow {
    pub(super) number: i32,
    pub(super) replayed_by: String,
    pub(super) reason: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) announced_at: OffsetDateTime,
    pub(super) place_topic: Option<String>,
    pub(super) place_partition: Option<i32>,
    pub(super) place_offset: Option<i64>,
    pub(super) recorded_by: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) recorded_at: Option<OffsetDateTime>,
}

impl ReplayRow {
    /// Where it went, where that is known.
    pub(super) fn place(&self) -> Option<Source> {
        let topic = self.place_topic.clone()?;
        Some(Source { topic, partition: self.place_partition?, offset: self.place_offset? })
    }
}

#[derive(sqlx::FromRow)]
struct IdRow {
    source_topic: String,
    source_partition: i32,
    source_offset: i64,
    content: String,
    number: i32,
}

impl From<IdRow> for ReplayId {
    fn from(row: IdRow) -> Self {
        let IdRow {
            source_topic: topic,
            source_partition: partition,
            source_offset: offset,
            content,
            number,
        } = row;
        Self { letter: LetterId { source: Source { topic, partition, offset }, content }, number }
    }
}

/// Announces replays; returns those that are ours to make. Of two commands that announce the same
/// one, the second does not get it.
pub(super) async fn announce(
    store: &PostgresStore,
    replays: &[ReplayId],
    approval: &Approval,
) -> Result<Vec<ReplayId>, StoreError> {
    let (topics, partitions, offsets, contents, numbers) = columns(replays.iter());
    let announced = sqlx::query_as(
        "insert into dead_letter_replays (source_topic, source_partition, source_offset, content, number, replayed_by, reason)
        select *, $6::text, $7::text from unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::int[]) order by 1, 2, 3, 4, 5
        on conflict do nothing
        returning source_topic, source_partition, source_offset, content, number",
    );
    let announced =
        announced.bind(topics).bind(partitions).bind(offsets).bind(contents).bind(numbers);
    let rows: Vec<IdRow> = store.fetch(announced.bind(&approval.by).bind(&approval.reason)).await?;
    Ok(rows.into_iter().map(ReplayId::from).collect())
}

/// Records where replays went.
pub(super) async fn record_places(
    store: &PostgresStore,
    places: &[(ReplayId, Source)],
    recorded_by: &str,
) -> Result<(), StoreError> {
    if places.is_empty() {
        return Ok(());
    }
    let (topics, partitions, offsets, contents, numbers) = columns(places.iter().map(|(id, _)| id));
    let place_topics: Vec<String> = places.iter().map(|(_, place)| place.topic.clone()).collect();
    let place_partitions: Vec<i32> = places.iter().map(|(_, place)| place.partition).collect();
    let place_offsets: Vec<i64> = places.iter().map(|(_, place)| place.offset).collect();
    // Where a command was slower than the one that found its event in the topic, both say the same.
    let recorded = sqlx::query_as(
        "insert into dead_letter_replay_places (
            source_topic, source_partition, source_offset, content, number, place_topic, place_partition, place_offset, recorded_by)
        select *, $9::text
        from unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::int[], $6::text[], $7::int[], $8::bigint[])
        order by 1, 2, 3, 4, 5
        on conflict do nothing
        returning source_topic, source_partition, source_offset, content, number",
    );
    let recorded =
        recorded.bind(topics).bind(partitions).bind(offsets).bind(contents).bind(numbers);
    let recorded =
        recorded.bind(place_topics).bind(place_partitions).bind(place_offsets).bind(recorded_by);
    let _: Vec<IdRow> = store.fetch(recorded).await?;
    Ok(())
}

/// The replays of a letter, in order.
pub(super) async fn history(
    store: &PostgresStore,
    letter: &LetterId,
) -> Result<Vec<ReplayRow>, StoreError> {
    let history = sqlx::query_as(
        "select
            number, replayed_by, reason, announced_at, place_topic, place_partition, place_offset, recorded_by, recorded_at
        from dead_letter_replays
        left join dead_letter_replay_places using (source_topic, source_partition, source_offset, content, number)
        where source_topic = $1 and source_partition = $2 and source_offset = $3 and content = $4 order by number",
    );
    let Source { topic, partition, offset } = &letter.source;
    store.fetch(history.bind(topic).bind(partition).bind(offset).bind(&letter.content)).await
}

type Columns = (Vec<String>, Vec<i32>, Vec<i64>, Vec<String>, Vec<i32>);

fn columns<'a>(replays: impl Iterator<Item = &'a ReplayId>) -> Columns {
    let mut columns = Columns::default();
    for ReplayId { letter: LetterId { source, content }, number } in replays {
        columns.0.push(source.topic.clone());
        columns.1.push(source.partition);
        columns.2.push(source.offset);
        columns.3.push(content.clone());
        columns.4.push(*number);
    }
    columns
}
