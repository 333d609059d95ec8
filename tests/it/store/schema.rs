//! Migrations and partitions.

use claimgate::audit::Retention;
use claimgate::audit::retention::enforce;
use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Store, StoreError};
use futures::future::join_all;
use sqlx::AssertSqlSafe;

use super::build::{assessed, call, close, malformed, unsealed, verdict};
use super::roles::ANNOUNCE;
use super::{Inspect, TestDatabase, with_database, with_empty_database};

/// Drops every month of the large tables, whatever its age.
pub(crate) const DROP_MONTHS: &str = r"do $$
declare
    name text;
begin
    for name in select relname from pg_class where relname ~ '^(risk_calls|claim_events)_y[0-9]{4}m[0-9]{2}$' and relkind = 'r' loop
        execute format('drop table %I', name);
    end loop;
end
$$";

async fn store(database: &TestDatabase) -> PostgresStore {
    database.store().await.store
}

async fn fatal(result: Result<impl Sized, StoreError>) -> String {
    match result {
        Err(StoreError::Fatal(said)) => said,
        Err(StoreError::Transient(said)) => panic!("transient: {said}"),
        Ok(_) => panic!("no error"),
    }
}

#[tokio::test]
async fn a_missing_schema_is_named_with_its_remedy() {
    with_empty_database(async |database| {
        let store = store(database).await;
        let said = fatal(store.check_schema().await).await;
        assert!(
            said.contains("from 1 verdicts on") && said.contains("run `claimgate migrate`"),
            "{said}"
        );
        // A worker with nothing to look up asks as well, to learn whether the server answers.
        for asked in [vec!["a".to_owned()], vec![]] {
            let said = fatal(store.recall(asked).await).await;
            assert!(
                said.contains("\"verdicts\" does not exist")
                    && said.contains("run `claimgate migrate`"),
                "{said}"
            );
        }

        assert_ne!(store.migrate().await.expect("migrated"), 0);
        store.check_schema().await.expect("whole");
        assert_eq!(store.migrate().await.expect("nothing to do"), 0);
    })
    .await;
}

#[tokio::test]
async fn workers_that_start_at_once_migrate_once() {
    with_empty_database(async |database| {
        let workers: Vec<_> = join_all((0..4).map(|_| store(database))).await;
        for migrated in join_all(workers.iter().map(PostgresStore::migrate)).await {
            migrated.expect("migrated, by this worker or another");
        }
        workers[0].check_schema().await.expect("whole");
    })
    .await;
}

#[tokio::test]
async fn a_migration_with_other_content_is_refused_and_a_newer_one_is_not() {
    with_database(async |database| {
        let store = store(database).await;
        database
            .execute(
                "insert into _sqlx_migrations select 9999, 'newer', now(), true, checksum, 0 from \
                 _sqlx_migrations where version = 1",
            )
            .await;
        store.check_schema().await.expect("a newer schema serves an older worker");
        assert_eq!(store.migrate().await.expect("nothing to do"), 0);
        database.execute("update _sqlx_migrations set checksum = '\\x00' where version = 2").await;
        for said in [fatal(store.check_schema().await).await, fatal(store.migrate().await).await] {
            assert!(said.contains("migration 2 "), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_character_is_refused() {
    with_empty_database(async |database| {
        let name =
            format!("{}_ascii", database.pool.connect_options().get_database().expect("a name"));
        database
            .execute(format!(
                "create database {name} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template \
                 template0"
            ))
            .await;
        let url = format!("{}_ascii", database.url.split('?').next().expect("a URL"));
        let store = PostgresStore::connect(&Settings::at(url)).await.expect("connected");
        let said = fatal(store.migrate().await).await;
        store.close().await;
        database.execute(format!("drop database {name} with (force)")).await;
        assert!(said.contains("UTF8") && said.contains("SQL_ASCII"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_verdict_is_final() {
    with_database(async |database| {
        let store = database.store().await;
        store.record(&close(vec![assessed(verdict("a", 1))], vec![])).await.expect("recorded");
        for change in [
            "update verdicts set decision = 'approve'",
            "delete from verdicts",
            "truncate verdicts",
        ] {
            let error = sqlx::query(change)
                .execute(&database.pool)
                .await
                .expect_err("refused, the owner too");
            assert!(error.to_string().contains("evidence is append-only"), "{change}: {error}");
        }
        let change = "insert into verdicts select * from verdicts on conflict (claim_id) do update \
            set decision = 'approve'";
        sqlx::query(change).execute(&database.pool).await.expect_err("by an upsert neither");
        let known = store.recall(vec!["a".to_owned()]).await.expect("recall").remove("a");
        assert_eq!(known.map(unsealed), Some(verdict("a", 1)));
    })
    .await;
}

/// One trigger for changes and removals of rows, and one for `truncate`; partitions too.
const NOT_GUARDED: &str = "select relname::text from pg_class
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')
        and relname !~ '^_sqlx' and (
            select count(*) from pg_trigger
            where tgrelid = pg_class.oid and tgfoid = 'claimgate_refuse_change'::regproc
                and ((tgtype & 25) = 25 or (tgtype & 32) = 32)) <> 2";

#[tokio::test]
async fn every_table_only_grows() {
    with_database(async |database| {
        let names: Vec<String> =
            sqlx::query_scalar(NOT_GUARDED).fetch_all(&database.pool).await.expect("names");
        assert_eq!(names, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn partitions_are_made_once_by_however_many_workers() {
    with_database(async |database| {
        let before = database.number("select count(*) from pg_inherits").await;
        assert_eq!(
            before,
            (2 + 8) * (4 + 1),
            "two tables with four months and a default each, and eight indexes of these"
        );
        let stores: Vec<_> = join_all((0..4).map(|_| store(database))).await;
        database.execute("drop table risk_calls_default cascade").await;
        database.execute("create table risk_calls_default partition of risk_calls default").await;
        database.execute(DROP_MONTHS).await;
        let mut made = Vec::new();
        for names in join_all(stores.iter().map(PostgresStore::ensure_partitions)).await {
            made.extend(names.expect("no worker fails"));
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 8, "each was made by one worker: {made:?}");
        assert!(stores[0].ensure_partitions().await.expect("again").is_empty());
    })
    .await;
}

/// Any login of the database may hold any advisory lock.
#[tokio::test]
async fn a_login_that_holds_advisory_locks_stops_no_upkeep() {
    with_database(async |database| {
        let store = store(database).await;
        database.execute(DROP_MONTHS).await;
        let mut holder = database.pool.acquire().await.expect("a connection");
        let hold = "select pg_advisory_lock(hashtextextended(name, 0))
            from (values ('claimgate partitions'), ('claimgate decision counts')) as locks (name)";
        sqlx::query(hold).execute(&mut *holder).await.expect("held");
        assert_eq!(store.ensure_partitions().await.expect("made").len(), 8);
        assert!(store.count_decisions().await.expect("counted").is_some());
        sqlx::query("select pg_advisory_unlock_all()").execute(&mut *holder).await.expect("free");
    })
    .await;
}

#[tokio::test]
async fn the_vacuum_of_a_partition_stops_no_upkeep() {
    with_database(async |database| {
        let store = store(database).await;
        let mut vacuum = database.pool.begin().await.expect("a transaction");
        let lock = "lock table risk_calls_default in share update exclusive mode";
        sqlx::query(lock).execute(&mut *vacuum).await.expect("as a vacuum does");
        assert!(store.ensure_partitions().await.expect("it does not wait").is_empty());
        vacuum.rollback().await.expect("ended");
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_the_lock_of_migrations_ends_and_names_it() {
    with_empty_database(async |database| {
        let mut holder = database.pool.acquire().await.expect("a connection");
        sqlx::migrate::Migrate::lock(&mut *holder).await.expect("held");
        let statement_timeout = std::time::Duration::from_millis(300);
        let settings = Settings { statement_timeout, ..Settings::at(database.url.clone()) };
        let store = PostgresStore::connect(&settings).await.expect("connected");
        match store.migrate().await {
            Err(StoreError::Transient(said)) if said.contains("pg_locks") => {}
            other => panic!("{other:?}"),
        }
        sqlx::migrate::Migrate::unlock(&mut *holder).await.expect("free");
    })
    .await;
}

#[tokio::test]
async fn rows_go_to_their_month_or_the_default_partition() {
    with_database(async |database| {
        let store = database.store().await;
        let at = |seconds: i64| {
            let mut attempt = call("a");
            attempt.requested_at = seconds * 1_000_000;
            attempt
        };
        // 2001-09-09 has no partition; then one is asked for, in vain: it is not made, and nothing
        // fails.
        store.record(&close(vec![], vec![at(1_000_000_000)])).await.expect("recorded");
        assert_eq!(database.number("select count(*) from risk_calls_default").await, 1);
        database.execute("select claimgate_ensure_partitions('2001-08-31', 3)").await;
        let made = "select count(*) from pg_class where relname in ('risk_calls_y2001m08',
            'risk_calls_y2001m09', 'risk_calls_y2001m10')
            and relkind = 'r'";
        assert_eq!(database.number(made).await, 2);
        // The last microsecond of August, in UTC whatever the session's zone; more of September;
        // the first one of October.
        let edge = |seconds: i64, micros: i64| {
            let mut attempt = at(seconds);
            attempt.requested_at += micros;
            attempt
        };
        let calls = vec![edge(999_302_400, -1), at(999_302_400), at(1_001_894_400)];
        store.record(&close(vec![], calls)).await.expect("recorded");
        assert_eq!(database.number("select count(*) from risk_calls_y2001m08").await, 1);
        assert_eq!(database.number("select count(*) from risk_calls_default").await, 2);
        assert_eq!(database.number("select count(*) from risk_calls_y2001m10").await, 1);
        assert_eq!(store.all_calls().await.len(), 4);

        let since = time::OffsetDateTime::now_utc() - time::macros::datetime!(2001-09-30 0:00 UTC);
        let retention = Retention { risk_calls: since.try_into().ok(), ..Retention::default() };
        enforce(&store.store, &retention, false).await.expect("the owner may");
        assert_eq!(
            store.all_calls().await.len(),
            1,
            "August went as a table, September from the default; October stays"
        );
    })
    .await;
}

/// Values that commands cannot read, so that they would also fail for the rows beside them. A
/// worker's login can add rows, and no login can remove one.
const HARMFUL: [(&str, &str, &[&str]); 15] = [
    ("verdicts", "decided_at", &NO_TIMES),
    ("verdicts", "recorded_at", &NO_TIMES),
    ("verdicts", "reasons", &NO_LISTS),
    ("verdicts", "reasons", &NO_REASONS),
    ("verdicts", "attempts", &["-1"]),
    ("verdicts", "risk_types", &["'[null]'::jsonb"]),
    ("risk_calls", "attempt", &["-1"]),
    ("risk_calls", "requested_at", &NO_TIMES),
    ("claim_events", "received_at", &NO_TIMES),
    ("dead_letters", "received_at", &NO_TIMES),
    ("dead_letters", "recorded_at", &NO_TIMES),
    ("dead_letters", "headers", &NO_LISTS),
    ("policies", "first_used_at", &NO_TIMES),
    ("dead_letter_replays", "announced_at", &NO_TIMES),
    ("revisions", "revised_at", &NO_TIMES),
];
const NO_TIMES: [&str; 4] = ["'infinity'", "'-infinity'", "'20000-01-01'", "'0001-01-01 00:00+00'"];
const NO_LISTS: [&str; 2] = ["'{}'::jsonb", "'1'::jsonb"];
const NO_REASONS: [&str; 9] = [
    "'[1]'::jsonb",
    "'[{}]'::jsonb",
    r#"'[[{"code": "level"}]]'::jsonb"#,
    r#"'[{"code": "level"}, {"code": 1}]'::jsonb"#,
    r#"'[{"code": "level", "value": "1"}]'::jsonb"#,
    r#"'[{"code": "level", "value": 1.0}]'::jsonb"#,
    r#"'[{"code": "level", "value": 9223372036854775808}]'::jsonb"#,
    r#"'[{"code": "level", "name": 1}]'::jsonb"#,
    r#"'[{"code": "level", "group": ["a"]}]'::jsonb"#,
];
/// Arrays of which the first element is not the one with the number 1, which no client reads.
const ODD_ARRAY: &str = "set session_replication_role = replica;
    update verdicts set risk_types = '[0:0]={1}'";

#[tokio::test]
async fn values_that_would_stop_every_question_are_refused() {
    with_database(async |database| {
        let records = vec![assessed(verdict("a", 1)), malformed(2)];
        let store = store(database).await;
        store.record(&close(records, vec![call("a")])).await.expect("recorded");
        for row in [
            "insert into policies select 'sha256:' || encode(sha256('x'), 'hex'), 'x', 'to_decide'",
            "insert into revisions values ('a', 1, 'approve', 'review', 'ann', 'seen')",
            ANNOUNCE,
        ] {
            database.execute(row).await;
        }
        for (table, column, values) in HARMFUL {
            for value in values {
                let insert = format!(
                    "insert into {table} select (jsonb_populate_record({table},
                        jsonb_build_object('{column}', {value}))).* from {table}"
                );
                let inserted = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&database.pool).await;
                let error = inserted.expect_err("it must be refused").to_string();
                assert!(error.contains("violates check"), "{table}.{column} {value}: {error}");
            }
        }
        let error = sqlx::raw_sql(ODD_ARRAY).execute(&database.pool).await.expect_err("refused");
        assert!(error.to_string().contains("verdicts_risk_types_check"), "{error}");
    })
    .await;
}
