use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::claim::EventError;
use crate::decision::{Decision, Reason, Source, decision_id};
use crate::intake::{Admission, Assigned, Ledger, Partition, header};
use crate::schema::{Seal, Verdict};
use crate::trace::TraceContext;

const MAX_BYTES: usize = 1_000_000;

fn completed(outcome: RecordOutcome) -> Completed {
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
        trace: TraceContext {
            trace_id: 0x4bf9,
            span_id: 7,
            flags: 1,
            state: Some("v=1".to_owned()),
            baggage: Some("tenant=acme".to_owned()),
        },
    };
    Completed { ticket, received, claim_id: None, outcome }
}

fn source() -> Source {
    Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 }
}

fn verdict() -> Verdict {
    Verdict {
        decision: Decision::Challenge,
        reasons: vec![Reason::new("level", Some(2), None)],
        level: Some(2),
        risk_types: vec![101],
        policy_version: "sha256:00".to_owned(),
        source: source(),
        trace_id: "t".to_owned(),
        ..Verdict::ordinary("clm-20210930-000017")
    }
}

fn payload(message: &Message) -> Value {
    serde_json::from_slice(message.payload.as_deref().expect("a payload")).expect("JSON")
}

#[test]
fn a_decision_says_what_the_contract_says() {
    let message = of(&completed(RecordOutcome::Decided(Box::new(verdict()))), false, MAX_BYTES)
        .expect("published");
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
        ("baggage", "tenant=acme"),
    ];
    assert_eq!(message.headers.len(), headers.len());
    for (name, value) in headers {
        assert_eq!(header(&message.headers, name), Some(value.as_bytes()), "{name}");
    }
}

#[test]
fn a_recalled_decision_is_the_same_to_the_byte() {
    let first = of(&completed(RecordOutcome::Decided(Box::new(verdict()))), false, MAX_BYTES);
    assert_eq!(
        of(&completed(RecordOutcome::Recalled(Box::new(verdict()))), false, MAX_BYTES),
        first
    );
}

/// The event had no trace and got another one when it was read again.
#[test]
fn a_decision_is_in_the_trace_of_its_verdict() {
    let recorded = Verdict { trace_id: format!("{:032x}", 0xabc), ..verdict() };
    let recalled = RecordOutcome::Recalled(Box::new(recorded));
    let message = of(&completed(recalled), false, MAX_BYTES).expect("published");
    let told = |name| header(&message.headers, name);
    let trace = &b"00-00000000000000000000000000000abc-0000000000000007-01"[..];
    assert_eq!((told("traceparent"), told("tracestate")), (Some(trace), None));
}

#[test]
fn a_duplicate_is_published_only_where_that_is_wanted() {
    let duplicate = completed(RecordOutcome::Duplicate(Box::new(verdict())));
    assert_eq!(of(&duplicate, false, MAX_BYTES), None);
    assert!(of(&duplicate, true, MAX_BYTES).is_some());
}

#[test]
fn a_dead_letter_keeps_the_event_and_says_why() {
    let reason = DeadLetterReason::field(EventError::MissingField, "account.id", "required");
    let completed = completed(RecordOutcome::DeadLettered(reason));
    let content = completed.received.content();
    let message = of(&completed, false, MAX_BYTES).expect("published");
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
fn a_producers_own_headers_by_a_dead_letters_names_are_replaced() {
    let mut completed =
        completed(RecordOutcome::DeadLettered(DeadLetterReason::event(EventError::NotJson, "x")));
    let own = OWN_HEADERS.map(|name| text(name, "the producer's"));
    completed.received.headers = own.to_vec();
    let message = of(&completed, false, MAX_BYTES).expect("published");
    let names: Vec<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["claimgate-error", "claimgate-source", "claimgate-content"]);
    assert!(message.headers.iter().all(|header| !own.contains(header)));
    let schema: Value =
        serde_json::from_str(include_str!("../../../schemas/dead-letter.v1.json")).expect("JSON");
    let listed = schema["properties"].as_object().expect("an object").keys();
    let listed = listed.filter(|name| !name.starts_with("claimgate-replay"));
    let mut names = OWN_HEADERS;
    names.sort_unstable();
    assert!(listed.eq(names), "as the schema says");
}

/// The headers that `schemas/asyncapi.yaml` lists in this part of it.
fn listed(part: &str) -> BTreeSet<String> {
    let text = include_str!("../../../schemas/asyncapi.yaml");
    let (_, after) = text.split_once(&format!("\n    {part}:\n")).expect("there is such a part");
    let lines = after.lines().take_while(|line| line.starts_with("      "));
    let names = lines.filter_map(|line| line.strip_prefix("        ")?.strip_suffix(':'));
    names.filter(|name| !name.starts_with(' ')).map(str::to_owned).collect()
}

/// The names of headers, and these.
fn names(headers: &Headers, more: &[&str]) -> BTreeSet<String> {
    let more = more.iter().map(|name| (*name).to_owned());
    headers.iter().map(|(name, _)| name.clone()).chain(more).collect()
}

#[test]
fn asyncapi_lists_the_headers_that_messages_have() {
    let received = completed(RecordOutcome::Deferred(deferral())).received;
    let sealed = Verdict { seal: Some(Seal { id: 1, head: [0; 32] }), ..verdict() };
    let decision = revised(&sealed, 1, &received, MAX_BYTES);
    assert_eq!(names(&decision.headers, &[REPUBLISHED]), listed("decisionHeaders"));
    // What the worker reads of a claim's own headers.
    let own = ["traceparent", "tracestate", "baggage"];
    assert_eq!(names(&Vec::new(), &own), listed("claimHeaders"));
    let deferred = deferral().headers(&Vec::new());
    assert_eq!(names(&deferred, &own), listed("deferredClaimHeaders"));
}

fn deferral() -> Deferral {
    Deferral {
        unseen: 0,
        code: Some(13),
        times: 1,
        first: 1,
        since: 1,
        not_before: 2,
        attempts: 1,
        reason: "http_5xx".to_owned(),
        api: String::new(),
        source: source(),
        traceparent: "0".repeat(55),
    }
}

#[test]
fn a_deferred_claim_keeps_the_number_of_its_partition() {
    let completed = completed(RecordOutcome::Deferred(deferral()));
    let message = of(&completed, false, MAX_BYTES).expect("published");
    assert_eq!(
        (message.topic, message.partition),
        (Topic::Retry, Some(completed.ticket.partition().number))
    );
}

#[test]
fn what_is_too_large_says_so_and_fits() {
    let long = Verdict { challenge: Some("x".repeat(5_000)), ..verdict() };
    let message =
        of(&completed(RecordOutcome::Decided(Box::new(long))), false, 4_096).expect("published");
    assert_eq!(
        (&payload(&message)["challenge"], &payload(&message)["truncated"]),
        (&Value::Null, &json!(true))
    );
    assert!(message.payload.as_ref().is_some_and(|payload| payload.len() < 4_096));

    let mut completed =
        completed(RecordOutcome::DeadLettered(DeadLetterReason::event(EventError::NotJson, "x")));
    completed.received.payload = Some(vec![b'x'; 5_000]);
    let message = of(&completed, false, 4_096).expect("published");
    assert_eq!(message.payload, None);
    assert!(
        header(&message.headers, "claimgate-truncated").is_some()
            && header(&message.headers, "claimgate-source").is_some()
            && header(&message.headers, "claimgate-content").is_some()
    );
}

/// Whatever the event's key: settlement gets a message that its topic takes, with the claim's id in
/// it.
#[test]
fn a_too_large_key_is_replaced_by_the_claim_id() {
    let mut completed = completed(RecordOutcome::Decided(Box::new(verdict())));
    completed.received.key = Some(vec![b'k'; 900_000]);
    let message = of(&completed, false, 900_300).expect("published");
    assert_eq!(message.key.as_deref(), Some(&b"clm-20210930-000017"[..]));
    assert!(message.weight() <= 900_300);
    assert_eq!(payload(&message)["truncated"], json!(true), "it says so");
    assert_eq!(
        payload(&message)["reasons"],
        json!([{"code": "level", "value": 2}]),
        "what fits is there"
    );
    let message = of(&completed, false, MAX_BYTES).expect("published");
    assert_eq!(message.key.map(|key| key.len()), Some(900_000), "where it fits it stays");
}

#[test]
fn the_smallest_form_has_a_bound_whatever_the_event_holds() {
    let long = Verdict { challenge: Some("x".repeat(500_000)), ..verdict() };
    let reason = DeadLetterReason::field(EventError::WrongType, &"account.".repeat(500), "?");
    for outcome in [RecordOutcome::Decided(Box::new(long)), RecordOutcome::DeadLettered(reason)] {
        let mut completed = completed(outcome);
        completed.received.key = Some(vec![b'k'; 500_000]);
        completed.received.headers = vec![("h".repeat(1_000), Some(vec![0; 500_000]))];
        completed.received.trace.state = Some("v=".to_owned() + &"1".repeat(500));
        let least = of(&completed, false, 0).expect("published");
        assert!(least.weight() < 1_500, "{} bytes", least.weight());
        assert!(least.key.is_some(), "a compacted topic takes it, too");
    }
}

fn deferred(bytes: usize) -> Completed {
    let deferral = Deferral {
        unseen: 0,
        code: None,
        times: 1,
        first: 1,
        since: 1,
        not_before: 2,
        attempts: 1,
        reason: "http_5xx".to_owned(),
        api: String::new(),
        source: source(),
        traceparent: "0".repeat(55),
    };
    let mut completed = completed(RecordOutcome::Deferred(deferral));
    completed.received.payload = Some(vec![b'x'; bytes]);
    completed
}

#[test]
fn what_is_said_to_fit_the_retry_topic_fits() {
    for bytes in [0, 10, 5_000] {
        let completed = deferred(bytes);
        let weight = of(&completed, false, 0).expect("published").weight();
        let least = (0..20_000).find(|max_bytes| fits_deferred(&completed.received, *max_bytes));
        assert!(
            least.is_some_and(|least| weight <= least && least < weight + 1_500),
            "{weight} {least:?}"
        );
    }
}

/// The batches in which these messages are sent.
fn waves(parcels: &[Parcel]) -> Vec<Vec<&Parcel>> {
    let mut waves: Vec<Vec<&Parcel>> = Vec::new();
    for parcel in parcels {
        match waves.last_mut() {
            Some(wave)
                if wave.iter().chain([&parcel]).all(|parcel| parcel.together > wave.len()) =>
            {
                wave.push(parcel);
            }
            _ => waves.push(vec![parcel]),
        }
    }
    waves
}

/// A topic that takes a batch only if each of its messages passes. What was sent, round by round,
/// until nothing is refused.
fn rounds(
    drafts: &mut Drafts<'_>,
    limits: &Limits,
    takes: impl Fn(&Message) -> bool,
) -> Vec<Vec<usize>> {
    let mut rounds = Vec::new();
    loop {
        let parcels = drafts.parcels(limits);
        let waves = waves(&parcels);
        rounds.push(parcels.iter().map(|parcel| parcel.draft).collect());
        if drafts.leave_out_too_many() {
            return rounds;
        }
        let refused = waves.iter().find(|wave| !wave.iter().all(|parcel| takes(&parcel.message)));
        let Some(refused) = refused else { return rounds };
        let refusal =
            |parcel: &&Parcel| Refusal { draft: parcel.draft, too_large: false, alone: false };
        let refusals: Vec<Refusal> = refused.iter().map(refusal).collect();
        drafts.refused(&refusals, limits);
        assert!(rounds.len() < 100, "it ends");
    }
}

/// One message that is refused in every form, among a thousand: found in a few rounds, and all
/// others go through.
#[test]
fn a_message_refused_in_every_form_is_found_in_its_batch() {
    let mut batch: Vec<Completed> =
        (0..1_000).map(|_| completed(RecordOutcome::Decided(Box::new(verdict())))).collect();
    let bad = Verdict { claim_id: "bad".to_owned(), ..verdict() };
    batch[617] = completed(RecordOutcome::Decided(Box::new(bad)));
    let mut drafts = Drafts::new(&batch, false);
    let limits = [MAX_BYTES; 3];
    let rounds =
        rounds(&mut drafts, &limits, |message| payload(message)["claim_id"] != json!("bad"));
    assert!(rounds.len() <= 15, "{} rounds", rounds.len());
    assert_eq!(rounds.last().map(Vec::len), Some(999), "the others are published");
    assert_eq!(drafts.left_out(Topic::Decisions).count(), 1);
}

/// Without transactions every batch is sent, whatever became of those before it, so several can be
/// refused at once. Before the fix the same batches were sent for ever.
#[test]
fn messages_that_are_refused_at_once_are_found_without_transactions() {
    let mut batch: Vec<Completed> =
        (0..100).map(|_| completed(RecordOutcome::Decided(Box::new(verdict())))).collect();
    for number in [17, 18, 71] {
        let bad = Verdict { claim_id: "bad".to_owned(), ..verdict() };
        batch[number] = completed(RecordOutcome::Decided(Box::new(bad)));
    }
    let (mut drafts, limits) = (Drafts::new(&batch, false), [MAX_BYTES; 3]);
    for round in 0.. {
        assert!(round < 20, "it ends");
        let parcels = drafts.parcels(&limits);
        let takes = |parcel: &&Parcel| payload(&parcel.message)["claim_id"] != json!("bad");
        let (taken, refused): (Vec<_>, Vec<_>) =
            waves(&parcels).into_iter().partition(|wave| wave.iter().all(takes));
        if refused.is_empty() {
            break;
        }
        let taken: Vec<usize> = taken.iter().flatten().map(|parcel| parcel.draft).collect();
        drafts.delivered(&taken);
        let refusal =
            |parcel: &&Parcel| Refusal { draft: parcel.draft, too_large: false, alone: false };
        let refusals: Vec<Refusal> = refused.iter().flatten().map(refusal).collect();
        drafts.refused(&refusals, &limits);
    }
    assert_eq!(drafts.left_out(Topic::Decisions).count(), 3);
}

/// Without transactions the others are in the topic when a decision is left out. Before the fix the
/// topic was blamed, and all of them were sent again for ever.
#[test]
fn a_decision_is_left_out_beside_those_that_were_delivered() {
    let decided = || completed(RecordOutcome::Decided(Box::new(verdict())));
    for (batch, at_fault) in [(vec![decided(), decided()], false), (vec![decided()], true)] {
        let (mut drafts, limits) = (Drafts::new(&batch, false), [MAX_BYTES; 3]);
        drafts.parcels(&limits);
        drafts.delivered(&[1]);
        for _ in ["as it is", "in its smallest form"] {
            assert!(!drafts.leave_out_all(), "it is tried again");
            drafts.refused(&[Refusal { draft: 0, too_large: false, alone: false }], &limits);
        }
        assert!(drafts.parcels(&limits).is_empty(), "nothing is left to be sent");
        assert_eq!(drafts.left_out(Topic::Decisions).count(), 1);
        assert_eq!(drafts.leave_out_all(), at_fault);
    }
}

/// A topic that accepts no decision is at fault itself: a few are tried, and then the publisher
/// waits for the topic.
#[test]
fn a_topic_that_refuses_every_decision_is_blamed_itself() {
    let batch: Vec<Completed> =
        (0..1_000).map(|_| completed(RecordOutcome::Decided(Box::new(verdict())))).collect();
    let mut drafts = Drafts::new(&batch, false);
    let rounds = rounds(&mut drafts, &[MAX_BYTES; 3], |_| false);
    assert!(rounds.len() <= 40, "{} rounds", rounds.len());
    assert!(drafts.leave_out_too_many());
}

/// Nobody said what the topic takes, and every dead letter is too large for it: one refusal is
/// enough for those as large.
#[test]
fn one_refusal_is_enough_for_all_messages_as_large() {
    let batch: Vec<Completed> = (0..64)
        .map(|_| {
            let mut completed = completed(RecordOutcome::DeadLettered(DeadLetterReason::event(
                EventError::NotJson,
                "x",
            )));
            completed.received.payload = Some(vec![b'x'; 5_000]);
            completed
        })
        .collect();
    let mut drafts = Drafts::new(&batch, false);
    let mut limits = [MAX_BYTES; 3];
    let all: Vec<Refusal> =
        (0..64).map(|draft| Refusal { draft, too_large: true, alone: false }).collect();
    for count in [64, 32, 16, 8, 4, 2] {
        drafts.parcels(&limits);
        assert_eq!(drafts.refused(&all[..count], &limits), []);
    }
    drafts.parcels(&limits);
    let lessons = drafts.refused(&all[..1], &limits);
    assert_eq!(lessons.iter().map(|(topic, _)| *topic).collect::<Vec<_>>(), [Topic::DeadLetters]);
    limits[Topic::DeadLetters as usize] = lessons[0].1 - 1;
    let parcels = drafts.parcels(&limits);
    assert_eq!(parcels.len(), 64, "nothing is left out");
    assert!(parcels.iter().all(|parcel| parcel.message.payload.is_none() && parcel.weight < 1_000));
}

/// A deferred claim cannot be made smaller: it needs another end, and so does every one that is as
/// large.
#[test]
fn deferred_claims_that_are_too_large_for_their_topic_are_named() {
    let batch = [deferred(10), deferred(9_000), deferred(8_000), deferred(20)];
    let mut drafts = Drafts::new(&batch, false);
    let mut limits = [MAX_BYTES; 3];
    drafts.parcels(&limits);
    let refusal = |draft| Refusal { draft, too_large: true, alone: false };
    assert_eq!(drafts.refused(&[0, 1, 2, 3].map(refusal), &limits), []);
    assert_eq!(drafts.undeferrable(&limits), [0; 0], "not known yet which");
    drafts.parcels(&limits);
    drafts.refused(&[2, 3].map(refusal), &limits);
    let parcels = drafts.parcels(&limits);
    let weight = parcels[2].weight;
    assert_eq!(drafts.refused(&[refusal(2)], &limits), [(Topic::Retry, weight)]);
    limits[Topic::Retry as usize] = weight - 1;
    assert_eq!(drafts.undeferrable(&limits), [1, 2]);
}
