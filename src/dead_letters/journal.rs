//! The journal of replays: `dead_letter_replays` and `dead_letter_replay_places`. Rows are only
//! added.
//!
//! A command announces a replay, sends its event, then records the event's place. If the command
//! ends in between, it leaves an announcement without a place. Whether the event is in Kafka can
//! then only be read from the topic.

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::Approval;
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{LetterId, NewPlace, NewReplay, NewRow, REPLAY_KEY, ReplayId};

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
    /// Where it went, if that is known.
    pub(super) fn place(&self) -> Option<Source> {
        let topic = self.place_topic.clone()?;
        Some(Source { topic, partition: self.place_partition?, offset: self.place_offset? })
    }
}

/// Announces replays and returns those that this command is to make. Of two commands that announce
/// the same replay, the second does not get it.
pub(super) async fn announce(
    store: &PostgresStore,
    replays: &[ReplayId],
    Approval { by, reason }: &Approval,
) -> Result<Vec<ReplayId>, StoreError> {
    insert(store, replays.iter().map(|id| NewReplay { id, by, reason })).await
}

/// Records where replays went. If another command found the event in the topic first, both record
/// the same place.
pub(super) async fn record_places(
    store: &PostgresStore,
    places: &[(ReplayId, Source)],
    recorded_by: &str,
) -> Result<(), StoreError> {
    if !places.is_empty() {
        let rows = places.iter().map(|(id, place)| NewPlace { id, place, by: recorded_by });
        insert(store, rows).await?;
    }
    Ok(())
}

/// Inserts rows in the order of their key, as every command does, so that no two commands deadlock.
/// Returns the rows that did not exist before.
async fn insert<R: NewRow>(
    store: &PostgresStore,
    rows: impl Iterator<Item = R> + Clone,
) -> Result<Vec<ReplayId>, StoreError> {
    let rest = format!("order by 1, 2, 3, 4, 5 on conflict do nothing returning {REPLAY_KEY}");
    store.insert(rows, &rest).await
}

/// The replays of a letter, in order.
pub(super) async fn history(
    store: &PostgresStore,
    letter: &LetterId,
) -> Result<Vec<ReplayRow>, StoreError> {
    let history = sqlx::query_as(
        "select
            number, replayed_by, reason, announced_at, place_topic, place_partition, place_offset,
            recorded_by, recorded_at
        from dead_letter_replays
        left join dead_letter_replay_places using (source_topic, source_partition, source_offset,
            content, number)
        where source_topic = $1 and source_partition = $2 and source_offset = $3
            and content = $4
        order by number",
    );
    let Source { topic, partition, offset } = &letter.source;
    store.fetch(history.bind(topic).bind(partition).bind(offset).bind(&letter.content)).await
}
