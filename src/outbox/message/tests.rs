use serde_json::{Value, json};

use super::*;
use crate::decision::Decision;
use crate::intake::{Admission, Assigned, Ledger, Partition, header};
use crate::trace::TraceContext;

const MAX_BYTES: usize = 1_000_000;

fn settled(disposition: Disposition) -> Settled {
    let mut ledger = Ledger::default();
    ledger.assign(&Assigned {
        partition: Partition::claims(3),
        epoch: 1,
        offset: Some(8812),
        metadata: String::new(),
        log_end: 9000,
    });
    let Admission::Ticket(ticket) = ledger.admit(Partition::claims(3), 8812, 1) else {
        unreachable!("the partition is assigned")
    };
    let received = Received {
        source: source(),
        key: None,
        headers: vec![
            ("tenant".to_owned(), Some(b"a".to_vec())),
            ("claimgate-error".to_owned(), Some(b"old".to_vec())),
        ],
        payload: Some(b"\xff\0".to_vec()),
        received_at: 1,
        trace: TraceContext { trace_id: 0x4bf9, span_id: 7, flags: 1, state: Some("v=1".to_owned()) },
    };
    Settled { ticket, received, claim_id: None, disposition }
}

fn source() -> Source {
    Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 }
}

fn verdict() -> Verdict {
    Verdict {
        claim_id: "clm-20210930-000017".to_owned(),
        kind: "qr_code".to_owned(),
        api: "intelligent_qr_code".to_owned(),
        api_schema: "2021".to_owned(),
        decision: Decision::Challenge,
        reasons: vec![Reason::new("level", Some(2), None)],
        level: Some(2),
        risk_types: vec![101],
        provider_code: Some(0),
        policy_version: "sha256:00".to_owned(),
        attempts: 1,
        challenge: None,
        claimed_at: 1_632_994_480,
        decided_at: 1_632_994_481_250_000,
        source: source(),
        trace_id: "t".to_owned(),
        subject: "s".to_owned(),
        fingerprint: [0; 32],
    }
}

fn payload(message: &Message) -> Value {
    serde_json::from_slice(message.payload.as_deref().expect("a payload")).expect("JSON")
}

#[test]
fn a_decision_says_what_the_contract_says() {
    let message =
        of(&settled(Disposition::Assessed(Box::new(verdict()))), false, MAX_BYTES).expect("published");
    assert_eq!(message.topic, Topic::Decisions);
    assert_eq!(
        message.key.as_deref(),
        Some(&b"clm-20210930-000017"[..]),
        "the claim id, for the event had no key"
    );
    let id = decision_id("clm-20210930-000017").to_string();
    let expected = json!({
        "decision_id": id, "claim_id": "clm-20210930-000017", "kind": "qr_code", "decision": "challenge",
        "reasons": [{"code": "level", "value": 2}], "api": "intelligent_qr_code", "api_schema": "2021", "level": 2,
        "risk_types": [101], "provider_code": 0, "policy_version": "sha256:00", "attempts": 1,
        "claimed_at": "2021-09-30T09:34:40Z", "decided_at": "2021-09-30T09:34:41.25Z", "challenge": null,
        "source": {"topic": "reward.claims", "partition": 3, "offset": 8812}, "trace_id": "t"
    });
    assert_eq!(payload(&message), expected);
    let headers = [
        ("content-type", "application/json"),
        ("claimgate-schema", "decision.v1"),
        ("claimgate-decision-id", id.as_str()),
        ("traceparent", "00-00000000000000000000000000004bf9-0000000000000007-01"),
        ("tracestate", "v=1"),
    ];
    assert_eq!(message.headers.len(), headers.len());
    for (name, value) in headers {
        assert_eq!(header(&message.headers, name), Some(value.as_bytes()), "{name}");
    }
}

#[test]
fn a_recalled_decision_is_the_same_to_the_byte() {
    let first = of(&settled(Disposition::Assessed(Box::new(verdict()))), false, MAX_BYTES);
    assert_eq!(of(&settled(Disposition::Recalled(Box::new(verdict()))), false, MAX_BYTES), first);
}

#[test]
fn a_duplicate_is_published_only_where_that_is_wanted() {
    let duplicate = settled(Disposition::Duplicate(Box::new(verdict())));
    assert_eq!(of(&duplicate, false, MAX_BYTES), None);
    assert!(of(&duplicate, true, MAX_BYTES).is_some());
}

#[test]
fn a_dead_letter_keeps_the_event_and_says_why() {
    let malformed = Malformed::field("missing_field", "account.id", "required");
    let settled = settled(Disposition::Quarantined(malformed));
    let content = settled.received.content();
    let message = of(&settled, false, MAX_BYTES).expect("published");
    assert_eq!((message.topic, message.key), (Topic::DeadLetters, None));
    assert_eq!(message.payload.as_deref(), Some(&b"\xff\0"[..]));
    let expected = [
        ("tenant", "a"),
        ("claimgate-error", "missing_field"),
        ("claimgate-error-field", "account.id"),
        ("claimgate-source", "reward.claims/3/8812"),
        ("claimgate-content", &content),
    ];
    assert_eq!(message.headers, expected.map(|(name, value)| text(name, value)));
}

#[test]
fn a_parked_claim_keeps_the_number_of_its_partition() {
    let parking = Parking {
        times: 1,
        since: 1,
        not_before: 2,
        attempts: 1,
        reason: "http_5xx".to_owned(),
        api: String::new(),
        source: source(),
    };
    let settled = settled(Disposition::Parked(parking));
    let message = of(&settled, false, MAX_BYTES).expect("published");
    assert_eq!((message.topic, message.partition), (Topic::Retry, Some(settled.ticket.partition().number)));
}

#[test]
fn what_is_too_large_says_so_and_fits() {
    let long = Verdict { challenge: Some("x".repeat(5_000)), ..verdict() };
    let message = of(&settled(Disposition::Assessed(Box::new(long))), false, 4_096).expect("published");
    assert_eq!(
        (&payload(&message)["challenge"], &payload(&message)["truncated"]),
        (&Value::Null, &json!(true))
    );
    assert!(message.payload.as_ref().is_some_and(|payload| payload.len() < 4_096));

    let mut settled = settled(Disposition::Quarantined(Malformed::event("not_json", "x")));
    settled.received.payload = Some(vec![b'x'; 5_000]);
    let message = of(&settled, false, 4_096).expect("published");
    assert_eq!(message.payload, None);
    assert!(
        header(&message.headers, "claimgate-truncated").is_some()
            && header(&message.headers, "claimgate-source").is_some()
            && header(&message.headers, "claimgate-content").is_some()
    );
}
