//! The schema: the columns and rows of each table, declared once.
//!
//! A file for each table has its rows as Rust types, and its columns in a list called `table!`. All
//! code that writes or reads rows (outbox, audit, dead letters, the demo, the benchmarks) uses
//! these. This module knows no transactions and decides nothing; `migrations/` makes the tables.
//!
//! A new column needs a migration, a field and a line of `table!` here, and the code that fills it.

mod claim_events;
mod dead_letters;
mod digest;
mod json;
mod policies;
mod replays;
mod republications;
mod revisions;
mod risk_calls;
mod seals;
mod shadow_decisions;
mod subject_keys;
mod table;
mod token_exchanges;
mod values;
mod verdicts;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::claim::EventHashes;
use crate::decision::Source;
pub use claim_events::{CLAIM_EVENTS, EventRow, NewEvent};
pub use dead_letters::{DEAD_LETTERS, DeadLetterRow, LETTER_KEY, LetterId, NewDeadLetter};
pub use digest::RowDigest;
pub(crate) use json::clean_reasons;
pub use json::{bytes_as_json, headers_from_json};
pub use policies::{NewPolicy, POLICIES, PolicyRow, PolicyUse};
pub use replays::{
    DEAD_LETTER_REPLAY_PLACES, DEAD_LETTER_REPLAYS, NewPlace, NewReplay, REPLAY_KEY, ReplayId,
};
pub use republications::{NewRepublication, REPUBLICATIONS};
pub use revisions::{
    NewRevision, NewRevisionPlace, REVISION_PLACES, REVISIONS, RevisionRow, SELECT_REVISIONS,
};
pub use risk_calls::{Call, RISK_CALLS, Word};
pub use seals::{NoSeal, SEAL_COLUMNS, SEALED_TABLES, Seal, SealRow};
pub use shadow_decisions::{SHADOW_DECISIONS, ShadowDecision};
pub use subject_keys::{NewSubjectKey, SUBJECT_KEYS};
pub use table::{NewRow, Table, insert};
pub use token_exchanges::{TOKEN_EXCHANGES, TokenExchange};
pub use values::utc;
pub(crate) use values::{clean, micros, milliseconds};
pub use verdicts::{VERDICT_SEAL, VERDICTS, Verdict};

/// The three columns of a place in Kafka, which most tables have.
impl FromRow<'_, PgRow> for Source {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            topic: row.try_get("source_topic")?,
            partition: row.try_get("source_partition")?,
            offset: row.try_get("source_offset")?,
        })
    }
}

impl FromRow<'_, PgRow> for EventHashes {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            phone: row.try_get("phone_hash")?,
            network: row.try_get("network_hash")?,
            certificate: row.try_get("certificate_hash")?,
        })
    }
}
