//! A row that the database refuses, and a table that refuses rows.

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::decision::Source;
use claimgate::intake::deferral::Deferral;
use claimgate::outbox::{Call, Closed, RecordOutcome, Store, StoreError};
use claimgate::schema::Verdict;

use super::build::{assessed, call, close, event, malformed, record, verdict};
use super::{Inspect, TestDatabase, with_database};

fn ids(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| format!("claim {n}")).collect()
}

#[tokio::test]
async fn a_row_that_the_database_refuses_stops_no_other() {
    with_database(async |database| {
        database
            .execute(
                "alter table verdicts add constraint odd check (claim_id not in ('claim 3', 'claim \
                 8'))",
            )
            .await;
        database
            .execute("alter table risk_calls add constraint odd check (claim_id <> 'claim 1')")
            .await;
        let store = database.store().await;
        let mut records: Vec<_> =
            (0..10).map(|n| assessed(verdict(&format!("claim {n}"), n))).collect();
        records.push(assessed(Verdict { attempts: 9, ..verdict("claim 0", 10) }));
        records.push(malformed(11));
        let calls: Vec<_> = (0..5).map(|n| call(&format!("claim {n}"))).collect();
        let batch = close(records, calls);
        let overruled = record(&store, &batch).await;
        let [(1, one), (3, three), (8, eight), (10, twin)] = overruled.as_slice() else {
            panic!("{overruled:?}")
        };
        for end in [one, three, eight] {
            let RecordOutcome::DeadLettered(malformed) = end else { panic!("{end:?}") };
            assert_eq!(malformed.error.as_str(), "unrecordable");
            assert!(malformed.detail.contains("odd"), "{malformed}");
        }
        assert_eq!(*twin, RecordOutcome::Duplicate(Box::new(verdict("claim 0", 0))));
        assert_eq!(store.recall(ids(0..10)).await.expect("recall").len(), 7);
        assert_eq!(store.all_events().await.len(), 7);
        let letters = store.all_dead_letters().await;
        let dead: Vec<_> = letters
            .iter()
            .map(|letter| (letter.received.source.offset, letter.reason.error.as_str()))
            .collect();
        assert_eq!(
            dead,
            [(1, "unrecordable"), (3, "unrecordable"), (8, "unrecordable"), (11, "missing_field")]
        );
        let kept: Vec<_> = store.all_calls().await.into_iter().map(|call| call.claim_id).collect();
        assert_eq!(kept, ["claim 0", "claim 2", "claim 3", "claim 4"]);
    })
    .await;
}

/// Claims from this offset on, each with its attempt.
fn claims(range: std::ops::Range<i64>) -> Closed {
    let records = range.clone().map(|n| assessed(verdict(&format!("claim {n}"), n))).collect();
    close(records, range.map(|n| call(&format!("claim {n}"))).collect())
}

async fn fatal(store: &impl Store, batch: &Closed) -> String {
    match store.record(batch).await {
        Err(StoreError::Fatal(said)) => said,
        other => panic!("{other:?}"),
    }
}

async fn counts(database: &TestDatabase) -> [i64; 3] {
    [
        database.number("select count(*) from verdicts").await,
        database.number("select count(*) from risk_calls").await,
        database.number("select count(*) from dead_letters").await,
    ]
}

#[tokio::test]
async fn a_table_that_refuses_all_rows_ends_the_worker_without_loss() {
    let cost = "alter table verdicts add column cost int not null default 0; alter table verdicts \
        alter cost drop default";
    let raise = "create function refuse() returns trigger language plpgsql
        as $$ begin raise exception 'audited away'; end $$;
        create trigger t before insert on verdicts for each row execute function refuse()";
    for (harm, part) in [(cost, "\"cost\""), (raise, "audited away")] {
        for size in [1, 100] {
            with_database(async |database| {
                let store = database.store().await;
                store.record(&claims(1_000..1_001)).await.expect("all is well");
                database.execute(harm).await;
                let said = fatal(&store, &claims(0..size)).await;
                assert!(said.contains(part) && said.contains("the fault is the table's"), "{said}");
                assert_eq!(
                    counts(database).await,
                    [1, 1 + size, 0],
                    "every answer is kept, and no claim pays for it"
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn many_rows_refused_for_one_reason_are_a_fault_of_the_table() {
    with_database(async |database| {
        database
            .execute("alter table verdicts add constraint odd check (source_offset % 10 <> 3)")
            .await;
        let store = database.store().await;
        let batch = claims(0..100);
        let said = fatal(&store, &batch).await;
        assert!(said.contains("odd") && said.contains("more than 3 rows"), "{said}");
        assert_eq!(
            database.number("select count(*) from dead_letters").await,
            0,
            "no claim pays for it"
        );
        // The same again, after a restart, and once the table is mended.
        fatal(&database.store().await, &batch).await;
        database.execute("alter table verdicts drop constraint odd").await;
        store.record(&batch).await.expect("mended");
        assert_eq!(counts(database).await, [100, 100, 0]);
    })
    .await;
}

#[tokio::test]
async fn no_verdict_is_written_without_its_answer() {
    with_database(async |database| {
        let store = database.store().await;
        database.execute("alter table risk_calls add column cost int not null").await;
        for size in [1, 2, 100] {
            let said = fatal(&store, &claims(0..size)).await;
            assert!(said.contains("cost"), "{said}");
            assert_eq!(counts(database).await, [0, 0, 0]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_verdict_waits_for_its_attempts() {
    with_database(async |database| {
        database
            .execute("alter table risk_calls add constraint odd check (claim_id not like 'odd%')")
            .await;
        let store = database.store().await;
        let attempt = |claim_id: &str| Call { claim_id: claim_id.to_owned(), ..call(claim_id) };
        // The attempt comes first, the end of its claim in a later batch.
        let first = close(vec![], vec![attempt("odd 1"), attempt("odd 2"), attempt("even")]);
        assert_eq!(record(&store, &first).await, []);
        let deferral = Deferral {
            unseen: 0,
            code: None,
            times: 1,
            first: 0,
            api: "intelligent_qr_code".to_owned(),
            since: 0,
            not_before: 0,
            attempts: 1,
            // The builder takes it for the claim's id.
            reason: "odd 2".to_owned(),
            source: Source { topic: "reward.claims".to_owned(), partition: 3, offset: 2 },
            traceparent: String::new(),
        };
        let batch =
            || close(vec![assessed(verdict("odd 1", 1)), assessed(verdict("even", 3))], vec![]);
        let (one, again) = (batch(), batch());
        let deferred = close(vec![(event(2), RecordOutcome::Deferred(deferral))], vec![]);
        for batch in [one, deferred] {
            let ends = record(&store, &batch).await;
            let [
                (
                    0,
                    RecordOutcome::DeadLettered(DeadLetterReason {
                        error: EventError::Unrecordable,
                        detail,
                        ..
                    }),
                ),
            ] = ends.as_slice()
            else {
                panic!("{ends:?}")
            };
            assert!(detail.contains("refuses the attempt") && detail.contains("odd"), "{detail}");
        }
        assert_eq!(
            counts(database).await,
            [1, 1, 2],
            "no verdict rests on an answer that is not kept"
        );
        // The operator repairs the table and replays the letter: the claim is assessed again, and
        // decided.
        database.execute("alter table risk_calls drop constraint odd").await;
        let ends = record(&store, &again).await;
        assert_eq!(ends, [(1, RecordOutcome::Recalled(Box::new(verdict("even", 3))))]);
        assert_eq!(counts(database).await, [2, 1, 2]);
    })
    .await;
}
