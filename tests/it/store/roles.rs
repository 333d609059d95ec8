//! The grants of `docs/audit.md`: enough to work with, and no more.

use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Store, StoreError};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::build::{malformed, seal};
use super::{TestDatabase, with_database};

/// The script of the section "Roles".
fn script() -> &'static str {
    let page = include_str!("../../../docs/audit.md");
    let section = page.split("\n## Roles\n").nth(1).expect("the section is there");
    section.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its script is there")
}

/// A store that acts as one of the script's roles.
pub(crate) async fn store_as(database: &TestDatabase, role: &str) -> PostgresStore {
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options[role]={role}", database.url);
    PostgresStore::connect(&Settings::at(url)).await.expect("the role may connect")
}

pub(crate) async fn denied(database: &TestDatabase, role: &str, sql: &str) {
    let sql = format!("begin; set local role {role}; {sql}; rollback");
    let mut connection = database.pool.acquire().await.expect("a connection");
    let result = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *connection).await;
    sqlx::raw_sql("rollback").execute(&mut *connection).await.expect("rolled back");
    let error = result.expect_err("it must be denied").to_string();
    assert!(error.contains("permission denied") || error.contains("must be owner"), "{sql}: {error}");
}

/// The roles live in the server, not in the database: the test has its own, and removes them.
pub(crate) async fn with_roles(test: impl AsyncFnOnce(&TestDatabase, &str, &str)) {
    with_database(async |database| {
        let may =
            "select count(*) from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)";
        if database.number(may).await == 0 {
            println!("NOT TESTED: this user may not create roles");
            return;
        }
        let suffix = Uuid::new_v4().simple();
        let (worker, auditor) = (format!("claimgate_worker_{suffix}"), format!("claimgate_auditor_{suffix}"));
        let script = script().replace("claimgate_worker", &worker).replace("claimgate_auditor", &auditor);
        // It may be run again.
        database.execute(script.clone()).await;
        database.execute(script).await;
        test(database, &worker, &auditor).await;
        for role in [worker, auditor] {
            database.execute(format!("drop owned by {role}; drop role {role}")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_auditors_role_reads_and_nothing_else() {
    with_roles(async |database, _, auditor| {
        let store = store_as(database, auditor).await;
        assert!(store.recall(vec!["a".to_owned()]).await.expect("it may select").is_empty());
        let error = store.record(&seal(vec![malformed(2)], vec![])).await;
        assert!(matches!(&error, Err(StoreError::Fatal(said)) if said.contains("grants")), "{error:?}");
        denied(database, auditor, "select claimgate_ensure_partitions('2030-01-01', 1)").await;
    })
    .await;
}
