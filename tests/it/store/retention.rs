//! Retention: which command removes evidence, how, and that it blocks no worker.

use std::time::Duration;

use claimgate::audit::Retention;
use claimgate::audit::retention::enforce;
use claimgate::outbox::{Call, Store};
use sqlx::Connection;
use tokio::time::Instant;

use super::build::{NOW, assessed, call, close, malformed, verdict};
use super::{Inspect, with_database};
use crate::lab::{Event, Lab, claim};

const DAY: Duration = Duration::from_secs(86_400);

/// An attempt of September 2001.
fn old() -> Call {
    Call { requested_at: 1_000_000_000_000_000, ..call("a") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_removes_no_evidence() {
    let Some(lab) = Lab::new("keepsevidence").await else { return };
    assert_eq!(lab.claimgate("", &["migrate"]).await.status.code(), Some(0));
    sqlx::raw_sql("select claimgate_ensure_partitions('2001-09-01', 1)")
        .execute(&lab.database)
        .await
        .expect("made");
    lab.produce(&[Event::of(claim("a", "user"))]);
    let retention = "[audit.retention]\nrisk_calls = \"1day\"\nclaim_events = \"1day\"\n\
        dead_letters = \"1day\"";
    let mut worker = lab.worker("w1", retention);
    lab.wait("the decision", Duration::from_secs(60), async || lab.read("decisions").len() == 1)
        .await;
    assert_eq!(worker.stop().await, Some(0));
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert!(!log.contains("ERROR") && !log.contains("retention"), "{log}");
    assert!(log.contains("audit.subject_key is empty"), "{log}");
    let sql = "select count(*) from pg_class where relname in ('risk_calls_y2001m09', \
        'claim_events_y2001m09') and relkind = 'r'";
    let kept: i64 = sqlx::query_scalar(sql).fetch_one(&lab.database).await.expect("a count");
    assert_eq!(kept, 2, "the worker dropped evidence");
    let said = lab.claimgate(retention, &["audit", "retention"]).await;
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("dropped risk_calls_y2001m09"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_behind_an_open_transaction_blocks_no_insert() {
    with_database(async |database| {
        let store = database.store().await;
        database.execute("select claimgate_ensure_partitions('2001-09-01', 1)").await;
        store.record(&close(vec![], vec![old()])).await.expect("recorded");
        // An auditor's question whose transaction stays open.
        let mut auditor = database.pool.acquire().await.expect("a connection");
        let mut transaction = auditor.begin().await.expect("a transaction");
        super::database::execute(&mut transaction, "select count(*) from risk_calls").await;

        let retention = Retention { risk_calls: Some(DAY), ..Retention::default() };
        let dropper = store.clone();
        let drop =
            tokio::spawn(async move { enforce(&dropper.store, &retention, false).await.map(drop) });
        let (started, mut longest) = (Instant::now(), Duration::ZERO);
        while started.elapsed() < Duration::from_secs(4) {
            let before = Instant::now();
            store.record(&close(vec![], vec![call("b")])).await.expect("an insert is not refused");
            longest = longest.max(before.elapsed());
        }
        assert!(!drop.is_finished(), "the auditor's transaction is open still");
        assert!(longest < Duration::from_millis(900), "an insert was held up for {longest:?}");
        transaction.rollback().await.expect("ended");
        drop.await.expect("no panic").expect("dropped, once the auditor has ended");
        assert_eq!(
            database
                .number("select count(*) from pg_class where relname = 'risk_calls_y2001m09'")
                .await,
            0
        );
    })
    .await;
}

/// Two commands find the same partition, and wait for the same lock.
#[tokio::test]
async fn a_partition_that_another_command_dropped_is_no_fault() {
    with_database(async |database| {
        let store = database.store().await;
        database.execute("select claimgate_ensure_partitions('2001-09-01', 1)").await;
        let mut auditor = database.pool.acquire().await.expect("a connection");
        let mut transaction = auditor.begin().await.expect("a transaction");
        super::database::execute(&mut transaction, "select count(*) from risk_calls").await;
        let retention = Retention { risk_calls: Some(DAY), ..Retention::default() };
        let end = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            transaction.rollback().await.expect("ended");
        };
        let (one, other, ()) = tokio::join!(
            enforce(&store.store, &retention, false),
            enforce(&store.store, &retention, false),
            end
        );
        one.expect("dropped, by this command or the other");
        other.expect("dropped, by this command or the other");
    })
    .await;
}

#[tokio::test]
async fn dead_letters_and_the_default_partition_expire_too() {
    with_database(async |database| {
        let store = database.store().await;
        let mut letters = vec![malformed(1), malformed(2)];
        letters[0].0.received_at = 1_000_000_000_000_000;
        // There is no partition for September 2001: the attempts are in the default one, more than
        // one statement deletes.
        let calls = (0..2_500).map(|_| old()).chain([call("kept")]).collect();
        let now = i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).expect("now");
        letters[1].0.received_at = now;
        letters.push(assessed(verdict("a", 3)));
        store.record(&close(letters, calls)).await.expect("recorded");
        let retention =
            Retention { risk_calls: Some(20 * 365 * DAY), dead_letters: Some(20 * 365 * DAY), ..Retention::default() };
        let said = |expired| serde_json::to_value(expired).expect("JSON")["rows"].clone();
        let expected = serde_json::json!([{ "table": "risk_calls_default", "rows": 2_500 }, { "table": "dead_letters", "rows": 1 }]);
        assert_eq!(said(enforce(&store.store, &retention, true).await.expect("counted")), expected);
        assert_eq!(store.all_dead_letters().await.len(), 2, "a dry run deletes nothing");
        assert_eq!(said(enforce(&store.store, &retention, false).await.expect("deleted")), expected);
        assert_eq!(store.all_dead_letters().await.len(), 1);
        assert_eq!(database.number("select count(*) from risk_calls").await, 1);
        assert_eq!(store.all_calls().await[0].requested_at, NOW - 900);
        assert_eq!(database.number("select count(*) from verdicts").await, 1, "verdicts stay");
    })
    .await;
}

/// The journal is kept for ever, and says of each table what was taken from it.
#[tokio::test]
async fn the_journal_says_what_of_a_table_was_past_its_retention() {
    with_database(async |database| {
        let store = database.store().await;
        database.execute("select claimgate_ensure_partitions('2001-09-01', 1)").await;
        let older = Call { requested_at: 900_000_000_000_000, ..call("b") };
        let mut letter = malformed(1);
        letter.0.received_at = NOW;
        store.record(&close(vec![letter], vec![old(), older])).await.expect("recorded");
        let kept = Some(20 * 365 * DAY);
        let retention = Retention {
            risk_calls: kept,
            dead_letters: kept,
            claim_events: kept,
            ..Retention::default()
        };
        enforce(&store.store, &retention, false).await.expect("dropped");
        let journal = "select relation || ': ' || reason from removals order by id";
        let journal: Vec<String> =
            sqlx::query_scalar(journal).fetch_all(&database.pool).await.expect("rows");
        let expected = [
            "risk_calls: older than 7300 days (audit.retention.risk_calls): partition \
             risk_calls_y2001m09, 1 rows of risk_calls_default",
            "claim_events: older than 7300 days (audit.retention.claim_events): partition \
             claim_events_y2001m09",
        ];
        assert_eq!(journal, expected, "nothing of dead_letters was removed");
    })
    .await;
}
