//! The queries on `dead_letters`: what a list shows, what a replay must know, and the events
//! themselves.

use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::address::Address;
use super::filter::{Selection, selected};
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{DEAD_LETTERS, DeadLetterRow, LETTER_KEY, LetterId};

/// A dead letter without its payload, and its latest replay.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Letter {
    #[sqlx(flatten)]
    pub(super) id: LetterId,
    pub(super) error: String,
    pub(super) error_field: Option<String>,
    pub(super) detail: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) received_at: OffsetDateTime,
    pub(super) trace_id: String,
    /// The size of the payload; `None` for a tombstone.
    pub(super) payload_bytes: Option<i32>,
    /// The size of key, payload and headers together.
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
    /// Whether Kafka is known to have its event. If not, the replay is under way or was cut short.
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

impl Letter {
    /// Its latest replay, if there was one.
    pub(super) fn latest_replay(&self) -> Option<LatestReplay> {
        Some(LatestReplay {
            number: self.number?,
            by: self.replayed_by.clone()?,
            announced_at: self.announced_at?,
            has_place: self.has_place,
        })
    }
}

/// The columns of a letter. A long key is cut, to save memory: nobody reads all of it.
macro_rules! letters {
    () => {
        "select
            letter.source_topic, letter.source_partition, letter.source_offset, letter.content,
            letter.error, letter.error_field, letter.detail,
            substr(letter.key, 1, 4096) as key, letter.received_at, letter.trace_id,
            octet_length(letter.payload) as payload_bytes,
            coalesce(octet_length(letter.payload), 0)::bigint
                + coalesce(octet_length(letter.key), 0)
                + octet_length(letter.headers::text) as bytes,
            (select header->>'text'
                from jsonb_array_elements(letter.headers) with ordinality as found(header, place)
                where header->>'name' = 'claimgate-replays' order by place limit 1)
                as replays_header,
            replay.number, replay.replayed_by, replay.announced_at,
            place.number is not null as has_place
        from dead_letters as letter
        left join lateral (
            select * from dead_letter_replays as replay
            where (replay.source_topic, replay.source_partition, replay.source_offset,
                replay.content)
                = (letter.source_topic, letter.source_partition, letter.source_offset,
                    letter.content)
            order by replay.number desc limit 1) as replay on true
        left join dead_letter_replay_places as place
            on (place.source_topic, place.source_partition, place.source_offset, place.content,
                place.number)
                = (replay.source_topic, replay.source_partition, replay.source_offset,
                    replay.content, replay.number)
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
        "order by letter.received_at desc, letter.source_topic desc, letter.source_partition desc,
            letter.source_offset desc, letter.content desc
        limit $13"
    ));
    store.fetch(selection.bind(letters).bind(i64::from(limit))).await
}

/// A page of a selection, oldest first, beginning after the letter `after`.
pub(super) async fn page(
    store: &PostgresStore,
    selection: &Selection,
    after: Option<&Letter>,
    limit: u32,
) -> Result<Vec<Letter>, StoreError> {
    let letters = sqlx::query_as(concat!(
        letters!(),
        selected!(),
        "and ($13::timestamptz is null
            or (letter.received_at, letter.source_topic, letter.source_partition,
                letter.source_offset, letter.content)
                > ($13, $14::text, $15::int, $16::bigint, $17::text))
        order by letter.received_at, letter.source_topic, letter.source_partition,
            letter.source_offset, letter.content
        limit $18"
    ));
    let letters = selection
        .bind(letters)
        .bind(after.map(|after| after.received_at))
        .bind(after.map(|after| after.id.source.topic.clone()))
        .bind(after.map(|after| after.id.source.partition))
        .bind(after.map(|after| after.id.source.offset))
        .bind(after.map(|after| after.id.content.clone()));
    store.fetch(letters.bind(i64::from(limit))).await
}

/// What is wrong with a selection's letters, most frequent first.
pub(super) async fn counts(
    store: &PostgresStore,
    selection: &Selection,
) -> Result<Vec<Count>, StoreError> {
    let counts = sqlx::query_as(concat!(
        "select letter.error, letter.error_field, count(*) as letters,
            min(letter.received_at) as first, max(letter.received_at) as last
        from dead_letters as letter where ",
        selected!(),
        "group by 1, 2 order by letters desc, 1, 2 limit 20"
    ));
    store.fetch(selection.bind(counts)).await
}

/// These letters with their events.
pub(super) async fn contents(
    store: &PostgresStore,
    letters: &[LetterId],
) -> Result<Vec<DeadLetterRow>, StoreError> {
    let topics: Vec<String> = letters.iter().map(|letter| letter.source.topic.clone()).collect();
    let partitions: Vec<i32> = letters.iter().map(|letter| letter.source.partition).collect();
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.source.offset).collect();
    let hashes: Vec<String> = letters.iter().map(|letter| letter.content.clone()).collect();
    let these = format!(
        "where ({LETTER_KEY}) in (select * from unnest($1::text[], $2::int[], $3::bigint[], \
         $4::text[]))"
    );
    let contents = sqlx::query_as(DEAD_LETTERS.select(&these));
    store.fetch_evidence(contents.bind(topics).bind(partitions).bind(offsets).bind(hashes)).await
}

/// The letters that an address names: more than one if several events had that place.
pub(super) async fn at_place(
    store: &PostgresStore,
    address: &Address,
) -> Result<Vec<LetterId>, StoreError> {
    let Source { topic, partition, offset } = &address.source;
    let letters = sqlx::query_as(AssertSqlSafe(format!(
        "select {LETTER_KEY} from dead_letters
        where source_topic = $1 and source_partition = $2 and source_offset = $3
            and content = coalesce($4, content)
        order by received_at, content",
    )));
    let letters = letters.bind(topic).bind(partition).bind(offset).bind(&address.content);
    store.fetch(letters).await
}

/// The time by the server's clock.
pub(super) async fn server_time(store: &PostgresStore) -> Result<OffsetDateTime, StoreError> {
    let now: Vec<(OffsetDateTime,)> = store.fetch(sqlx::query_as("select now()")).await?;
    now.first()
        .map(|(now,)| *now)
        .ok_or_else(|| StoreError::Transient(format!("{} did not tell the time", store.place())))
}
