//! `dead_letter_replays` and `dead_letter_replay_places`: which dead letters were replayed, and
//! where they went.

use super::dead_letters::LetterId;
use super::table::table;
use crate::decision::Source;

/// The id of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::FromRow)]
pub struct ReplayId {
    /// The dead letter.
    #[sqlx(flatten)]
    pub letter: LetterId,
    /// The replay's number.
    pub number: i32,
}

/// The columns of [`ReplayId`], the key of both tables.
pub const REPLAY_KEY: &str = "source_topic, source_partition, source_offset, content, number";

/// A replay that is announced.
#[derive(Debug, Clone, Copy)]
pub struct NewReplay<'a> {
    /// Its id.
    pub id: &'a ReplayId,
    /// Who is responsible.
    pub by: &'a str,
    /// Why, in their words.
    pub reason: &'a str,
}

table! {
    /// Replays of dead letters.
    DEAD_LETTER_REPLAYS: "dead_letter_replays", row: NewReplay<'a> {
        source_topic: "text" = row.id.letter.source.topic.as_str(),
        source_partition: "int" = row.id.letter.source.partition,
        source_offset: "bigint" = row.id.letter.source.offset,
        content: "text" = row.id.letter.content.as_str(),
        number: "int" = row.id.number,
        replayed_by: "text" = row.by,
        reason: "text" = row.reason,
    }
}

/// Where a replay went.
#[derive(Debug, Clone, Copy)]
pub struct NewPlace<'a> {
    /// The id of the replay.
    pub id: &'a ReplayId,
    /// Where its event is.
    pub place: &'a Source,
    /// Who ran the command that sent it, or found it there.
    pub by: &'a str,
}

table! {
    /// Where replays went.
    DEAD_LETTER_REPLAY_PLACES: "dead_letter_replay_places", row: NewPlace<'a> {
        source_topic: "text" = row.id.letter.source.topic.as_str(),
        source_partition: "int" = row.id.letter.source.partition,
        source_offset: "bigint" = row.id.letter.source.offset,
        content: "text" = row.id.letter.content.as_str(),
        number: "int" = row.id.number,
        place_topic: "text" = row.place.topic.as_str(),
        place_partition: "int" = row.place.partition,
        place_offset: "bigint" = row.place.offset,
        recorded_by: "text" = row.by,
    }
}
