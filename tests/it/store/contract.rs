//! What every store promises (README, "What it promises").

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::Decision;
use claimgate::outbox::{RecordOutcome, Store};
use claimgate::schema::Verdict;

use super::Inspect;
use super::build::{assessed, call, close, event, malformed, record, shadow, unsealed, verdict};
pub(crate) use super::conflicts::another_claim_at_the_offset_of_a_decided_one_is_a_conflict;

async fn recalled(store: &impl Store, claim_id: &str) -> Option<Verdict> {
    let known = store.recall(vec![claim_id.to_owned()]).await.expect("recall").remove(claim_id);
    known.map(unsealed)
}

pub(crate) async fn a_batch_has_a_seal_and_its_verdicts_keep_it(store: impl Inspect) {
    let first = store.record(&close(vec![assessed(verdict("a", 1))], vec![])).await;
    let first = first.expect("recorded").seal.expect("a seal");
    let batch = close(vec![assessed(verdict("b", 2)), assessed(verdict("a", 3))], vec![call("b")]);
    let second = store.record(&batch).await.expect("recorded");
    let seal = second.seal.expect("a seal");
    assert!(seal.id > first.id);
    let [(1, RecordOutcome::Duplicate(known))] = second.overruled.as_slice() else {
        panic!("{:?}", second.overruled)
    };
    assert_eq!(known.seal, Some(first));
    let known = store.recall(vec!["a".to_owned(), "b".to_owned()]).await.expect("recalled");
    assert_eq!([known["a"].seal, known["b"].seal], [Some(first), Some(seal)]);
}

pub(crate) async fn a_verdict_comes_back_with_every_field(store: impl Inspect) {
    let given = verdict("a", 1);
    assert_eq!(record(&store, &close(vec![assessed(given.clone())], vec![])).await, []);
    assert_eq!(recalled(&store, "a").await, Some(given));
    assert_eq!(store.all_events().await, [event(1)]);
}

pub(crate) async fn a_verdict_without_optional_fields_comes_back(store: impl Inspect) {
    let given = Verdict {
        level: None,
        risk_types: vec![],
        reasons: vec![],
        provider_code: None,
        challenge: None,
        claimed_at: 0,
        attempts: 0,
        ..verdict("a", 1)
    };
    let mut received = event(1);
    (received.key, received.headers, received.payload) = (None, vec![], None);
    record(
        &store,
        &close(vec![(received.clone(), RecordOutcome::Decided(Box::new(given.clone())))], vec![]),
    )
    .await;
    assert_eq!(recalled(&store, "a").await, Some(given));
    assert_eq!(store.all_events().await, [received]);
}

pub(crate) async fn an_unknown_claim_is_not_recalled(store: impl Inspect) {
    record(&store, &close(vec![assessed(verdict("a", 1)), assessed(verdict("b", 2))], vec![]))
        .await;
    let asked = ["b", "c", "B", ""].map(str::to_owned).to_vec();
    let known = store.recall(asked).await.expect("recall").into_iter();
    let known: Vec<_> = known.map(|(id, verdict)| (id, unsealed(verdict))).collect();
    assert_eq!(known, [("b".to_owned(), verdict("b", 2))]);
    assert!(store.recall(vec![]).await.expect("recall of nothing").is_empty());
}

pub(crate) async fn the_first_verdict_wins(store: impl Inspect) {
    let first = verdict("a", 1);
    record(&store, &close(vec![assessed(first.clone())], vec![])).await;

    let twin = Verdict { attempts: 9, ..verdict("a", 2) };
    let imposter = Verdict { fingerprint: [8; 32], ..verdict("a", 3) };
    let batch = close(vec![assessed(verdict("b", 4)), assessed(imposter), assessed(twin)], vec![]);
    let overruled = record(&store, &batch).await;
    let conflict = RecordOutcome::of_known(first.clone(), &event(3).source, &[8; 32]);
    assert_eq!(
        overruled,
        [(1, conflict.clone()), (2, RecordOutcome::Duplicate(Box::new(first.clone())))]
    );

    assert_eq!(recalled(&store, "a").await, Some(first));
    assert_eq!(recalled(&store, "b").await, Some(verdict("b", 4)));
    assert_eq!(store.all_events().await.len(), 2, "one event behind each verdict");
    let letters = store.all_dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].received, event(3));
    assert_eq!(RecordOutcome::DeadLettered(letters[0].reason.clone()), conflict);
    assert_eq!(letters[0].reason.error.as_str(), "claim_id_conflict");
}

pub(crate) async fn the_first_record_of_a_batch_wins(store: impl Inspect) {
    let first = verdict("z", 1);
    let twin = Verdict { attempts: 9, ..verdict("z", 2) };
    let imposter = Verdict { fingerprint: [8; 32], ..verdict("z", 3) };
    let batch = close(
        vec![
            assessed(first.clone()),
            assessed(verdict("a", 4)),
            assessed(twin),
            assessed(imposter),
        ],
        vec![],
    );
    let overruled = record(&store, &batch).await;
    assert_eq!(overruled.len(), 2);
    assert_eq!(overruled[0], (2, RecordOutcome::Duplicate(Box::new(first.clone()))));
    assert!(
        matches!(&overruled[1], (3, RecordOutcome::DeadLettered(malformed)) if malformed.error == EventError::ClaimIdConflict)
    );
    assert_eq!(recalled(&store, "z").await, Some(first));
}

pub(crate) async fn the_same_record_again_is_recalled(store: impl Inspect) {
    let first = verdict("a", 1);
    record(&store, &close(vec![assessed(first.clone())], vec![])).await;
    let again = Verdict { attempts: 9, decided_at: first.decided_at + 1, ..first.clone() };
    let overruled = record(&store, &close(vec![assessed(again)], vec![])).await;
    assert_eq!(overruled, [(0, RecordOutcome::Recalled(Box::new(first)))]);
    assert_eq!(store.all_events().await, [event(1)]);
}

pub(crate) async fn recording_a_batch_again_changes_nothing(store: impl Inspect) {
    let batch = close(vec![assessed(verdict("a", 1)), malformed(2)], vec![call("a"), call("b")]);
    assert_eq!(record(&store, &batch).await, []);
    let before =
        (store.all_calls().await, store.all_events().await, store.all_dead_letters().await);
    let overruled = record(&store, &batch).await;
    assert_eq!(overruled, [(0, RecordOutcome::Recalled(Box::new(verdict("a", 1))))]);
    assert_eq!(
        (store.all_calls().await, store.all_events().await, store.all_dead_letters().await),
        before
    );
}

pub(crate) async fn attempts_are_kept_without_a_verdict(store: impl Inspect) {
    let mut unanswered = call("a");
    (unanswered.http_status, unanswered.provider_code, unanswered.response) = (None, None, None);
    (unanswered.outcome, unanswered.reason) = ("unknown".into(), "timeout".into());
    // A worker that died made an attempt with the same number.
    let twin = call("a");
    let calls = vec![unanswered, twin, call("b")];
    record(&store, &close(vec![], calls.clone())).await;
    assert_eq!(store.all_calls().await, calls);
    assert_eq!(recalled(&store, "a").await, None);
}

pub(crate) async fn bytes_are_kept_exactly(store: impl Inspect) {
    let mut every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    every_byte.extend(b"\xed\xa0\x80 a lone surrogate");
    let mut attempt = call("a");
    attempt.response = Some(every_byte.clone());
    let mut empty = call("a");
    empty.response = Some(vec![]);
    let mut received = event(1);
    (received.key, received.payload) = (Some(every_byte.clone()), Some(every_byte.clone()));
    received.headers =
        vec![("a".into(), Some(every_byte)), ("a".into(), None), ("a".into(), Some(vec![]))];
    let mut letter = (received.clone(), malformed(2).1);
    (letter.0.source, letter.0.trace) = (event(2).source, event(2).trace);
    let decided = (received.clone(), RecordOutcome::Decided(Box::new(verdict("a", 1))));
    record(&store, &close(vec![decided, letter.clone()], vec![attempt.clone(), empty.clone()]))
        .await;
    assert_eq!(store.all_calls().await, [attempt, empty]);
    assert_eq!(store.all_events().await, [received]);
    assert_eq!(store.all_dead_letters().await[0].received, letter.0);
}

pub(crate) async fn any_unicode_is_kept(store: impl Inspect) {
    let odd = "红包 🧧 \u{1}\u{7f}\u{85}\u{feff}\u{10ffff} e\u{301} \"'\\ {} null NULL $1 -- ;";
    let mut given = verdict(odd, 1);
    given.kind = odd.to_owned();
    given.challenge = Some(odd.to_owned());
    given.reasons[0].name = Some(odd.to_owned());
    let mut attempt = call(odd);
    attempt.request = odd.to_owned();
    let letter = (
        event(2),
        RecordOutcome::DeadLettered(DeadLetterReason::field(EventError::WrongType, odd, odd)),
    );
    let other = verdict("e\u{301}", 3);
    let normalised = verdict("\u{e9}", 4);
    let records = vec![
        assessed(given.clone()),
        letter.clone(),
        assessed(other.clone()),
        assessed(normalised.clone()),
    ];
    assert_eq!(record(&store, &close(records, vec![attempt.clone()])).await, []);
    assert_eq!(recalled(&store, odd).await, Some(given));
    assert_eq!(
        recalled(&store, "e\u{301}").await,
        Some(other),
        "ids are bytes: two spellings are two claims"
    );
    assert_eq!(recalled(&store, "\u{e9}").await, Some(normalised));
    assert_eq!(store.all_calls().await, [attempt]);
    assert_eq!(
        RecordOutcome::DeadLettered(store.all_dead_letters().await[0].reason.clone()),
        letter.1
    );
}

pub(crate) async fn a_nul_character_wedges_nothing(store: impl Inspect) {
    let mut given = verdict("a", 1);
    given.challenge = Some("a\0b".to_owned());
    given.reasons[1].name = Some("\0\\u0000".to_owned());
    let mut attempt = call("a");
    attempt.request = "GET /\0".to_owned();
    let mut received = event(1);
    received.headers =
        vec![("\0".into(), Some(b"\0".to_vec())), ("x".into(), Some(b"\\u0000".to_vec()))];
    let mut letter = (
        received.clone(),
        RecordOutcome::DeadLettered(DeadLetterReason::field(EventError::WrongType, "a\0", "\0")),
    );
    (letter.0.source, letter.0.trace) = (event(2).source, event(2).trace);
    let decided = (received, RecordOutcome::Decided(Box::new(given.clone())));
    let overruled = record(&store, &close(vec![decided, letter], vec![attempt])).await;
    // The published text is that of the table, after the store replaced the character.
    let published = match overruled.as_slice() {
        [] => given,
        [(0, RecordOutcome::Decided(verdict))] => verdict.as_ref().clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(recalled(&store, "a").await, Some(published));
    assert_eq!(store.all_calls().await.len(), 1);
    assert_eq!(store.all_dead_letters().await.len(), 1);
}

pub(crate) async fn dead_letters_are_kept_once(store: impl Inspect) {
    let mut tombstone = malformed(5);
    (tombstone.0.key, tombstone.0.payload) = (None, None);
    tombstone.1 = RecordOutcome::DeadLettered(DeadLetterReason::event(
        EventError::Tombstone,
        "the event has no payload",
    ));
    let first = close(vec![malformed(6), tombstone.clone()], vec![]);
    assert_eq!(record(&store, &first).await, []);
    let mut again = malformed(6);
    again.0.received_at += 1;
    assert_eq!(record(&store, &close(vec![again, malformed(7)], vec![])).await, []);
    let letters = store.all_dead_letters().await;
    let sources: Vec<i64> = letters.iter().map(|letter| letter.received.source.offset).collect();
    assert_eq!(sources, [5, 6, 7]);
    assert_eq!(
        (letters[0].received.clone(), RecordOutcome::DeadLettered(letters[0].reason.clone())),
        tombstone
    );
    assert_eq!(
        (letters[1].received.clone(), RecordOutcome::DeadLettered(letters[1].reason.clone())),
        malformed(6)
    );
}

pub(crate) async fn another_event_at_a_used_offset_is_a_dead_letter_of_its_own(
    store: impl Inspect,
) {
    let other = |change: fn(&mut claimgate::outbox::Received)| {
        let mut letter = malformed(6);
        change(&mut letter.0);
        letter
    };
    let letters = [
        malformed(6),
        other(|event| event.payload = Some(b"of another topic by this name".to_vec())),
        other(|event| event.payload = None),
        other(|event| event.key = None),
        other(|event| event.key = Some(vec![])),
        other(|event| event.headers[0].1 = None),
        other(|event| event.headers = vec![]),
    ];
    for letter in &letters {
        record(&store, &close(vec![letter.clone()], vec![])).await;
    }
    record(&store, &close(letters.to_vec(), vec![])).await;
    let kept = store.all_dead_letters().await;
    assert_eq!(kept.len(), letters.len());
    for (received, _) in &letters {
        assert_eq!(
            kept.iter().filter(|letter| letter.received == *received).count(),
            1,
            "{received:?}"
        );
    }
}

pub(crate) async fn an_empty_batch_is_recorded(store: impl Inspect) {
    assert_eq!(record(&store, &close(vec![], vec![])).await, []);
    let recalled_before = (event(1), RecordOutcome::Recalled(Box::new(verdict("a", 1))));
    let duplicate = (event(2), RecordOutcome::Duplicate(Box::new(verdict("a", 1))));
    assert_eq!(record(&store, &close(vec![recalled_before, duplicate], vec![])).await, []);
    assert!(store.all_events().await.is_empty() && recalled(&store, "a").await.is_none());
}

pub(crate) async fn a_batch_larger_than_a_statement_is_recorded_whole(store: impl Inspect) {
    let (mut records, mut calls) = (Vec::new(), Vec::new());
    for offset in 0..30 {
        let mut record = assessed(verdict(&format!("claim {offset:03}"), offset));
        record.0.payload = Some(vec![u8::try_from(offset).expect("small"); 1 << 20]);
        records.push(record);
        let mut letter = malformed(1_000 + offset);
        letter.0.payload = Some(vec![0; 1 << 20]);
        records.push(letter);
        let mut attempt = call("a");
        attempt.response = Some(vec![1; 1 << 20]);
        calls.push(attempt);
    }
    assert_eq!(record(&store, &close(records, calls)).await, []);
    let claim_ids = (0..30).map(|offset| format!("claim {offset:03}")).collect();
    assert_eq!(store.recall(claim_ids).await.expect("recall").len(), 30);
    assert_eq!(store.all_events().await.len(), 30);
    assert_eq!(store.all_calls().await.len(), 30);
    assert_eq!(store.all_dead_letters().await.len(), 30);
}

/// Two workers have the same claims for a moment, each in another order: neither waits for ever,
/// and one verdict wins.
pub(crate) async fn two_workers_with_the_same_claims_agree(store: impl Inspect) {
    for round in 0..50 {
        let verdicts = |worker: u32| -> Vec<Verdict> {
            (0..40)
                .map(|n| Verdict {
                    attempts: worker,
                    ..verdict(&format!("{round}/{n}"), 40 * round + n)
                })
                .collect()
        };
        let (one, mut two) = (verdicts(1), verdicts(2));
        two.reverse();
        two.rotate_left(usize::try_from(round % 40).expect("small"));
        let batches =
            [one, two].map(|verdicts| close(verdicts.into_iter().map(assessed).collect(), vec![]));
        let results = batches.map(|batch| {
            let store = store.clone();
            tokio::spawn(async move {
                let recorded = batch
                    .record(&store)
                    .await
                    .map_err(|(_, error)| error)
                    .expect("no deadlock, no error");
                recorded
                    .completed()
                    .iter()
                    .map(|completed| completed.outcome.clone())
                    .collect::<Vec<_>>()
            })
        });
        let mut published = Vec::new();
        for result in results {
            published.extend(result.await.expect("the task ends"));
        }
        let claim_ids = (0..40).map(|n| format!("{round}/{n}")).collect();
        let known = store.recall(claim_ids).await.expect("recall");
        assert_eq!(known.len(), 40);
        let mut winners = 0;
        for outcome in published {
            let (RecordOutcome::Decided(verdict) | RecordOutcome::Recalled(verdict)) = &outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(**verdict, known[&verdict.claim_id], "both publish what the table says");
            winners += usize::from(matches!(outcome, RecordOutcome::Decided(_)));
        }
        assert_eq!(winners, 40, "each claim has one winner");
    }
    assert_eq!(store.all_events().await.len(), 2_000);
}

pub(crate) async fn what_a_policy_in_shadow_rules_is_kept_with_the_verdict_that_won(
    store: impl Inspect,
) {
    record(&store, &close(vec![assessed(verdict("known", 1))], vec![])).await;
    let ruled = |claim_id: &str, offset, version: &str| Verdict {
        shadow: shadow(version, Decision::Reject),
        ..verdict(claim_id, offset)
    };
    let odd = ruled("odd \u{1} \"\\红", 2, "x");
    let records = vec![
        assessed(odd.clone()),
        assessed(verdict("alike", 3)),
        assessed(ruled("twice", 4, "x")),
        assessed(ruled("twice", 5, "y")),
        assessed(ruled("known", 6, "x")),
        malformed(7),
    ];
    let batch = close(records, vec![call("twice")]);
    let overruled = record(&store, &batch).await;
    let places: Vec<usize> = overruled.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [3, 4]);
    let kept = store.all_shadows().await;
    let shadow = |verdict: Verdict| (verdict.claim_id, *verdict.shadow.expect("given"));
    let expected = [shadow(odd), shadow(ruled("twice", 4, "x"))];
    assert_eq!(kept.clone().into_iter().collect::<Vec<_>>(), expected);
    // It is no part of the verdict.
    assert_eq!(recalled(&store, "twice").await, Some(verdict("twice", 4)));
    // The answer was lost, and the claim is decided again, by another policy.
    record(&store, &batch).await;
    record(&store, &close(vec![assessed(ruled("twice", 4, "y"))], vec![])).await;
    assert_eq!(store.all_shadows().await, kept);
}
