//! Two events with one claim id: one claim sent twice, or two claims.

use claimgate::claim::Claim;
use claimgate::outbox::{Received, RecordOutcome, Store};
use claimgate::schema::Verdict;

use super::build::{assessed, close, event, record, verdict};
use super::{Inspect, with_database};

/// A well-formed event at this offset, and the end that it comes to.
fn claimed(offset: i64, id: &str, account: &str, goods: &str) -> (Received, RecordOutcome) {
    let payload = format!(
        r#"{{"claim_id":"{id}","kind":"qr_code","claimed_at":1632994480,"account":{{"type":"wechat","id":"{account}"}},
            "client":{{"ip":"121.14.96.121"}},"reward":{{"goods":"{goods}"}}}}"#
    )
    .into_bytes();
    let claim = Claim::parse(Some(&payload), usize::MAX).expect("well-formed");
    let verdict = Verdict { fingerprint: claim.fingerprint(), ..verdict(id, offset) };
    (Received { payload: Some(payload), ..event(offset) }, assessed(verdict).1)
}

fn verdict_of(record: &(Received, RecordOutcome)) -> Verdict {
    match &record.1 {
        RecordOutcome::Decided(verdict) => verdict.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

fn known(first: &Verdict, record: &(Received, RecordOutcome)) -> (Received, RecordOutcome) {
    let fingerprint = verdict_of(record).fingerprint;
    (record.0.clone(), RecordOutcome::of_known(first.clone(), &record.0.source, &fingerprint))
}

#[tokio::test]
async fn a_conflict_names_the_fields_that_differ() {
    with_database(async |database| {
        let store = database.store().await;
        let first = claimed(1, "a", "one", "red packet");
        store.record(&close(vec![first.clone()], vec![])).await.expect("recorded");
        let verdict = verdict_of(&first);
        // Found by the worker before it asked, and found by the insert.
        let by_worker = known(&verdict, &claimed(2, "a", "another", "red packet"));
        let by_insert = claimed(3, "a", "another", "blue packet");
        let batch = close(vec![by_worker, by_insert], vec![]);
        let ends = store.record(&batch).await.expect("recorded").overruled;
        assert_eq!(ends.len(), 2);
        let details: Vec<String> =
            store.all_dead_letters().await.into_iter().map(|letter| letter.reason.detail).collect();
        let said =
            "claim id \"a\" was used before, with other content, by reward.claims/3/1; they differ \
             in ";
        assert_eq!(details, [format!("{said}account.id"), format!("{said}account.id, reward.goods")]);
        assert!(!details[0].contains("another"), "no values");
    })
    .await;
}

pub(crate) async fn another_claim_at_the_offset_of_a_decided_one_is_a_conflict(
    store: impl Inspect,
) {
    let first = claimed(1, "a", "one", "red packet");
    store.record(&close(vec![first.clone()], vec![])).await.expect("recorded");
    let verdict = verdict_of(&first);
    // The topic was deleted and created again, and the id and the place were used again.
    let other = claimed(1, "a", "another", "red packet");
    for record in [other.clone(), known(&verdict, &other)] {
        let batch = close(vec![record], vec![]);
        let end = store.record(&batch).await.expect("recorded").overruled.pop();
        let Some((0, RecordOutcome::DeadLettered(malformed))) = end else { panic!("{end:?}") };
        assert_eq!(malformed.error.as_str(), "claim_id_conflict");
    }
    assert_eq!(store.all_dead_letters().await.len(), 1, "one event, one letter");
    // The same event is recalled when it comes again, even if an older version hashed the first
    // one differently.
    let hashed_otherwise =
        (first.0.clone(), RecordOutcome::of_known(verdict.clone(), &first.0.source, &[9; 32]));
    let sent_again = claimed(7, "a", "one", "red packet");
    let sent_again = (
        sent_again.0.clone(),
        RecordOutcome::of_known(verdict.clone(), &sent_again.0.source, &[9; 32]),
    );
    let ends = record(&store, &close(vec![hashed_otherwise, sent_again], vec![])).await;
    let verdict = Box::new(verdict);
    assert_eq!(
        ends,
        [(0, RecordOutcome::Recalled(verdict.clone())), (1, RecordOutcome::Duplicate(verdict))]
    );
    assert_eq!(store.all_dead_letters().await.len(), 1);
}
