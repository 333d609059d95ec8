//! Decisions as Kafka messages.
//!
//! Pure. A decision that is too large leaves out what only explains it, or its event's key. What
//! settlement needs is in every form.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Message, Topic, text};
use crate::decision::{Reason, Source, decision_id};
use crate::intake::Headers;
use crate::outbox::Received;
use crate::schema::Verdict;
use crate::trace::{BAGGAGE, TRACEPARENT, TRACESTATE, TraceContext, parse_trace_id};

/// The schema that decisions follow, see `schemas/decision.v1.json`.
pub const DECISION_SCHEMA: &str = "decision.v1";

/// The header with the decision's id.
pub const DECISION_ID: &str = "claimgate-decision-id";
/// The header with the seal that covers the verdict.
pub const SEAL: &str = "claimgate-seal";

/// The header of a person's decision: which revision of the claim's decision it is.
pub const REVISION: &str = "claimgate-revision";

/// The header of a decision that was published again: the row of `republications`.
pub const REPUBLISHED: &str = "claimgate-republished";

/// What is decided, and as which revision, if by a person.
type Decided<'a> = (&'a Verdict, Option<i32>);

/// The decision event (`schemas/decision.v1.json`).
#[derive(Debug, Serialize)]
struct DecisionEvent<'a> {
    decision_id: String,
    claim_id: &'a str,
    kind: &'a str,
    decision: &'static str,
    reasons: &'a [Reason],
    api: &'a str,
    api_schema: &'a str,
    level: Option<i16>,
    risk_types: &'a [i32],
    provider_code: Option<i64>,
    policy_version: &'a str,
    attempts: u32,
    claimed_at: String,
    decided_at: String,
    challenge: Option<&'a str>,
    source: &'a Source,
    trace_id: &'a str,
    /// Present where a person decided in place of a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i32>,
    /// Present where something was left out for its size; the row in Postgres has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// The decision as a message of at most `max_bytes`: whole; or without what only explains it; or
/// under the claim's id instead of the event's key. The last of these is the smallest, and the same
/// whatever the event holds.
pub(super) fn message(verdict: &Verdict, received: &Received, max_bytes: usize) -> Message {
    sized((verdict, None), received, max_bytes)
}

/// The decision of a person in place of a worker's. `verdict` says what they decided.
pub(super) fn revised(
    verdict: &Verdict,
    revision: i32,
    received: &Received,
    max_bytes: usize,
) -> Message {
    sized((verdict, Some(revision)), received, max_bytes)
}

fn sized(what: Decided<'_>, received: &Received, max_bytes: usize) -> Message {
    let (verdict, _) = what;
    let own = received.key.as_deref();
    let id = verdict.claim_id.as_bytes();
    let whole = build(what, received, own.unwrap_or(id), Form::Whole);
    if whole.weight() <= max_bytes {
        return whole;
    }
    let mut forms = vec![(own.unwrap_or(id), Form::Cut)];
    if own.is_some() {
        forms.extend([(id, Form::OtherKey), (id, Form::Cut)]);
    }
    let smaller = forms.into_iter().map(|(key, form)| build(what, received, key, form));
    let mut last = None;
    for message in smaller {
        if message.weight() <= max_bytes {
            return message;
        }
        last = Some(message);
    }
    let mut least = last.unwrap_or(whole);
    least.headers.retain(|(name, _)| name != TRACESTATE && name != BAGGAGE);
    least
}

/// How much of a decision a message has. All but the whole one say that something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Everything.
    Whole,
    /// Everything but the event's key: it is under the claim's id instead.
    OtherKey,
    /// Without what only explains the decision.
    Cut,
}

/// A decision as a message of this form, under this key.
fn build((verdict, revision): Decided<'_>, received: &Received, key: &[u8], form: Form) -> Message {
    let cut = form == Form::Cut;
    let id = decision_id(&verdict.claim_id).to_string();
    let event = DecisionEvent {
        decision_id: id.clone(),
        claim_id: &verdict.claim_id,
        kind: &verdict.kind,
        decision: verdict.decision.as_str(),
        reasons: if cut { &[] } else { &verdict.reasons },
        api: &verdict.api,
        api_schema: &verdict.api_schema,
        level: verdict.level,
        risk_types: if cut { &[] } else { &verdict.risk_types },
        provider_code: verdict.provider_code,
        policy_version: &verdict.policy_version,
        attempts: verdict.attempts,
        claimed_at: rfc3339(i128::from(verdict.claimed_at) * 1_000_000_000),
        decided_at: rfc3339(i128::from(verdict.decided_at) * 1_000),
        challenge: verdict.challenge.as_deref().filter(|_| !cut),
        source: &verdict.source,
        trace_id: &verdict.trace_id,
        revision,
        truncated: form != Form::Whole,
    };
    let mut headers = vec![
        text("content-type", "application/json"),
        text("claimgate-schema", DECISION_SCHEMA),
        text(DECISION_ID, &id),
    ];
    headers.extend(revision.map(|revision| text(REVISION, &revision.to_string())));
    headers.extend(verdict.seal.map(|seal| text(SEAL, &seal.to_string())));
    headers.extend(trace_headers(verdict, received));
    let payload = Some(serialise(&event));
    Message { topic: Topic::Decisions, partition: None, key: Some(key.to_vec()), payload, headers }
}

/// The trace is the verdict's: an event without one gets another each time that it is read.
fn trace_headers(verdict: &Verdict, received: &Received) -> Headers {
    let mut trace = received.trace.clone();
    let recorded = parse_trace_id(&verdict.trace_id).filter(|id| *id != 0);
    if let Some(trace_id) = recorded.filter(|id| *id != trace.trace_id) {
        // The state is the other trace's.
        trace = TraceContext { trace_id, state: None, ..trace };
    }
    let mut headers = vec![text(TRACEPARENT, &trace.traceparent())];
    headers.extend(trace.state.map(|state| text(TRACESTATE, &state)));
    headers.extend(trace.baggage.map(|baggage| text(BAGGAGE, &baggage)));
    headers
}

fn serialise(event: &DecisionEvent<'_>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut payload, event)
        .expect("a struct of strings and numbers always serialises");
    payload
}

/// A time in nanoseconds since 1970. `Claim` and clock keep it within the years that RFC 3339 can
/// say.
fn rfc3339(nanoseconds: i128) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
