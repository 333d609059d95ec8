//! Compares the simulator's log with `risk_calls`.
//!
//! A call is identified on both sides by API, account and a mark that is new for every attempt: the
//! nonce (Tencent Cloud) or the message id (WeChat).

use std::collections::HashMap;

use serde_json::Value;

use super::{Claims, Promise};
use crate::evidence::Evidence;
use claimgate::schema::{Call, utc};
use claimgate_simulator::Api;

/// The identity of a call.
type Mark<'a> = (&'a str, &'a str, String);

/// Every call that was made is recorded, and no other.
pub(super) fn are_kept(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new(
        "Every call that the simulator saw is a row of risk_calls, and every answer there is one \
         that it gave",
    );
    let mut rows: HashMap<Mark<'_>, Vec<&Call>> = HashMap::new();
    let mut attempts: HashMap<&str, u32> = HashMap::new();
    for row in &evidence.tables.calls {
        *attempts.entry(row.claim_id.as_str()).or_default() += 1;
        match (claims.get(row.claim_id.as_str()), mark_of_row(row)) {
            (Some((_, expectation)), Some(mark)) => {
                rows.entry((row.api.as_ref(), expectation.account.as_str(), mark))
                    .or_default()
                    .push(row);
            }
            (None, _) => promise.broken.push(format!(
                "{} was asked about claim {:?}, which nobody sent",
                row.api, row.claim_id
            )),
            (_, None) => promise.broken.push(format!(
                "the request of claim {}, attempt {}, cannot be read",
                row.claim_id, row.attempt
            )),
        }
    }
    for call in evidence.asked.iter().filter(|call| call.api != Api::AccessToken) {
        promise.compared += 1;
        let mark = (call.api.name(), &*call.account, mark_of_call(call));
        let row = rows.get_mut(&mark).and_then(Vec::pop);
        promise.demand(row.is_some(), || {
            format!("the simulator was asked and no row says so: {mark:?}")
        });
    }
    // If no answer came, the request may not have arrived either.
    for row in rows.values().flatten().filter(|row| row.http_status.is_some()) {
        promise.broken.push(format!(
            "the row of claim {}, attempt {}, has an answer that the simulator never gave",
            row.claim_id, row.attempt
        ));
    }
    for row in &evidence.tables.verdicts {
        let kept = attempts.get(row.claim_id.as_str()).copied().unwrap_or(0);
        promise.demand(row.attempts <= kept, || {
            format!("claim {} took {} attempts, and {kept} are kept", row.claim_id, row.attempts)
        });
    }
    promise
}

/// A claim that has its verdict causes no more calls.
pub(super) fn never_again(evidence: &Evidence, claims: &Claims<'_>) -> Promise {
    let mut promise = Promise::new("No claim was asked about again after its verdict");
    let decided: HashMap<&str, i64> = evidence
        .tables
        .verdicts
        .iter()
        .map(|row| (row.claim_id.as_str(), row.decided_at))
        .collect();
    let mut askers: HashMap<Mark<'_>, &str> = HashMap::new();
    for row in &evidence.tables.calls {
        let Some(decided_at) = decided.get(row.claim_id.as_str()) else { continue };
        promise.compared += 1;
        promise.demand(row.requested_at <= *decided_at, || {
            format!(
                "{} was asked about claim {} at {}, which was decided at {}",
                row.api,
                row.claim_id,
                utc(row.requested_at),
                utc(*decided_at)
            )
        });
        if let (Some((_, expectation)), Some(mark)) =
            (claims.get(row.claim_id.as_str()), mark_of_row(row))
        {
            askers.insert((row.api.as_ref(), expectation.account.as_str(), mark), &row.claim_id);
        }
    }
    for call in &evidence.asked {
        let asker = askers.get(&(call.api.name(), &*call.account, mark_of_call(call)));
        let Some((claim_id, decided_at)) = asker.and_then(|id| Some((id, decided.get(id)?))) else {
            continue;
        };
        let late = call.at_ms > *decided_at / 1_000;
        promise.demand(!late, || {
            format!("the simulator was asked about claim {claim_id} after its verdict")
        });
    }
    promise
}

fn mark_of_call(call: &claimgate_simulator::Call) -> String {
    call.nonce.map_or_else(|| call.claim.to_string(), |nonce| nonce.to_string())
}

/// The mark in a stored request: the nonce of a query, or the message id of a body.
fn mark_of_row(row: &Call) -> Option<String> {
    if row.request.starts_with("GET ") {
        let nonce =
            row.request.split(['?', '&']).find_map(|parameter| parameter.strip_prefix("Nonce="));
        return nonce.map(str::to_owned);
    }
    let (_, body) = row.request.split_once("\n\n")?;
    let body: Value = serde_json::from_str(body).ok()?;
    body["client_msg_id"].as_str().map(str::to_owned)
}
