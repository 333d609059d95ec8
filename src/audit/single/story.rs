//! "What happened to this claim, and why?"

use std::time::Duration;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::claim::{ClaimFile, claim_file, payload};
use super::mentions;
use super::steps::{Step, step_rows, steps};
use super::undecryptable::Undecryptable;
use super::waiting::{LetterReplay, Unrecorded, Waiting};
use crate::audit::changes::revising::revisions;
use crate::audit::report::rows::{RowSet, Tabular};
use crate::audit::report::shown::{block, instant};
use crate::audit::report::{End, Report, with_note};
use crate::claim::EventError;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{Call, DeadLetterRow, LETTER_KEY, LetterId, RevisionRow, utc};

/// A claim's whole story, decided or not.
#[derive(Debug, Serialize)]
pub struct ClaimStory {
    /// What is kept about the claim.
    #[serde(flatten)]
    pub file: ClaimFile,
    /// Dead letters whose event names the claim, mostly conflicts.
    pub dead_letters: Vec<DeadLetterRow>,
    /// Dead letters that cannot be decrypted here: they may name the claim, too.
    pub undecryptable: Undecryptable,
    /// The revisions by people.
    pub revisions: Vec<RevisionRow>,
    /// What the claim waits for; `None` if it is decided, or no API was called.
    pub waiting: Option<Waiting>,
    /// All steps in order of time.
    pub story: Vec<Step>,
}

/// Looks a claim up and makes its story as of now. `give_up_after` is `retry.give_up_after`.
///
/// # Errors
/// [`StoreError`].
pub async fn claim_story(
    store: &PostgresStore,
    claim_id: &str,
    give_up_after: Duration,
) -> Result<ClaimStory, StoreError> {
    let now = OffsetDateTime::now_utc();
    let file = claim_file(store, claim_id).await?;
    let called = file.calls.first().map(|call| utc(call.requested_at));
    let decided = file.verdict.as_ref().map(|verdict| utc(verdict.decided_at));
    let received = file.events.first().map(|event| event.received_at);
    let first = [called, decided, received].into_iter().flatten().min();
    let (dead_letters, undecryptable) = mentions::letters(store, claim_id, first, now).await?;
    let waiting = match file.verdict {
        Some(_) => None,
        None => {
            let unrecorded = unrecorded(store, &dead_letters).await?;
            Waiting::new(&file.calls, unrecorded.as_ref(), give_up_after, now)
        }
    };
    let revisions = revisions(store, claim_id).await?;
    let story = steps(&file, &dead_letters, &revisions);
    Ok(ClaimStory { story, waiting, dead_letters, undecryptable, revisions, file })
}

/// The latest of these letters with a claim that could not be recorded.
async fn unrecorded(
    store: &PostgresStore,
    letters: &[DeadLetterRow],
) -> Result<Option<Unrecorded>, StoreError> {
    let unrecordable = EventError::Unrecordable.as_str();
    let letter = letters.iter().rfind(|letter| letter.error == unrecordable);
    let Some(letter) = letter.map(|letter| letter.id.clone()) else { return Ok(None) };
    let replay = format!(
        "select number, replayed_by, announced_at from dead_letter_replays
        where ({LETTER_KEY}) = ($1, $2, $3, $4) order by number desc limit 1"
    );
    let replay = sqlx::query_as(AssertSqlSafe(replay));
    let LetterId { source, content } = &letter;
    let replay = replay.bind(&source.topic).bind(source.partition).bind(source.offset);
    let replay: Vec<(i32, String, OffsetDateTime)> = store.fetch(replay.bind(content)).await?;
    let replay = replay.into_iter().next();
    let replay = replay.map(|(number, replayed_by, announced_at)| LetterReplay {
        number,
        replayed_by,
        announced_at,
    });
    Ok(Some(Unrecorded { letter, replay }))
}

impl Report for ClaimStory {
    fn found(&self) -> bool {
        !self.story.is_empty()
    }

    fn end(&self) -> End {
        End::of(self.found(), self.undecryptable.rows)
    }

    fn note(&self) -> Option<String> {
        self.undecryptable.note("dead letter")
    }

    fn text(&self) -> String {
        let ClaimFile { claim_id, verdict, calls, events } = &self.file;
        let mut text = match (verdict, &self.waiting) {
            (Some(verdict), _) => verdict.text(),
            (None, Some(waiting)) => waiting.text(claim_id),
            (None, None) if self.found() => {
                format!(
                    "no verdict for claim {claim_id:?}, but dead letters whose event names it\n"
                )
            }
            (None, None) => return with_note(nothing(claim_id), self.note()),
        };
        text += &format!("\n{}", self.rows().table_of(&["at", "step", "what"]));
        for event in events {
            text += &format!(
                "\nEvent, received {}\n{}\n",
                instant(event.received_at),
                payload(event.payload.as_deref())
            );
        }
        text.extend(calls.iter().map(exchange));
        with_note(text, self.note())
    }
}

impl Tabular for ClaimStory {
    fn rows(&self) -> RowSet {
        step_rows(&self.file.claim_id, &self.story)
    }
}

/// Formats an attempt with its request and its answer.
fn exchange(call: &Call) -> String {
    let answer = call.response.as_deref().map_or_else(|| "no answer".to_owned(), block);
    let (id, at) = (call.id, instant(utc(call.requested_at)));
    format!("\nCall {id}, {at}\n{}\n{answer}\n", block(call.request.as_bytes()))
}

/// Where else to look.
fn nothing(claim_id: &str) -> String {
    format!(
        "no verdict for claim {claim_id:?}, and no call: nothing about it is recorded\n\
         \n\
         - Ids are compared byte by byte: is it the one in the event?\n\
         - It may not be admitted yet: then its event waits in the input topic, or in the retry\n  \
           topic before its first call. See the consumer group's lag.\n\
         - Its event may have become a dead letter more than 31 days ago, or one that does not\n  \
           hold the id: claimgate dead-letters list\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_looks_like_no_part_of_the_answer() {
        let call = Call {
            request: "{}\n\nCall 2, 2026-01-01T00:00:00Z".to_owned(),
            response: Some(b"{}\n\nEvent, received 2026-01-01T00:00:00Z\n{}".to_vec()),
            ..Call::ordinary("a")
        };
        let text = exchange(&call);
        let ours: Vec<&str> = text.lines().filter(|line| !line.starts_with("  ")).collect();
        assert!(matches!(ours[..], ["", heading] if heading.starts_with("Call ")), "{text}");
    }
}
