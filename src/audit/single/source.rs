//! "What happened to this record?", asked with a topic, a partition and an offset.

use serde::Serialize;

use super::claim::{payload, verdicts};
use super::verdict_rows::verdict_table;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::{instant, optional, sheet};
use crate::decision::Source;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{CLAIM_EVENTS, DEAD_LETTERS, DeadLetterRow, EventRow, Verdict, utc};

/// What is kept about one record. A topic that was deleted and created again counts from 0, so
/// there can be several of each.
#[derive(Debug, Serialize)]
pub struct SourceFile {
    /// The record.
    pub source: Source,
    /// The verdicts from it.
    pub verdicts: Vec<Verdict>,
    /// The events behind those verdicts.
    pub events: Vec<EventRow>,
    /// The dead letters: why it led to no decision.
    pub dead_letters: Vec<DeadLetterRow>,
}

/// The condition that a row comes from the record `$1/$2/$3`.
fn of_source(order: &str) -> String {
    format!(
        "where source_topic = $1 and source_partition = $2 and source_offset = $3 order by {order}"
    )
}

/// Looks a record up.
///
/// # Errors
/// [`StoreError`].
pub async fn source_file(store: &PostgresStore, source: Source) -> Result<SourceFile, StoreError> {
    let verdicts = verdicts(&of_source("decided_at"));
    let Source { topic, partition, offset } = &source;
    let verdicts = store.fetch(verdicts.bind(topic).bind(partition).bind(offset)).await?;
    let claim_ids: Vec<_> = verdicts.iter().map(|verdict| verdict.claim_id.clone()).collect();
    let events = CLAIM_EVENTS.select("where claim_id = any($1) order by received_at");
    Ok(SourceFile {
        verdicts,
        events: store.fetch_evidence(sqlx::query_as(events).bind(claim_ids)).await?,
        dead_letters: dead_letters(store, &source).await?,
        source,
    })
}

/// The dead letters of a record: more than one if several events had this place one after the
/// other.
pub(crate) async fn dead_letters(
    store: &PostgresStore,
    source: &Source,
) -> Result<Vec<DeadLetterRow>, StoreError> {
    let letter = sqlx::query_as(DEAD_LETTERS.select(&of_source("received_at, content")));
    store
        .fetch_evidence(letter.bind(&source.topic).bind(source.partition).bind(source.offset))
        .await
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
            text += &verdict_table(&self.verdicts);
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

impl Tabular for SourceFile {
    /// One row for each result of the record: a verdict or a dead letter, and the event.
    fn rows(&self) -> RowSet {
        let columns = [
            "became",
            "received_at",
            "claim_id",
            "decision",
            "decided_at",
            "reasons",
            "error",
            "error_field",
            "detail",
            "content",
            "trace_id",
            "payload",
            "payload_base64",
        ];
        let decided = self.verdicts.iter().map(|verdict| self.decided(verdict));
        RowSet::new(columns, decided.chain(self.dead_letters.iter().map(dead)))
    }
}

impl SourceFile {
    fn decided(&self, verdict: &Verdict) -> [Cell; 13] {
        let event = self.events.iter().find(|event| event.claim_id == verdict.claim_id);
        let payload = event.and_then(|event| event.payload.as_deref());
        let [text, base64] = Cell::bytes(payload);
        [
            Cell::of("verdict"),
            event.map_or(Cell::NULL, |event| Cell::time(event.received_at)),
            Cell::of(&verdict.claim_id),
            Cell::of(verdict.decision),
            Cell::time(utc(verdict.decided_at)),
            Cell::reasons(&verdict.reasons),
            Cell::NULL,
            Cell::NULL,
            Cell::NULL,
            Cell::NULL,
            Cell::of(&verdict.trace_id),
            text,
            base64,
        ]
    }
}

fn dead(letter: &DeadLetterRow) -> [Cell; 13] {
    let [text, base64] = Cell::bytes(letter.payload.as_deref());
    [
        Cell::of("dead_letter"),
        Cell::time(letter.received_at),
        Cell::NULL,
        Cell::NULL,
        Cell::NULL,
        Cell::NULL,
        Cell::of(&letter.error),
        Cell::optional(letter.error_field.as_ref()),
        Cell::of(&letter.detail),
        Cell::of(&letter.id.content),
        Cell::of(&letter.trace_id),
        text,
        base64,
    ]
}

impl DeadLetterRow {
    fn text(&self) -> String {
        let sheet = sheet([
            (
                "Dead letter",
                format!("{}, field {}", self.error, optional(self.error_field.as_ref())),
            ),
            ("Content", self.id.content.clone()),
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
