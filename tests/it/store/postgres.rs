//! What only a database can do to a store: refuse rows, hold locks, go away, fall silent.

use std::time::Duration;

use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Store, StoreError};
use sqlx::Connection;

use super::build::{assessed, call, close, malformed, record, unsealed, verdict};
use super::{TestDatabase, with_database};
use crate::proxy::Proxy;

/// Short bounds, so that a test that meets one is short.
fn impatient(url: &str) -> Settings {
    Settings {
        statement_timeout: Duration::from_millis(200),
        max_connections: 1,
        ..Settings::at(url)
    }
}

#[tokio::test]
async fn a_schema_that_is_not_whole_is_fatal_and_says_what_to_do() {
    for (harm, remedy) in [
        ("drop table dead_letters cascade", "claimgate migrate"),
        ("drop table risk_calls_default", "default partition"),
        ("alter table verdicts rename column trace_id to other", "claimgate migrate"),
    ] {
        with_database(async |database| {
            let store = database.store().await;
            database.execute(harm).await;
            let mut attempt = call("a");
            attempt.requested_at = 0;
            let error = store
                .record(&close(vec![assessed(verdict("a", 1)), malformed(2)], vec![attempt]))
                .await;
            let Err(StoreError::Fatal(said)) = error else { panic!("{harm}: {error:?}") };
            assert!(said.starts_with("PostgreSQL at ") && said.contains(remedy), "{harm}: {said}");
            assert_eq!(
                database.number("select count(*) from verdicts").await,
                0,
                "{harm}: nothing is half recorded"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_waited_for_within_bounds() {
    with_database(async |database| {
        let store = database.store_with(impatient(&database.url)).await;
        let mut other = database.pool.acquire().await.expect("a connection");
        let mut transaction = other.begin().await.expect("a transaction");
        // Somebody else's insert of the same claim, which is not committed.
        super::database::execute(
            &mut transaction,
            "insert into verdicts select 'a', 'k', 'a', 's', 'approve', 0, '{}', '[]', 0, 'p', 1,
                null, now(), now(), 't', 0, 0, '', '',
                sha256('x')",
        )
        .await;
        let batch = close(vec![assessed(verdict("a", 1))], vec![]);
        let error = store.record(&batch).await;
        let Err(StoreError::Transient(said)) = error else { panic!("{error:?}") };
        assert!(said.contains("55P03"), "the lock is named: {said}");
        transaction.rollback().await.expect("rolled back");
        assert_eq!(record(&store, &batch).await, []);
    })
    .await;
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced() {
    with_database(async |database| {
        let store = database.store().await;
        let ours = "application_name = 'claimgate' and datname = current_database()";
        database
            .execute(format!("select pg_terminate_backend(pid) from pg_stat_activity where {ours}"))
            .await;
        let batch = close(vec![assessed(verdict("a", 1))], vec![]);
        // The first to use a connection that was just ended finds out; nobody after it does.
        let error = store.record(&batch).await;
        assert!(matches!(error, Err(StoreError::Transient(_))), "{error:?}");
        assert_eq!(record(&store, &batch).await, []);
    })
    .await;
}

#[tokio::test]
async fn the_connection_to_a_silent_peer_is_released() {
    with_database(async |database| {
        let (proxy, url) = proxied(database).await;
        let store = database.store_with(impatient(&url)).await;
        let batch = close(vec![assessed(verdict("a", 1))], vec![]);
        store.record(&close(vec![malformed(2)], vec![])).await.expect("the network works");
        proxy.forget_connections();
        let error = store.record(&batch).await;
        let Err(StoreError::Transient(said)) = error else { panic!("{error:?}") };
        assert!(said.contains("no answer within 400 ms"), "{said}");
        assert_eq!(record(&store, &batch).await, []);
        let known = store.recall(vec!["a".to_owned()]).await.expect("recall");
        assert_eq!(unsealed(known["a"].clone()), verdict("a", 1));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_recording_leaves_nothing_behind() {
    with_database(async |database| {
        let store = database
            .store_with(Settings { max_connections: 1, ..Settings::at(database.url.clone()) })
            .await;
        let mut other = database.pool.acquire().await.expect("a connection");
        let mut transaction = other.begin().await.expect("a transaction");
        super::database::execute(&mut transaction, "lock table dead_letters").await;
        let batch = close(vec![assessed(verdict("a", 1)), malformed(2)], vec![]);
        let cancelled =
            tokio::time::timeout(Duration::from_millis(100), store.record(&batch)).await;
        assert!(cancelled.is_err(), "it waits for the lock");
        transaction.rollback().await.expect("rolled back");
        assert!(
            store
                .recall(vec!["a".to_owned()])
                .await
                .expect("the only connection is free again")
                .is_empty()
        );
        assert_eq!(record(&store, &batch).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_the_password() {
    with_database(async |database| {
        let (_, url) = proxied(database).await;
        let nowhere = "postgres://claimgate:hunter2@127.0.0.1:1/claims".to_owned();
        let unknown = url.replace("@", ":hunter2@").rsplit_once('/').expect("a path").0.to_owned()
            + "/nowhere";
        for (url, fatal, part) in
            [(nowhere, false, "127.0.0.1:1/claims"), (unknown, true, "create it")]
        {
            let settings =
                Settings { connect_timeout: Duration::from_millis(200), ..Settings::at(url) };
            let error = PostgresStore::connect(&settings).await.expect_err("there is none");
            assert_eq!(matches!(error, StoreError::Fatal(_)), fatal, "{error}");
            let said = error.to_string();
            assert!(said.contains(part) && !said.contains("hunter2"), "{said}");
        }
    })
    .await;
}

/// A proxy before the test's database, and the URL that leads through it.
async fn proxied(database: &TestDatabase) -> (Proxy, String) {
    let options = database.pool.connect_options();
    let proxy = Proxy::before(format!("{}:{}", options.get_host(), options.get_port())).await;
    let database = options.get_database().expect("a database");
    let url = format!(
        "postgres://{}@{}/{database}?sslmode=disable",
        options.get_username(),
        proxy.address
    );
    (proxy, url)
}
