//! Records, verdicts and batches for the suite.

use claimgate::claim::DeadLetterReason;
use claimgate::decision::{Decision, Reason, Source, Verdict};
use claimgate::intake::{Admission, Assigned, Ledger, Partition};
use claimgate::outbox::{Batch, Call, Completed, Received, RecordOutcome, Sealed};
use claimgate::risk::{AttemptOutcome, FaultReason};
use claimgate::trace::TraceContext;
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
        claim_id: claim_id.to_owned(),
        kind: "qr_code".to_owned(),
        api: "intelligent_qr_code".to_owned(),
        api_schema: "2021".to_owned(),
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
        policy_version: "sha256:00".to_owned(),
        attempts: 3,
        challenge: Some("<script>".to_owned()),
        claimed_at: 253_402_300_799,
        decided_at: NOW,
        source: event(offset).source,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        subject: "0a".repeat(32),
        fingerprint: [7; 32],
    }
}

/// An attempt for a claim.
pub(crate) fn call(claim_id: &str) -> Call {
    Call {
        id: Uuid::now_v7(),
        claim_id: claim_id.to_owned(),
        attempt: 2,
        api: "intelligent_qr_code",
        requested_at: NOW - 900,
        latency: 90_061_000_001,
        http_status: Some(200),
        provider_code: Some(-1),
        outcome: AttemptOutcome::Transient,
        reason: Some(FaultReason::InternalError),
        cause: Some("a broken pipe".to_owned()),
        request: "GET /?secretKey=…".to_owned(),
        response: Some(br#"{"code":4}"#.to_vec()),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
    }
}

/// A record that ends in this verdict.
pub(crate) fn assessed(verdict: Verdict) -> (Received, RecordOutcome) {
    (event(verdict.source.offset), RecordOutcome::Assessed(Box::new(verdict)))
}

/// A record that is no claim.
pub(crate) fn malformed(offset: i64) -> (Received, RecordOutcome) {
    (event(offset), RecordOutcome::DeadLettered(DeadLetterReason::missing("account.id")))
}

/// A closed batch. Every record gets a ticket, as the worker gives it.
pub(crate) fn seal(records: Vec<(Received, RecordOutcome)>, calls: Vec<Call>) -> Sealed {
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
            RecordOutcome::Assessed(verdict) => Some(verdict.claim_id.clone()),
            RecordOutcome::Deferred(deferral) => Some(deferral.reason.clone()),
            _ => None,
        };
        batch.complete(Completed { ticket, received, claim_id, outcome });
    }
    for call in calls {
        batch.add_call(call);
    }
    batch.seal(size)
}
