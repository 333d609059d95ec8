//! "What became of this record?", asked with a topic, a partition and an offset.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::claim::{EventRow, VerdictRow, payload};
use super::command::Report;
use super::shown::{bytes_as_json, instant, optional, sheet, table};
use super::subject::cells;
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// What is kept about one record. A topic that was made anew counts from 0 again, so there can be
/// several of each.
#[derive(Debug, Serialize)]
pub struct SourceFile {
    /// The record.
    pub source: Source,
    /// What was decided from it.
    pub verdicts: Vec<VerdictRow>,
    /// The events behind those verdicts.
    pub events: Vec<EventRow>,
    /// Why it became no decision.
    pub dead_letters: Vec<DeadLetterRow>,
}

/// A row of `dead_letters`.
#[derive(Debug, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct DeadLetterRow {
    pub source_topic: String,
    pub source_partition: i32,
    pub source_offset: i64,
    pub content: String,
    pub error: String,
    pub error_field: Option<String>,
    pub detail: String,
    #[serde(serialize_with = "bytes_as_json")]
    pub key: Option<Vec<u8>>,
    #[serde(serialize_with = "bytes_as_json")]
    pub payload: Option<Vec<u8>>,
    pub headers: Value,
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub trace_id: String,
}

/// Looks a record up.
///
/// # Errors
/// [`StoreError`].
pub async fn source_file(store: &PostgresStore, source: Source) -> Result<SourceFile, StoreError> {
    let verdicts = sqlx::query_as(
        "select
            claim_id, kind, api, api_schema, decision, level, risk_types, reasons, provider_code, policy_version, attempts, challenge,
            claimed_at, decided_at, recorded_at, source_topic, source_partition, source_offset, trace_id, subject
        from verdicts where source_topic = $1 and source_partition = $2 and source_offset = $3 order by decided_at",
    );
    let events = sqlx::query_as(
        "select claim_id, source_topic, source_partition, source_offset, key, headers, payload, received_at, trace_id
        from claim_events where source_topic = $1 and source_partition = $2 and source_offset = $3 order by received_at",
    );
    let Source { topic, partition, offset } = &source;
    Ok(SourceFile {
        verdicts: store.fetch(verdicts.bind(topic).bind(partition).bind(offset)).await?,
        events: store.fetch(events.bind(topic).bind(partition).bind(offset)).await?,
        dead_letters: dead_letters(store, &source).await?,
        source,
    })
}

/// The dead letters of a record: more than one where events stood there one after the other.
pub(crate) async fn dead_letters(
    store: &PostgresStore,
    source: &Source,
) -> Result<Vec<DeadLetterRow>, StoreError> {
    let letter = sqlx::query_as(
        "select
            source_topic, source_partition, source_offset, content, error, error_field, detail, key, payload, headers, received_at, trace_id
        from dead_letters where source_topic = $1 and source_partition = $2 and source_offset = $3
        order by received_at, content",
    );
    store.fetch(letter.bind(&source.topic).bind(source.partition).bind(source.offset)).await
}

impl Report for SourceFile {
    fn found(&self) -> bool {
        !self.verdicts.is_empty() || !self.dead_letters.is_empty()
    }

    fn text(&self) -> String {
        if !self.found() {
            return format!("nothing is kept about record {}\n", self.source);
        }
        let mut text = String::new();
        if !self.verdicts.is_empty() {
            text += &table(
                ["decided at", "claim", "kind", "decision", "why"],
                self.verdicts.iter().map(cells),
            );
        }
        for event in &self.events {
            text += &format!(
                "\nEvent, received {}\n{}\n",
                instant(event.received_at),
                payload(event.payload.as_deref())
            );
        }
        for letter in &self.dead_letters {
            text += &letter.text();
        }
        text
    }
}

impl DeadLetterRow {
    fn text(&self) -> String {
        let sheet = sheet([
            (
                "Dead letter",
                format!("{}, field {}", self.error, optional(self.error_field.as_ref())),
            ),
            ("Content", self.content.clone()),
            ("Detail", self.detail.clone()),
            ("Received", instant(self.received_at)),
            ("Trace", self.trace_id.clone()),
        ]);
        format!("{sheet}{}\n", payload(self.payload.as_deref()))
    }
}

/// Reads `topic/partition/offset`.
pub(crate) fn parse_source(text: &str) -> Result<Source, String> {
    let parse = || {
        let (rest, offset) = text.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        let source = Source {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        };
        Some(source).filter(|source| !source.topic.is_empty())
    };
    parse().ok_or_else(|| {
        "a record is topic/partition/offset, such as reward.claims/3/8812".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let source = Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 };
        assert_eq!(parse_source(&source.to_string()), Ok(source));
        for wrong in [
            "",
            "reward.claims",
            "reward.claims/3",
            "reward.claims/x/1",
            "/3/4",
            "reward.claims/3/",
        ] {
            assert!(parse_source(wrong).is_err(), "{wrong}");
        }
    }
}
