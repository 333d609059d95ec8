//! The settings of a connection, and the check of the worker's rights before a claim depends on
//! them.

use std::time::Duration;

use claimgate::outbox::postgres::Settings;
use claimgate::outbox::{Store, StoreError};

use super::build::{assessed, call, close, malformed, verdict};
use super::pooler::{Mode, pooler};
use super::roles::{store_as, with_roles};
use super::{Inspect, with_database};

/// What a session holds, as a row that it inserts has it.
const HELD: &str = "alter table dead_letters add column held text default
    concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout'), current_setting('default_transaction_isolation'),
        current_setting('synchronous_commit'), current_setting('plan_cache_mode'), current_setting('timezone'))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_settings_hold_behind_a_pooler() {
    for mode in [Mode::Refuses, Mode::Ignores] {
        with_database(async |database| {
            database.execute(HELD).await;
            let name = database.pool.connect_options().get_database().expect("a name").to_owned();
            database
                .execute(format!(
                    "alter database {name} set synchronous_commit = off;
                    alter database {name} set default_transaction_isolation = serializable"
                ))
                .await;
            let url = pooler(database, mode).await;
            let settings =
                Settings { statement_timeout: Duration::from_secs(4), ..Settings::at(url) };
            let store = database.store_with(settings).await;
            store.store.check_rights().await.expect("it pools sessions");
            store.record(&close(vec![malformed(1)], vec![])).await.expect("recorded");
            let held: String = sqlx::query_scalar("select held from dead_letters")
                .fetch_one(&database.pool)
                .await
                .expect("the row");
            assert_eq!(held, "4s 3s 4s read committed on force_generic_plan UTC", "{mode:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_pooler_is_refused() {
    with_database(async |database| {
        let url = pooler(database, Mode::Shares).await;
        let store = database.store_with(Settings::at(url)).await;
        let error = store.store.check_rights().await;
        let Err(StoreError::Fatal(said)) = error else { panic!("{error:?}") };
        assert!(said.contains("use session pooling"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_is_named_before_the_first_claim() {
    with_roles(async |database, worker, _| {
        let store = store_as(database, worker).await;
        store.check_rights().await.expect("the documented rights are enough");
        for (right, on) in [
            ("insert", "claim_events"),
            ("select", "claim_events"),
            ("insert", "risk_calls"),
            ("insert", "verdicts"),
            ("select", "verdicts"),
            ("insert", "dead_letters"),
            ("select", "dead_letters"),
            ("select", "risk_calls"),
            ("insert", "seals"),
            ("select", "seals"),
            ("insert", "shadow_decisions"),
            ("select", "masked_claims"),
            ("select", "masked_steps"),
            ("usage", "sequence seals_id_seq"),
            ("execute", "function claimgate_ensure_partitions(date, int)"),
        ] {
            database.execute(format!("revoke {right} on {on} from {worker}")).await;
            let error = store.check_rights().await;
            let Err(StoreError::Fatal(said)) = error else { panic!("{right} on {on}: {error:?}") };
            assert!(said.contains(&format!("grant {right} on {on} to {worker}")), "{said}");
            assert!(said.contains("docs/audit.md"), "{said}");
            database.execute(format!("grant {right} on {on} to {worker}")).await;
        }
        store.check_rights().await.expect("all is granted again");
    })
    .await;
}

#[tokio::test]
async fn the_check_of_rights_leaves_nothing_behind() {
    with_database(async |database| {
        let store = database.store().await;
        store.store.check_rights().await.expect("all is well");
        for (table, rows) in [
            ("verdicts", 0),
            ("risk_calls", 0),
            ("claim_events", 0),
            ("dead_letters", 0),
            ("seals", 1),
        ] {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            let found: i64 =
                sqlx::query_scalar(sql).fetch_one(&database.pool).await.expect("a count");
            assert_eq!(found, rows, "{table}");
        }
        store
            .record(&close(vec![assessed(verdict("a", 1))], vec![call("a")]))
            .await
            .expect("recorded");
        assert_eq!(store.all_calls().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_table_that_takes_no_row_is_named_before_the_first_claim() {
    let raise = "create function refuse() returns trigger language plpgsql as $$ begin raise \
        exception 'not today'; end $$; ";
    for (table, harm, part) in [
        ("verdicts", "alter table verdicts add column cost int not null".to_owned(), "cost"),
        (
            "claim_events",
            format!(
                "{raise} create trigger t before insert on claim_events execute function refuse()"
            ),
            "not today",
        ),
        (
            "risk_calls",
            "alter table risk_calls add constraint odd check (attempt > 1000)".to_owned(),
            "odd",
        ),
        (
            "dead_letters",
            format!(
                "{raise} create constraint trigger t after insert
                on dead_letters deferrable initially deferred
                for each row execute function refuse()"
            ),
            "not today",
        ),
    ] {
        with_database(async |database| {
            database.execute(harm.clone()).await;
            let error = database.store().await.store.check_rights().await;
            let Err(StoreError::Fatal(said)) = error else { panic!("{harm}: {error:?}") };
            let named = format!("the table {table} refuses an ordinary row");
            assert!(
                said.contains(&named) && said.contains(part) && said.contains("take back"),
                "{said}"
            );
        })
        .await;
    }
}
