//! Records, verdicts and batches for the suite.

use claimgate::claim::{Claim, DeadLetterReason, EventHashes, SubjectKey};
use claimgate::decision::{Decision, Reason, ShadowRuling, Source};
use claimgate::intake::{Admission, Assigned, Ledger, Partition};
use claimgate::outbox::{Batch, Call, Closed, Completed, Received, RecordOutcome, Store};
use claimgate::schema::Verdict;
use claimgate::trace::TraceContext;
use serde_json::json;
use uuid::Uuid;

/// 2026-01-02 03:04:05.678901 UTC, in microseconds.
pub(crate) const NOW: i64 = 1_767_323_045_678_901;

/// An event at an offset of partition 3.
pub(crate) fn event(offset: i64) -> Received {
    Received {
        source: Source { topic: "reward.claims".to_owned(), partition: 3, offset },
        key: Some(b"key".to_vec()),
        headers: vec![
            ("traceparent".to_owned(), Some(b"00-ab-cd-01".to_vec())),
            ("empty".to_owned(), None),
        ],
        payload: Some(br#"{"claim_id":"a"}"#.to_vec()),
        received_at: NOW - 1_000,
        trace: TraceContext::fresh(u128::from(offset.unsigned_abs()) << 7),
    }
}

/// A verdict with every field set, for the event at this offset.
pub(crate) fn verdict(claim_id: &str, offset: i64) -> Verdict {
    Verdict {
        decision: Decision::Challenge,
        reasons: vec![
            Reason::new("level", Some(2), None),
            Reason {
                group: Some("behaviour".to_owned()),
                ..Reason::new("risk_type", Some(101), Some("batch_operation"))
            },
        ],
        level: Some(2),
        risk_types: vec![101, -7, i32::MAX],
        provider_code: Some(i64::MIN),
        attempts: 3,
        challenge: Some("<script>".to_owned()),
        claimed_at: 253_402_300_799,
        decided_at: NOW,
        source: event(offset).source,
        fingerprint: [7; 32],
        ..Verdict::ordinary(claim_id)
    }
}

/// What a policy of this version decides in shadow.
pub(crate) fn shadow(version: &str, decision: Decision) -> Option<Box<ShadowRuling>> {
    Some(Box::new(ShadowRuling { version: version.to_owned(), decision }))
}

/// An attempt for a claim.
pub(crate) fn call(claim_id: &str) -> Call {
    Call {
        id: Uuid::now_v7(),
        attempt: 2,
        requested_at: NOW - 900,
        latency: 90_061_000_001,
        provider_code: Some(-1),
        outcome: "transient".into(),
        reason: "internal_error".into(),
        cause: Some("a broken pipe".to_owned()),
        request: "GET /?secretKey=…".to_owned(),
        response: Some(br#"{"code":4}"#.to_vec()),
        ..Call::ordinary(claim_id)
    }
}

/// A record that ends in this verdict.
pub(crate) fn assessed(verdict: Verdict) -> (Received, RecordOutcome) {
    (event(verdict.source.offset), RecordOutcome::Decided(Box::new(verdict)))
}

/// A verdict with the columns that follow from its event and from an answer of level 0, and the
/// event.
pub(crate) fn following(verdict: Verdict, key: &SubjectKey) -> (Received, Verdict) {
    let payload = json!({
        "claim_id": verdict.claim_id, "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "phone", "id": "15912345687" },
        "client": { "ip": "121.14.96.121" },
    });
    let payload = serde_json::to_vec(&payload).expect("serialises");
    let claim = Claim::parse(Some(&payload), usize::MAX).expect("a claim");
    let received_at = verdict.decided_at - 9_000;
    let verdict = Verdict {
        level: Some(0),
        risk_types: vec![],
        provider_code: Some(0),
        attempts: 1,
        challenge: None,
        claimed_at: claim.claimed_at,
        fingerprint: claim.fingerprint(),
        event_hashes: EventHashes::of(key, &claim),
        subject: key.subject("phone", "15912345687"),
        ..verdict
    };
    let received = event(verdict.source.offset);
    (Received { payload: Some(payload), received_at, ..received }, verdict)
}

/// A record that is no claim.
pub(crate) fn malformed(offset: i64) -> (Received, RecordOutcome) {
    (event(offset), RecordOutcome::DeadLettered(DeadLetterReason::missing("account.id")))
}

/// A closed batch. Every record gets a ticket, as the worker gives it.
pub(crate) fn close(records: Vec<(Received, RecordOutcome)>, calls: Vec<Call>) -> Closed {
    let mut ledger = Ledger::default();
    let assigned = Assigned {
        partition: Partition::claims(0),
        epoch: 1,
        offset: None,
        metadata: String::new(),
        log_end: 1 << 40,
    };
    assert_eq!(ledger.assign(&assigned), None);
    let mut batch = Batch::default();
    let size = records.len().max(calls.len());
    for (offset, (received, outcome)) in (0..).zip(records) {
        let Admission::Ticket(ticket) = ledger.admit(Partition::claims(0), offset, 1) else {
            panic!("a fresh partition has no done records")
        };
        let claim_id = match &outcome {
            RecordOutcome::Decided(verdict) => Some(verdict.claim_id.clone()),
            RecordOutcome::Deferred(deferral) => Some(deferral.reason.clone()),
            _ => None,
        };
        batch.complete(Completed { ticket, received, claim_id, outcome });
    }
    for call in calls {
        batch.add_call(call);
    }
    batch.close(size, None)
}

/// The verdict as it was given: every one that is recalled has a seal.
pub(crate) fn unsealed(verdict: Verdict) -> Verdict {
    assert!(verdict.seal.is_some(), "{verdict:?}");
    Verdict { seal: None, ..verdict }
}

/// Writes a batch; returns what was overruled, as it was given.
pub(crate) async fn record(store: &impl Store, batch: &Closed) -> Vec<(usize, RecordOutcome)> {
    let mut overruled = store.record(batch).await.expect("record").overruled;
    overruled.sort_by_key(|(index, _)| *index);
    for (_, outcome) in &mut overruled {
        if let RecordOutcome::Recalled(verdict) | RecordOutcome::Duplicate(verdict) = outcome {
            **verdict = unsealed(verdict.as_ref().clone());
        }
    }
    overruled
}
