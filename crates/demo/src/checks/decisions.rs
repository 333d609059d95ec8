//! Checks the decisions, and whether consumers got exactly these.

use std::collections::HashMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::kept::{demand_no_repeats, header_text};
use super::{Claims, Promise};
use crate::evidence::Evidence;
use crate::observer::Message;
use claimgate::decision::Decision;
use claimgate::schema::{Verdict, utc};

/// The decision of the contract's policy for the simulator's verdict on the account.
pub(super) fn as_the_policy_says(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new(
        "Every decision is the one that the policy makes of the API's answer; no answer, no \
         approval",
    );
    let mut answered: HashMap<&str, usize> = HashMap::new();
    for call in evidence.tables.calls.iter().filter(|call| call.outcome == "assessed") {
        *answered.entry(call.claim_id.as_str()).or_default() += 1;
    }
    for row in &evidence.tables.verdicts {
        let Some((_, expectation)) = claims.get(row.claim_id.as_str()) else { continue };
        promise.compared += 1;
        let (claim_id, decision, expected) =
            (&row.claim_id, row.decision.as_str(), expectation.decision.as_str());
        let answers = answered.get(claim_id.as_str()).copied().unwrap_or(0);
        if is_unassessed(row) {
            promise.demand(answers == 0, || {
                format!("claim {claim_id} is unassessed though an API assessed it")
            });
            promise.demand(row.decision == Decision::Review, || {
                format!("claim {claim_id} is unassessed, and the decision is {decision}")
            });
        } else {
            promise.demand(!expectation.hopeless, || {
                format!("claim {claim_id} was decided though no API assesses it")
            });
            promise.demand(decision == expected, || {
                format!("claim {claim_id} must be {expected}, the decision is {decision}")
            });
        }
        promise.demand(answers <= 1, || format!("claim {claim_id} was assessed {answers} times"));
    }
    promise
}

/// No API answered in time.
pub(crate) fn is_unassessed(row: &Verdict) -> bool {
    row.reasons.iter().any(|reason| reason.code == "unassessed")
}

/// One decision per verdict, with the content of the row.
pub(super) fn one_each(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new(
        "Every verdict is published as one decision that says what the row says; nothing else is",
    );
    let mut published: HashMap<String, Vec<&Message>> = HashMap::new();
    for message in &evidence.messages.decisions {
        let claim_id = message.json()["claim_id"].as_str().unwrap_or_default().to_owned();
        published.entry(claim_id).or_default().push(message);
    }
    let mut ids: HashMap<String, &str> = HashMap::new();
    for row in &evidence.tables.verdicts {
        promise.compared += 1;
        let messages = published.remove(&row.claim_id).unwrap_or_default();
        let Some(message) = messages.first() else {
            promise
                .broken
                .push(format!("the decision of claim {} was never published", row.claim_id));
            continue;
        };
        demand_same(&mut promise, row, &message.json());
        let id = header_text(&message.headers, "claimgate-decision-id");
        let known = ids.insert(id.clone(), &row.claim_id);
        let version = Uuid::parse_str(&id).ok().map(|id| id.get_version_num());
        let right =
            known.is_none() && version == Some(5) && message.json()["decision_id"] == id.as_str();
        promise
            .demand(right, || format!("the decision of claim {} has the id {id:?}", row.claim_id));
        demand_own_key_and_trace(&mut promise, row, message, claims);
        demand_no_repeats(
            &mut promise,
            evidence,
            &messages,
            &format!("the decision of claim {}", row.claim_id),
        );
    }
    for claim_id in published.keys() {
        promise
            .broken
            .push(format!("a decision on {claim_id:?} was published, and there is no verdict"));
    }
    promise
}

/// The decision has the key of its claim, and row and decision belong to the claim's trace.
fn demand_own_key_and_trace(
    promise: &mut Promise,
    row: &Verdict,
    message: &Message,
    claims: &Claims<'_>,
) {
    if let Some((sent, _)) = claims.get(row.claim_id.as_str()) {
        let key = sent.event.key.as_deref().unwrap_or(&row.claim_id).as_bytes();
        promise.demand(message.key.as_deref() == Some(key), || {
            format!("the decision of claim {} has another key", row.claim_id)
        });
        let trace = sent.event.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        promise.demand(trace.is_none_or(|trace| trace == row.trace_id), || {
            format!("claim {} lost its trace", row.claim_id)
        });
    }
    let traced = header_text(&message.headers, "traceparent").contains(&row.trace_id);
    promise
        .demand(traced, || format!("the decision of claim {} carries another trace", row.claim_id));
}

/// Whether the message equals the row, field by field.
fn demand_same(promise: &mut Promise, row: &Verdict, message: &Value) {
    let says = json!({
        "claim_id": row.claim_id, "kind": row.kind, "decision": row.decision, "reasons": row.reasons, "api": row.api,
        "api_schema": row.api_schema, "level": row.level, "risk_types": row.risk_types, "provider_code": row.provider_code,
        "policy_version": row.policy_version, "attempts": row.attempts, "challenge": row.challenge, "trace_id": row.trace_id,
        "source": row.source,
    });
    for (name, value) in says.as_object().into_iter().flatten() {
        promise.demand(message[name] == *value, || {
            format!(
                "claim {}: the decision says {name} = {}, the row {value}",
                row.claim_id, message[name]
            )
        });
    }
    let claimed_at = utc(row.claimed_at.saturating_mul(1_000_000));
    for (name, time) in [("claimed_at", claimed_at), ("decided_at", utc(row.decided_at))] {
        let said =
            message[name].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        promise.demand(said == Some(time), || {
            format!(
                "claim {}: the decision says {name} = {}, the row {time}",
                row.claim_id, message[name]
            )
        });
    }
}
