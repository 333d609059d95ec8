//! Tests the oracle: each test plants one fault and requires that it is found, by the guarantee
//! that it breaks.

use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::claims::Event;
use crate::evidence::Tables;
use crate::observer::{Message, Messages};
use claimgate::claim::EventHashes;
use claimgate::decision::{Decision, Reason, Source};
use claimgate::schema::{Call as CallRow, DeadLetterRow, EventRow, LetterId};
use claimgate_simulator::{Api, Call, Outcome};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const DECIDED: i64 = 1_632_994_481;

fn source(offset: i64) -> Source {
    Source { topic: "reward.claims".to_owned(), partition: 0, offset }
}

fn text(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

fn sent(offset: i64, expected: Expected) -> Sent {
    let traceparent = (offset == 0).then(|| format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let event = Event {
        key: Some("k".to_owned()),
        traceparent,
        payload: Some(vec![0, u8::try_from(offset).unwrap()]),
        expected,
    };
    Sent { event, source: source(offset), sent_at: 0 }
}

fn claim(offset: i64, kind: &'static str, decision: Decision) -> Sent {
    let (claim_id, account) = (format!("c{offset}"), format!("a{offset}"));
    sent(
        offset,
        Expected::Decision(Box::new(Expectation {
            claim_id,
            kind,
            account,
            decision,
            hopeless: false,
        })),
    )
}

fn verdict(offset: i64, kind: &str, decision: Decision) -> Verdict {
    Verdict {
        kind: kind.to_owned(),
        decision,
        reasons: vec![Reason::new("level", Some(0), None)],
        api: "x".to_owned(),
        decided_at: DECIDED * 1_000_000,
        source: source(offset),
        trace_id: TRACE.to_owned(),
        ..Verdict::ordinary(&format!("c{offset}"))
    }
}

fn decision(row: &Verdict) -> Message {
    let id = Uuid::new_v5(&Uuid::nil(), row.claim_id.as_bytes()).to_string();
    let body = json!({
        "decision_id": id, "claim_id": row.claim_id, "kind": row.kind, "decision": row.decision, "reasons": row.reasons,
        "api": row.api, "api_schema": row.api_schema, "level": row.level, "risk_types": row.risk_types,
        "provider_code": row.provider_code, "policy_version": row.policy_version, "attempts": row.attempts, "challenge": null,
        "claimed_at": "2021-09-30T09:34:40Z", "decided_at": "2021-09-30T09:34:41Z", "trace_id": row.trace_id,
        "source": row.source,
    });
    Message {
        place: Source {
            topic: "reward.decisions".to_owned(),
            partition: 0,
            offset: row.source.offset,
        },
        key: Some(b"k".to_vec()),
        payload: Some(body.to_string().into_bytes()),
        headers: vec![
            text("claimgate-decision-id", &id),
            text("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01")),
        ],
        seen_at: 0,
    }
}

fn dead_letter(sent: &Sent) -> Message {
    Message {
        place: Source { topic: "reward.claims.dead-letter".to_owned(), partition: 0, offset: 0 },
        key: Some(b"k".to_vec()),
        payload: sent.event.payload.clone(),
        headers: vec![
            text("producer", "demo"),
            text("claimgate-error", "missing_field"),
            text("claimgate-error-field", "account.id"),
            text("claimgate-source", &sent.source.to_string()),
        ],
        seen_at: 0,
    }
}

fn deferred(sent: &Sent) -> Message {
    let history = ["claimgate-reason", "claimgate-not-before"].map(|name| text(name, "1"));
    let own = [text("producer", "demo"), text("claimgate-source", &sent.source.to_string())];
    Message { headers: own.into_iter().chain(history).collect(), ..dead_letter(sent) }
}

fn row_of_call(offset: i64, api: &'static str, request: &str) -> CallRow {
    CallRow {
        api: api.into(),
        requested_at: (DECIDED - 1) * 1_000_000,
        request: request.to_owned(),
        ..CallRow::ordinary(&format!("c{offset}"))
    }
}

fn asked(offset: i64, api: Api, nonce: Option<u64>, claim: &str) -> Call {
    Call {
        caller: "".into(),
        sequence: 1,
        at_ms: (DECIDED - 1) * 1_000,
        api,
        account: format!("a{offset}").into(),
        claim: claim.into(),
        number: 1,
        nonce,
        timestamp: None,
        outcome: Outcome::Answered,
        code: Some(0),
        level: Some(0),
        http_status: Some(200),
    }
}

/// Two claims (for Tencent Cloud and for WeChat), a duplicate and a malformed event, all handled
/// correctly.
fn evidence() -> Evidence {
    let claims =
        [claim(0, "qr_code", Decision::Approve), claim(1, "wechat_account", Decision::Approve)];
    let repeat = sent(2, Expected::Repeat { claim_id: "c0".to_owned(), same: true });
    let bad = sent(3, Expected::DeadLetter { error: "missing_field", field: Some("account.id") });
    let verdicts = vec![
        verdict(0, "qr_code", Decision::Approve),
        verdict(1, "wechat_account", Decision::Approve),
    ];
    let event = |sent: &Sent| EventRow {
        claim_id: format!("c{}", sent.source.offset),
        source: sent.source.clone(),
        key: Some(b"k".to_vec()),
        headers: json!([]),
        payload: sent.event.payload.clone(),
        received_at: OffsetDateTime::UNIX_EPOCH,
        trace_id: TRACE.to_owned(),
        hashes: EventHashes::default(),
    };
    let row = DeadLetterRow {
        id: LetterId { source: source(3), content: "0".repeat(16) },
        error: "missing_field".to_owned(),
        error_field: Some("account.id".to_owned()),
        detail: String::new(),
        key: Some(b"k".to_vec()),
        payload: bad.event.payload.clone(),
        headers: json!([]),
        received_at: OffsetDateTime::UNIX_EPOCH,
        trace_id: TRACE.to_owned(),
    };
    let get = "GET http://h/v2/index.php?Action=IntelligentQRCode&Nonce=77&SecretId=***&uid=a0";
    let post = "POST http://h/tcb/servicemarket?access_token=***\n\n{\"client_msg_id\":\"c1-1\"}";
    let tables = Tables {
        events: claims.iter().map(event).collect(),
        dead_letters: vec![row],
        calls: vec![
            row_of_call(0, "intelligent_qr_code", get),
            row_of_call(1, "wechat_account", post),
        ],
        verdicts,
    };
    Evidence {
        messages: Messages {
            decisions: tables.verdicts.iter().map(decision).collect(),
            dead_letters: vec![dead_letter(&bad)],
            deferred: vec![deferred(&claims[0])],
        },
        asked: vec![
            asked(0, Api::IntelligentQrCode, Some(77), "code"),
            asked(1, Api::WechatAccount, None, "c1-1"),
            asked(9, Api::AccessToken, None, ""),
        ],
        sent: claims.into_iter().chain([repeat, bad]).collect(),
        tables,
        aborts: 0,
    }
}

/// The findings in the good evidence after this change: the broken guarantees, and the first fault.
fn found(plant: impl FnOnce(&mut Evidence)) -> (Vec<usize>, String) {
    let mut evidence = evidence();
    plant(&mut evidence);
    let promises = check(evidence);
    let broken = promises.iter().enumerate().filter(|(_, promise)| !promise.broken.is_empty());
    let complaint = promises.iter().flat_map(|promise| &promise.broken).next().cloned();
    (broken.map(|(index, _)| index).collect(), complaint.unwrap_or_default())
}

const VERDICTS: usize = 0;
const POLICY: usize = 1;
const DECISIONS: usize = 2;
const LETTERS: usize = 3;
const LETTER_ROWS: usize = 4;
const EVENTS: usize = 5;
const DEFERRED: usize = 6;
const CALLS: usize = 7;
const AGAIN: usize = 8;

fn change(message: &mut Message, name: &str, value: Value) {
    let mut body = message.json();
    body[name] = value;
    message.payload = Some(body.to_string().into_bytes());
}

#[test]
fn all_is_well_where_all_went_well() {
    assert_eq!(found(|_| {}), (vec![], String::new()));
    assert!(
        check(evidence()).iter().all(|promise| promise.compared > 0),
        "nothing holds because nothing was compared"
    );
}

#[test]
fn a_lost_claim_is_found() {
    let (broken, complaint) = found(|evidence| {
        evidence.tables.verdicts.remove(1);
        evidence.messages.decisions.remove(1);
    });
    assert!(broken.contains(&VERDICTS) && complaint.contains("c1"), "{broken:?} {complaint}");
    let lost = found(|evidence| drop(evidence.messages.decisions.remove(0)));
    assert_eq!(lost.0, [DECISIONS], "{}", lost.1);
}

#[test]
fn a_loss_made_up_for_by_a_double_is_found() {
    let (broken, _) =
        found(|evidence| evidence.messages.decisions[1] = evidence.messages.decisions[0].clone());
    assert_eq!(broken, [DECISIONS]);
    let (broken, _) = found(|evidence| evidence.tables.calls[1] = evidence.tables.calls[0].clone());
    assert!(broken.contains(&CALLS));
}

#[test]
fn a_repeat_is_found_unless_it_is_of_an_aborted_flush() {
    let double = |evidence: &mut Evidence| {
        evidence.messages.decisions.push(evidence.messages.decisions[0].clone())
    };
    assert_eq!(found(double).0, [DECISIONS]);
    let aborted = |evidence: &mut Evidence| {
        double(evidence);
        evidence.aborts = 1;
    };
    assert_eq!(found(aborted).0, [0_usize; 0]);
    let other = |evidence: &mut Evidence| {
        aborted(evidence);
        change(&mut evidence.messages.decisions[2], "decided_at", json!("2021-09-30T09:34:42Z"));
    };
    assert_eq!(found(other).0, [DECISIONS]);
    assert_eq!(
        found(|evidence| evidence
            .messages
            .dead_letters
            .push(evidence.messages.dead_letters[0].clone()))
        .0,
        [LETTERS]
    );
}

#[test]
fn a_decision_that_is_not_what_the_row_says_is_found() {
    for (name, value) in [
        ("decision", json!("reject")),
        ("level", json!(1)),
        ("reasons", json!([])),
        ("source", json!(null)),
        ("attempts", json!(2)),
        ("claimed_at", json!("2021-09-30T09:34:41Z")),
        ("decision_id", json!("other")),
    ] {
        assert_eq!(
            found(|evidence| change(&mut evidence.messages.decisions[0], name, value)).0,
            [DECISIONS],
            "{name}"
        );
    }
    assert_eq!(found(|evidence| evidence.messages.decisions[0].key = None).0, [DECISIONS]);
    assert_eq!(
        found(|evidence| evidence.messages.decisions[0].headers.truncate(1)).0,
        [DECISIONS],
        "the trace"
    );
}

#[test]
fn what_nobody_sent_is_found() {
    let (broken, _) = found(|evidence| {
        let stray = Verdict { claim_id: "stray".to_owned(), ..evidence.tables.verdicts[0].clone() };
        evidence.messages.decisions.push(decision(&stray));
        evidence.tables.verdicts.push(stray);
    });
    assert!(broken.contains(&VERDICTS));
    let stray = |evidence: &mut Evidence| {
        let mut message = decision(&evidence.tables.verdicts[0]);
        change(&mut message, "claim_id", json!("stray"));
        evidence.messages.decisions.push(message);
    };
    assert_eq!(found(stray).0, [DECISIONS]);
    let letter = |evidence: &mut Evidence| {
        let letter = dead_letter(&evidence.sent[0]);
        evidence.messages.dead_letters.push(letter);
    };
    assert_eq!(found(letter).0, [LETTERS], "a claim has no dead letter");
}

#[test]
fn a_wrong_decision_is_found() {
    let wrong = |evidence: &mut Evidence| {
        evidence.tables.verdicts[0].decision = Decision::Approve;
        let Expected::Decision(expectation) = &mut evidence.sent[0].event.expected else {
            unreachable!()
        };
        expectation.decision = Decision::Reject;
    };
    assert_eq!(found(wrong).0, [POLICY]);
    let unassessed = |evidence: &mut Evidence| {
        evidence.tables.verdicts[0].reasons = vec![Reason::new("unassessed", None, None)];
        change(&mut evidence.messages.decisions[0], "reasons", json!([{ "code": "unassessed" }]));
    };
    assert_eq!(
        found(unassessed).0,
        [POLICY],
        "an API did assess it, and nobody approves what none assessed"
    );
}

#[test]
fn a_dead_letter_that_is_lost_or_says_something_else_is_found() {
    assert_eq!(found(|evidence| evidence.messages.dead_letters.clear()).0, [LETTERS]);
    assert_eq!(found(|evidence| evidence.tables.dead_letters.clear()).0, [LETTER_ROWS]);
    assert_eq!(
        found(|evidence| evidence.tables.dead_letters[0].error = "not_json".to_owned()).0,
        [LETTER_ROWS]
    );
    assert_eq!(
        found(|evidence| evidence.messages.dead_letters[0].headers[1] =
            text("claimgate-error", "not_json"))
        .0,
        [LETTERS]
    );
    assert_eq!(found(|evidence| evidence.messages.dead_letters[0].payload = None).0, [LETTERS]);
    assert_eq!(
        found(|evidence| drop(evidence.messages.dead_letters[0].headers.remove(0))).0,
        [LETTERS]
    );
}

#[test]
fn an_event_that_is_not_kept_as_it_came_is_found() {
    assert_eq!(found(|evidence| drop(evidence.tables.events.remove(0))).0, [EVENTS]);
    assert_eq!(found(|evidence| evidence.tables.events[0].payload = Some(vec![0])).0, [EVENTS]);
}

#[test]
fn a_deferred_claim_may_be_overtaken_and_no_other() {
    // The repeat has the verdict, and its bytes and place are kept.
    let overtake = |evidence: &mut Evidence| {
        let row = &mut evidence.tables.verdicts[0];
        row.source.offset = 2;
        evidence.messages.decisions[0] = decision(row);
        evidence.tables.events[0].source.offset = 2;
        evidence.tables.events[0].payload = evidence.sent[2].event.payload.clone();
    };
    assert_eq!(found(overtake), (vec![], String::new()));
    let (broken, _) = found(|evidence| {
        overtake(evidence);
        evidence.messages.deferred.clear();
    });
    assert!(broken.contains(&VERDICTS));
}

#[test]
fn a_deferred_claim_that_is_not_as_it_came_is_found() {
    assert_eq!(found(|evidence| evidence.messages.deferred[0].payload = None).0, [DEFERRED]);
    assert_eq!(
        found(|evidence| evidence.messages.deferred[0].headers.truncate(2)).0,
        [DEFERRED],
        "no reason"
    );
    assert_eq!(
        found(|evidence| evidence.messages.deferred.extend([deferred(&evidence.sent[3])])).0,
        [DEFERRED],
        "no claim"
    );
}

#[test]
fn a_call_that_one_side_does_not_know_is_found() {
    assert!(found(|evidence| drop(evidence.tables.calls.remove(0))).0.contains(&CALLS));
    assert_eq!(found(|evidence| drop(evidence.asked.remove(1))).0, [CALLS]);
    assert_eq!(found(|evidence| evidence.asked[0].nonce = Some(78)).0, [CALLS]);
    let unanswered = |evidence: &mut Evidence| {
        evidence.asked.remove(0);
        evidence.tables.calls[0].http_status = None;
    };
    assert_eq!(found(unanswered).0, [0_usize; 0], "the request may never have arrived");
}

#[test]
fn a_call_after_the_verdict_is_found_on_either_side() {
    assert_eq!(
        found(|evidence| evidence.tables.calls[0].requested_at = (DECIDED + 1) * 1_000_000).0,
        [AGAIN]
    );
    assert_eq!(found(|evidence| evidence.asked[1].at_ms = (DECIDED + 1) * 1_000).0, [AGAIN]);
}
