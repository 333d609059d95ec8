//! The questions to `dead_letters`: what a list shows, what a replay must know, and the events themselves.

use sqlx::types::Json;
use time::OffsetDateTime;

use super::event::KeptHeader;
use super::filter::{Selection, selected};
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// A dead letter without its payload, and its latest replay.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Letter {
    source_topic: String,
    source_partition: i32,
    source_offset: i64,
    pub(super) error: String,
    pub(super) error_field: Option<String>,
    pub(super) detail: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) received_at: OffsetDateTime,
    pub(super) trace_id: String,
    /// Of the payload; `None` for a tombstone.
    pub(super) payload_bytes: Option<i32>,
    /// Of key, payload and headers together.
    pub(super) bytes: i64,
    /// The event's own header [`super::REPLAYS`].
    pub(super) replays_header: Option<String>,
    number: Option<i32>,
    replayed_by: Option<String>,
    announced_at: Option<OffsetDateTime>,
    has_place: bool,
}

/// The latest replay of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LatestReplay {
    pub(super) number: i32,
    pub(super) by: String,
    pub(super) announced_at: OffsetDateTime,
    /// Whether Kafka is known to have its event. If not, it may be under way, or was cut short.
    pub(super) has_place: bool,
}

/// How often something went wrong.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Count {
    pub(super) error: String,
    pub(super) error_field: Option<String>,
    pub(super) letters: i64,
    pub(super) first: OffsetDateTime,
    pub(super) last: OffsetDateTime,
}

/// What of an event is sent once more.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Content {
    source_topic: String,
    source_partition: i32,
    source_offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Json<Vec<KeptHeader>>,
}

impl Letter {
    /// The record that it was.
    pub(super) fn source(&self) -> Source {
        let Self { source_topic, source_partition, source_offset, .. } = self;
        Source { topic: source_topic.clone(), partition: *source_partition, offset: *source_offset }
    }

    /// Its latest replay, where there was one.
    pub(super) fn latest_replay(&self) -> Option<LatestReplay> {
        Some(LatestReplay {
            number: self.number?,
            by: self.replayed_by.clone()?,
            announced_at: self.announced_at?,
            has_place: self.has_place,
        })
    }
}

impl Content {
    /// The record that it was.
    pub(super) fn source(&self) -> Source {
        let Self { source_topic, source_partition, source_offset, .. } = self;
        Source { topic: source_topic.clone(), partition: *source_partition, offset: *source_offset }
    }
}

/// A letter's columns. A long key is cut: nobody reads it, and it need not be in memory.
macro_rules! letters {
    () => {
        "select
            letter.source_topic, letter.source_partition, letter.source_offset, letter.error, letter.error_field, letter.detail,
            substr(letter.key, 1, 4096) as key, letter.received_at, letter.trace_id, octet_length(letter.payload) as payload_bytes,
            coalesce(octet_length(letter.payload), 0)::bigint + coalesce(octet_length(letter.key), 0)
                + octet_length(letter.headers::text) as bytes,
            (select header->>'text' from jsonb_array_elements(letter.headers) with ordinality as found(header, place)
                where header->>'name' = 'claimgate-replays' order by place limit 1) as replays_header,
            replay.number, replay.replayed_by, replay.announced_at, place.number is not null as has_place
        from dead_letters as letter
        left join lateral (
            select * from dead_letter_replays as replay
            where (replay.source_topic, replay.source_partition, replay.source_offset)
                = (letter.source_topic, letter.source_partition, letter.source_offset)
            order by replay.number desc limit 1) as replay on true
        left join dead_letter_replay_places as place
            on (place.source_topic, place.source_partition, place.source_offset, place.number)
                = (replay.source_topic, replay.source_partition, replay.source_offset, replay.number)
        where "
    };
}

/// The newest letters of a selection.
pub(super) async fn newest(
    store: &PostgresStore,
    selection: &Selection,
    limit: u32,
) -> Result<Vec<Letter>, StoreError> {
    let letters = sqlx::query_as(concat!(
        letters!(),
        selected!(),
        "order by letter.received_at desc, letter.source_topic desc, letter.source_partition desc, letter.source_offset desc
        limit $12"
    ));
    store.fetch(selection.bind(letters).bind(i64::from(limit))).await
}

/// A page of a selection, oldest first, behind the letter `after`.
pub(super) async fn page(
    store: &PostgresStore,
    selection: &Selection,
    after: Option<&Letter>,
    limit: u32,
) -> Result<Vec<Letter>, StoreError> {
    let letters = sqlx::query_as(concat!(
        letters!(),
        selected!(),
        "and ($12::timestamptz is null or (letter.received_at, letter.source_topic, letter.source_partition, letter.source_offset)
            > ($12, $13::text, $14::int, $15::bigint))
        order by letter.received_at, letter.source_topic, letter.source_partition, letter.source_offset
        limit $16"
    ));
    let letters = selection
        .bind(letters)
        .bind(after.map(|after| after.received_at))
        .bind(after.map(|after| after.source_topic.clone()))
        .bind(after.map(|after| after.source_partition))
        .bind(after.map(|after| after.source_offset));
    store.fetch(letters.bind(i64::from(limit))).await
}

/// What is wrong with a selection's letters, most frequent first.
pub(super) async fn counts(store: &PostgresStore, selection: &Selection) -> Result<Vec<Count>, StoreError> {
    let counts = sqlx::query_as(concat!(
        "select letter.error, letter.error_field, count(*) as letters, min(letter.received_at) as first, max(letter.received_at) as last
        from dead_letters as letter where ",
        selected!(),
        "group by 1, 2 order by letters desc, 1, 2 limit 20"
    ));
    store.fetch(selection.bind(counts)).await
}

/// The events of these letters.
pub(super) async fn contents(store: &PostgresStore, sources: &[Source]) -> Result<Vec<Content>, StoreError> {
    let topics: Vec<String> = sources.iter().map(|source| source.topic.clone()).collect();
    let partitions: Vec<i32> = sources.iter().map(|source| source.partition).collect();
    let offsets: Vec<i64> = sources.iter().map(|source| source.offset).collect();
    let contents = sqlx::query_as(
        "select source_topic, source_partition, source_offset, key, payload, headers from dead_letters
        where (source_topic, source_partition, source_offset) in (select * from unnest($1::text[], $2::int[], $3::bigint[]))",
    );
    store.fetch(contents.bind(topics).bind(partitions).bind(offsets)).await
}

/// What time it is by the server's clock.
pub(super) async fn server_time(store: &PostgresStore) -> Result<OffsetDateTime, StoreError> {
    let now: Vec<(OffsetDateTime,)> = store.fetch(sqlx::query_as("select now()")).await?;
    now.first()
        .map(|(now,)| *now)
        .ok_or_else(|| StoreError::Transient(format!("{} did not tell the time", store.place())))
}
