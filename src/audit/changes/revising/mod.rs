//! Lets a person decide in place of a worker, and publishes the decision to settlement.
//!
//! The verdict does not change; a revision is added to it. [`mod@plan`] says whether that is
//! allowed, [`mod@publish`] publishes it to Kafka. The invariants: no revision is published before
//! it is announced in `revisions`, and none is published twice.

mod plan;
mod publish;

use serde::Serialize;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::audit::AuditError;
use crate::audit::command::auditor::Approval;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::sheet;
use crate::decision::{Decision, Reason, Source};
use crate::kafka::Settings;
use crate::outbox::message::Message;
use crate::outbox::postgres::PostgresStore;
use crate::outbox::{Received, Store, StoreError, message};
use crate::schema::{
    CLAIM_EVENTS, EventRow, NewRevision, NewRevisionPlace, RevisionRow, SELECT_REVISIONS, Verdict,
    micros,
};
use crate::trace::TraceContext;
pub use plan::Overrides;
use plan::{Plan, plan};

/// An existing row is left alone, and not returned.
const NEW: &str = "on conflict do nothing returning revision";

/// The new decision, its claim, and who is responsible.
#[derive(Debug)]
pub struct Override<'a> {
    /// The claim.
    pub claim_id: &'a str,
    /// The new decision.
    pub decision: Decision,
    /// Who is responsible, and why it is done.
    pub approval: &'a Approval,
    /// Nothing is announced or published.
    pub is_dry_run: bool,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Overridden {
    /// The claim.
    pub claim_id: String,
    /// The decision before; `None` if the claim has no verdict.
    pub instead_of: Option<Decision>,
    /// The decision now, or the one that would be made.
    pub decision: Decision,
    /// The number of the revision.
    pub revision: Option<i32>,
    /// Its place in Kafka; `None` for a dry run.
    pub place: Option<Source>,
}

/// Revises the decision about a claim, and publishes the revision.
///
/// # Errors
/// [`AuditError`]: it may not be revised so, or Postgres or Kafka did not take it. It can be run
/// again: nothing is published twice.
pub async fn revise(
    store: &PostgresStore,
    kafka: &Settings,
    overrides: &Overrides,
    request: Override<'_>,
) -> Result<Overridden, AuditError> {
    let claim_id = request.claim_id.to_owned();
    let known = store.recall(vec![claim_id.clone()]).await?.remove(request.claim_id);
    let decision = request.decision;
    let Some(verdict) = known else {
        return Ok(Overridden {
            claim_id,
            instead_of: None,
            decision,
            revision: None,
            place: None,
        });
    };
    let before = revisions(store, request.claim_id).await?;
    let planned = plan(verdict.decision, &before, decision, overrides);
    let planned = planned.map_err(AuditError::Override)?;
    let (revision, instead_of) = match (planned, before.last()) {
        (Plan::Resume(number), Some(last)) => (number, last.instead_of),
        (Plan::Revise(number) | Plan::Resume(number), last) => {
            (number, last.map_or(verdict.decision, |last| last.decision))
        }
    };
    let mut overridden = Overridden {
        claim_id,
        instead_of: Some(instead_of),
        decision,
        revision: Some(revision),
        place: None,
    };
    if request.is_dry_run {
        return Ok(overridden);
    }
    if planned == Plan::Revise(revision) {
        announce(store, &request, revision, instead_of).await?;
    }
    let announced = revisions(store, request.claim_id).await?.pop();
    let announced_at = announced.map_or(OffsetDateTime::UNIX_EPOCH, |row| row.revised_at);
    let forms = forms(store, kafka, &verdict, (revision, decision, announced_at)).await?;
    let place = publish::publish(kafka, forms, announced_at).await.map_err(AuditError::Kafka)?;
    let row = NewRevisionPlace {
        claim_id: request.claim_id,
        revision,
        place: &place,
        by: &request.approval.by,
    };
    let _: Vec<(i32,)> = store.insert([row].into_iter(), NEW).await?;
    overridden.place = Some(place);
    Ok(overridden)
}

/// The revisions of a claim's decision, in order.
pub(in crate::audit) async fn revisions(
    store: &PostgresStore,
    claim_id: &str,
) -> Result<Vec<RevisionRow>, StoreError> {
    let revisions = format!("{SELECT_REVISIONS} where claim_id = $1 order by revision");
    store.fetch(sqlx::query_as(AssertSqlSafe(revisions)).bind(claim_id)).await
}

async fn announce(
    store: &PostgresStore,
    request: &Override<'_>,
    revision: i32,
    instead_of: Decision,
) -> Result<(), AuditError> {
    let Override { claim_id, decision, approval: Approval { by, reason }, .. } = *request;
    let row = NewRevision { claim_id, revision, decision, instead_of, by, reason };
    let new: Vec<(i32,)> = store.insert([row].into_iter(), NEW).await?;
    if new.is_empty() {
        return Err(AuditError::Override(format!(
            "somebody else revised the decision about claim {claim_id:?} at this moment: look at \
             `claimgate audit claim` and decide again"
        )));
    }
    Ok(())
}

/// A person's decision: the number of the revision, the decision, and when.
pub(in crate::audit) type Revised = (i32, Decision, OffsetDateTime);

/// The revision as a message, in full and in its smallest form.
async fn forms(
    store: &PostgresStore,
    kafka: &Settings,
    verdict: &Verdict,
    revised: Revised,
) -> Result<[Message; 2], StoreError> {
    let event = CLAIM_EVENTS.select(
        "where claim_id = $1 and source_topic = $2 and source_partition = $3
            and source_offset = $4 order by received_at limit 1",
    );
    let Source { topic, partition, offset } = &verdict.source;
    let event = sqlx::query_as(event).bind(&verdict.claim_id).bind(topic).bind(partition);
    let event: Vec<EventRow> = store.fetch(event.bind(offset)).await?;
    let received = received(verdict, event.first());
    Ok([kafka.max_message_bytes, 0]
        .map(|max_bytes| revision_message(verdict, revised, &received, max_bytes)))
}

/// The message of a revision, of at most this size if possible.
pub(in crate::audit) fn revision_message(
    verdict: &Verdict,
    (revision, decision, revised_at): Revised,
    received: &Received,
    max_bytes: usize,
) -> Message {
    let mut reasons = vec![Reason::new("override", None, Some(verdict.decision.as_str()))];
    reasons.extend_from_slice(&verdict.reasons);
    let revised = Verdict { decision, reasons, decided_at: micros(revised_at), ..verdict.clone() };
    message::revised(&revised, revision, received, max_bytes)
}

/// The parts of a decision that come from its event: the trace, and the key, which keeps all
/// decisions about the claim in order. If the event is no longer kept, the verdict gives them.
pub(in crate::audit) fn received(verdict: &Verdict, event: Option<&EventRow>) -> Received {
    event.and_then(EventRow::received).unwrap_or_else(|| Received {
        source: verdict.source.clone(),
        key: None,
        headers: Vec::new(),
        payload: None,
        received_at: verdict.decided_at,
        trace: TraceContext::fresh(u128::from_str_radix(&verdict.trace_id, 16).unwrap_or(1)),
    })
}

impl Report for Overridden {
    fn found(&self) -> bool {
        self.instead_of.is_some()
    }

    fn text(&self) -> String {
        let Some(instead_of) = self.instead_of else {
            return format!("claim {:?} has no verdict that could be revised\n", self.claim_id);
        };
        let place = match &self.place {
            Some(place) => place.to_string(),
            None => "nothing was published: this is what would be".to_owned(),
        };
        sheet([
            ("Claim", self.claim_id.clone()),
            ("Decision", format!("{} instead of {instead_of}", self.decision)),
            ("Revision", self.revision.unwrap_or_default().to_string()),
            ("Published", place),
        ])
    }
}

impl Tabular for Overridden {
    fn rows(&self) -> RowSet {
        let Self { claim_id, instead_of, decision, revision, place } = self;
        let row = [
            Cell::of(claim_id),
            Cell::optional(*instead_of),
            Cell::of(decision),
            Cell::optional(*revision),
            Cell::optional(place.as_ref()),
        ];
        RowSet::new(["claim_id", "instead_of", "decision", "revision", "place"], [row])
    }
}
