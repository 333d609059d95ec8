//! Publishes decisions again, for readers that lost their copy.
//!
//! Readers recognise a repeat by its decision id and revision, so nothing is paid twice, and the
//! command need not look for what was published before. Every decision is sent as before, followed
//! by the revisions of its claim, with a header that names the command that sent it.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::revising::{received, revision_message};
use crate::audit::AuditError;
use crate::audit::command::auditor::Approval;
use crate::audit::derivation::rederive::progress;
use crate::audit::period::Period;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::decision::Source;
use crate::kafka::Settings;
use crate::outbox::commands::{CommandProducer, Outgoing, Purpose, SendError};
use crate::outbox::message::{self, Message, REPUBLISHED};
use crate::outbox::postgres::PostgresStore;
use crate::schema::{
    CLAIM_EVENTS, EventRow, NewRepublication, RevisionRow, SELECT_REVISIONS, VERDICT_SEAL,
    VERDICTS, Verdict, utc,
};

const REPUBLISH: Purpose = Purpose {
    word: "republish",
    topic_key: "output_topic",
    page: "docs/audit.md",
    again: "run the command again",
};

/// The claims of a page, which is also one transaction.
const PAGE: i64 = 200;

/// Which decisions are published again, and who is responsible.
#[derive(Debug)]
pub struct Republish<'a> {
    /// The claims that were decided in this period.
    pub period: Period,
    /// Who is responsible, and why it is done.
    pub approval: &'a Approval,
    /// Nothing is announced or published.
    pub is_dry_run: bool,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Republished {
    /// Claims that were decided in the period.
    pub claims: u64,
    /// Published decisions: one per claim, and one per revision.
    pub decisions: u64,
    /// The row of `republications`; `None` for a dry run, or if there was nothing to publish.
    pub republication: Option<i64>,
}

/// Publishes the decisions of a period again.
///
/// # Errors
/// [`AuditError`]. Some decisions may be published by then: the command can be run again.
pub async fn republish(
    store: &PostgresStore,
    kafka: &Settings,
    request: Republish<'_>,
) -> Result<Republished, AuditError> {
    let Period { from, to } = request.period;
    // Claims that are decided meanwhile are published by their worker.
    let until = "select count(*), least(now(), $2) from verdicts
        where decided_at >= $1 and decided_at < least(now(), $2)";
    let found = store.fetch(sqlx::query_as(until).bind(from).bind(to)).await?;
    let (claims, to): (i64, OffsetDateTime) = found[0];
    let claims = claims.unsigned_abs();
    let mut done = Republished { claims, decisions: 0, republication: None };
    if request.is_dry_run || claims == 0 {
        return Ok(done);
    }
    let Approval { by, reason } = request.approval;
    let row = NewRepublication { by, reason, from, to };
    let announced: Vec<(i64,)> = store.insert([row].into_iter(), "returning id").await?;
    done.republication = announced.first().map(|(id,)| *id);
    let mut sender = Sender { kafka, producer: None, mark: done.republication.unwrap_or_default() };
    let bar = progress(claims, "claims");
    let (mut after, mut claim_id) = (from, String::new());
    loop {
        let page = page(store, (after, to), &claim_id).await?;
        let Some((last, ..)) = page.last() else { break };
        let sent = sender.send(&page).await;
        let sent = sent.map_err(|error| cut_short(error, done.decisions, after));
        done.decisions += sent.map_err(AuditError::Kafka)?;
        (after, claim_id) = (utc(last.decided_at), last.claim_id.clone());
        bar.inc(page.len() as u64);
    }
    bar.finish_and_clear();
    Ok(done)
}

/// Why it ended early, and the time from which to continue. Claims that were decided in that
/// microsecond are published again, because some may be published already and some not.
fn cut_short(error: String, decisions: u64, after: OffsetDateTime) -> String {
    match (decisions, after.format(&Rfc3339)) {
        (1.., Ok(after)) => format!(
            "{error}; {decisions} decisions are published, those about all claims decided before \
             {after} among them: go on with --since {after}"
        ),
        _ => error,
    }
}

/// A verdict with its event, if that is still kept, and its revisions in order.
type Decided = (Verdict, Option<EventRow>, Vec<RevisionRow>);

/// The verdicts after the last one of the previous page.
async fn page(
    store: &PostgresStore,
    (after, to): (OffsetDateTime, OffsetDateTime),
    claim_id: &str,
) -> Result<Vec<Decided>, AuditError> {
    let verdicts = VERDICTS.select_and(
        VERDICT_SEAL,
        "where decided_at >= $1 and decided_at < $3 and (decided_at, claim_id) > ($1, $2)
        order by decided_at, claim_id limit $4",
    );
    let verdicts = sqlx::query_as(verdicts).bind(after).bind(claim_id).bind(to).bind(PAGE);
    let verdicts: Vec<Verdict> = store.fetch(verdicts).await?;
    let ids: Vec<&str> = verdicts.iter().map(|verdict| verdict.claim_id.as_str()).collect();
    let events = sqlx::query_as(CLAIM_EVENTS.select("where claim_id = any($1)")).bind(&ids);
    let events: Vec<EventRow> = store.fetch(events).await?;
    // The event that the verdict rests on: there may be others with the claim's id.
    let mut events: HashMap<(String, Source), EventRow> = events
        .into_iter()
        .map(|event| ((event.claim_id.clone(), event.source.clone()), event))
        .collect();
    let revisions = format!("{SELECT_REVISIONS} where claim_id = any($1) order by revision");
    let revisions = sqlx::query_as(AssertSqlSafe(revisions)).bind(&ids);
    let mut of_claims: HashMap<String, Vec<RevisionRow>> = HashMap::new();
    for revision in store.fetch::<RevisionRow>(revisions).await? {
        of_claims.entry(revision.claim_id.clone()).or_default().push(revision);
    }
    let decided = verdicts.into_iter().map(|verdict| {
        let event = events.remove(&(verdict.claim_id.clone(), verdict.source.clone()));
        let revisions = of_claims.remove(&verdict.claim_id).unwrap_or_default();
        (verdict, event, revisions)
    });
    Ok(decided.collect())
}

/// The decisions about a claim in the order in which they were made, each of at most this size. A
/// revision that was announced and not published yet is left to the command that publishes it.
fn messages((verdict, event, revisions): &Decided, max_bytes: usize) -> Vec<Message> {
    let received = received(verdict, event.as_ref());
    let mut messages = vec![message::decided(verdict, &received, max_bytes)];
    messages.extend(revisions.iter().filter(|revision| revision.place().is_some()).map(|row| {
        let revised = (row.revision, row.decision, row.revised_at);
        revision_message(verdict, revised, &received, max_bytes)
    }));
    messages
}

struct Sender<'a> {
    kafka: &'a Settings,
    producer: Option<CommandProducer>,
    mark: i64,
}

impl Sender<'_> {
    /// Sends a page in one transaction. Decisions that the topic does not accept in full are sent
    /// in their smallest form. Returns how many there were.
    async fn send(&mut self, page: &[Decided]) -> Result<u64, String> {
        let mark = self.mark;
        let of_size = |max_bytes| {
            let messages = page.iter().flat_map(move |decided| messages(decided, max_bytes));
            messages.map(|message| marked(message, mark)).collect::<Vec<_>>()
        };
        let mut messages = of_size(self.kafka.max_message_bytes);
        loop {
            let producer = match self.producer.take() {
                Some(producer) => producer,
                None => {
                    let topic = &self.kafka.output_topic;
                    CommandProducer::start(self.kafka, REPUBLISH, topic).await?
                }
            };
            let outgoing: Vec<_> = messages.iter().map(Outgoing::of).collect();
            match producer.send(&outgoing).await {
                Ok((producer, places)) => {
                    self.producer = Some(producer);
                    return Ok(places.len() as u64);
                }
                Err(SendError::TooLarge(index)) => {
                    let smallest = of_size(0).swap_remove(index);
                    if messages[index] == smallest {
                        return Err(
                            "topic kafka.output_topic rejects a decision: it is too large even \
                             when cut"
                                .to_owned(),
                        );
                    }
                    messages[index] = smallest;
                }
                Err(SendError::Ended(error)) => return Err(error),
            }
        }
    }
}

fn marked(mut message: Message, mark: i64) -> Message {
    message.headers.push((REPUBLISHED.to_owned(), Some(mark.to_string().into_bytes())));
    message
}

impl Report for Republished {
    fn found(&self) -> bool {
        self.claims > 0
    }

    fn text(&self) -> String {
        let Self { claims, decisions, republication } = self;
        match republication {
            _ if *claims == 0 => "nothing was decided in that time\n".to_owned(),
            None => format!("the decisions about {claims} claims would be published once more\n"),
            Some(id) => format!(
                "{decisions} decisions about {claims} claims were published once more, with the \
                 header {REPUBLISHED}: {id}\n"
            ),
        }
    }
}

impl Tabular for Republished {
    fn rows(&self) -> RowSet {
        let Self { claims, decisions, republication } = self;
        let row = [Cell::of(claims), Cell::of(decisions), Cell::optional(*republication)];
        RowSet::new(["claims", "decisions", "republication"], [row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_short_is_told_from_where_to_go_on() {
        let after = time::macros::datetime!(2026-03-01 09:00:00.123456 UTC);
        assert_eq!(cut_short("away".to_owned(), 0, after), "away");
        let said = cut_short("away".to_owned(), 400, after);
        assert!(said.starts_with("away; 400 decisions are published"), "{said}");
        assert!(said.ends_with("go on with --since 2026-03-01T09:00:00.123456Z"), "{said}");
    }
}
