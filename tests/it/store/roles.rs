//! The roles of `claimgate migrate --roles`: enough to work with, and no more.

use std::collections::BTreeSet;

use claimgate::outbox::postgres::{PostgresStore, ROLES, Settings};
use claimgate::outbox::{Store, StoreError};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::build::{close, malformed};
use super::database::execute;
use super::questions::claimgate;
use super::{TestDatabase, with_database};

/// A store that acts as one of the script's roles.
pub(crate) async fn store_as(database: &TestDatabase, role: &str) -> PostgresStore {
    PostgresStore::connect(&Settings::at(url_as(database, role)))
        .await
        .expect("the role may connect")
}

fn url_as(database: &TestDatabase, role: &str) -> String {
    let separator = if database.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}options[role]={role}", database.url)
}

pub(crate) async fn denied(database: &TestDatabase, role: &str, sql: &str) {
    let sql = format!("begin; set local role {role}; {sql}; rollback");
    let mut connection = database.pool.acquire().await.expect("a connection");
    let result = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *connection).await;
    sqlx::raw_sql("rollback").execute(&mut *connection).await.expect("rolled back");
    let error = result.expect_err("it must be denied").to_string();
    assert!(
        error.contains("permission denied") || error.contains("must be owner"),
        "{sql}: {error}"
    );
}

/// The roles live in the server, not in the database: the test has its own, and removes them.
pub(crate) async fn with_roles(test: impl AsyncFnOnce(&TestDatabase, &str, &str)) {
    with_database(async |database| {
        let may = "select count(*) from pg_roles where rolname = current_user and (rolsuper or \
             rolcreaterole)";
        if database.number(may).await == 0 {
            println!("NOT TESTED: this user may not create roles");
            return;
        }
        let suffix = Uuid::new_v4().simple();
        let kinds = ["owner", "worker", "auditor", "operator", "reviewer", "analyst"];
        let mut script = ROLES.to_owned();
        for kind in kinds {
            let name = format!("claimgate_{kind}");
            script = script.replace(&name, &format!("{name}_{suffix}"));
        }
        // As servers before version 15 have it.
        database.execute("grant create on schema public to public").await;
        database.execute(script.clone()).await;
        // It may be run again, also while somebody reads a table for long.
        let mut reader = database.pool.begin().await.expect("a transaction");
        execute(&mut reader, "select from verdicts").await;
        database.execute(format!("set lock_timeout = '5s'; {script} reset lock_timeout")).await;
        reader.rollback().await.expect("it has read");
        let names = kinds.map(|kind| format!("claimgate_{kind}_{suffix}"));
        let [_, worker, auditor, operator, reviewer, analyst] = &names;
        the_server_says_when_and_by_which_login(database, [worker, operator, reviewer]).await;
        test(database, worker, auditor).await;
        the_operators_role_adds_replays_and_nothing_else(database, operator).await;
        the_workers_role_reads_what_its_page_shows(database, worker).await;
        the_workers_role_has_the_next_months_made_alone(database, worker).await;
        the_auditors_role_reads_masked_views(database, auditor).await;
        the_analysts_role_reads_masked_views_alone(database, analyst).await;
        for role in [worker, auditor, operator, reviewer, analyst] {
            no_role_touches_what_keeps_evidence(database, role).await;
        }
        for role in names.iter().rev() {
            database.execute(format!("drop owned by {role}; drop role {role}")).await;
        }
    })
    .await;
}

/// What is evidence.
const EVIDENCE: [&str; 12] = [
    "verdicts",
    "policies",
    "subject_keys",
    "republications",
    "risk_calls",
    "claim_events",
    "dead_letters",
    "token_exchanges",
    "seals",
    "shadow_decisions",
    "dead_letter_replays",
    "dead_letter_replay_places",
];

/// On every database that the script ran on.
async fn no_role_touches_what_keeps_evidence(database: &TestDatabase, role: &str) {
    for table in EVIDENCE {
        for change in [
            "delete from {}",
            "truncate {}",
            "drop table {} cascade",
            "alter table {} disable trigger all",
            "create trigger t before insert on {} for each row execute function \
             claimgate_refuse_change()",
        ] {
            denied(database, role, &change.replace("{}", table)).await;
        }
    }
    for change in [
        "set session_replication_role = replica",
        "set local claimgate.retention = 'on'; delete from dead_letters",
        "alter function claimgate_refuse_change() owner to current_user",
        "drop function claimgate_refuse_change() cascade",
        "create or replace function claimgate_refuse_change() returns trigger language plpgsql
            as $$ begin return old; end $$",
        "update risk_calls_default set attempt = 9",
        // What the owner's functions wait for.
        "lock table risk_calls in share update exclusive mode",
        "lock table decision_counts in share update exclusive mode",
        // The owner's functions would call it, because it fits better than the server's own.
        "create function format(text, text, text) returns text language sql return $1",
    ] {
        denied(database, role, change).await;
    }
}

pub(crate) const ANNOUNCE: &str = "insert into dead_letter_replays (source_topic,
    source_partition, source_offset, content, number, replayed_by, reason)
    values ('t', 0, 1, '00', 1, 'ann', 'because')";

/// On every database that the script ran on, because it costs little.
async fn the_operators_role_adds_replays_and_nothing_else(database: &TestDatabase, operator: &str) {
    let place = "insert into dead_letter_replay_places (
        source_topic, source_partition, source_offset, content, number, place_topic,
            place_partition, place_offset, recorded_by)
        values ('t', 0, 1, '00', 1, 't', 0, 2, 'ann')";
    database
        .execute(format!("begin; set local role {operator}; {ANNOUNCE}; {place}; commit"))
        .await;
    for sql in ["select from verdicts", "select from claim_events", "select from risk_calls"] {
        denied(database, operator, sql).await;
    }
    for table in ["dead_letters", "dead_letter_replays", "dead_letter_replay_places"] {
        for change in ["update {} set source_topic = 'b'", "delete from {}", "truncate {}"] {
            denied(database, operator, &change.replace("{}", table)).await;
        }
    }
    denied(database, operator, "insert into dead_letters select * from dead_letters").await;
    // Nor does the owner rewrite what was replayed, and nobody replays without a name.
    for sql in [
        "update dead_letter_replays set replayed_by = 'bob'",
        "delete from dead_letter_replay_places",
        "truncate dead_letter_replays cascade",
        &ANNOUNCE.replace("'ann'", "' '"),
        &ANNOUNCE.replace("'ann'", "null"),
        &ANNOUNCE.replace("'because'", "''"),
        ANNOUNCE,
    ] {
        let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&database.pool).await;
        let error = result.expect_err("it must be refused").to_string();
        let refused =
            ["evidence is append-only", "violates check", "violates not-null", "violates unique"];
        assert!(refused.iter().any(|refusal| error.contains(refusal)), "{sql}: {error}");
    }
}

/// Who adds a row says neither when that was nor with which login.
async fn the_server_says_when_and_by_which_login(
    database: &TestDatabase,
    [worker, operator, reviewer]: [&str; 3],
) {
    for (role, table, column) in [
        (worker, "verdicts", "recorded_at"),
        (worker, "dead_letters", "recorded_at"),
        (worker, "policies", "first_used_at"),
        (worker, "subject_keys", "first_used_at"),
        (operator, "dead_letter_replays", "announced_at"),
        (operator, "dead_letter_replays", "role"),
        (operator, "dead_letter_replay_places", "recorded_at"),
        (reviewer, "revisions", "revised_at"),
        (reviewer, "revisions", "role"),
        (reviewer, "revision_places", "recorded_at"),
        (reviewer, "republications", "announced_at"),
        (reviewer, "republications", "role"),
    ] {
        denied(database, role, &format!("insert into {table} ({column}) values (default)")).await;
    }
    let revise = "insert into revisions (claim_id, revision, decision, instead_of, revised_by,
        reason) values ('revised', 1, 'approve', 'review', 'ann', 'seen')";
    database.execute(format!("begin; set local role {reviewer}; {revise}; commit")).await;
    let by_login = "select count(*) from revisions where role = session_user";
    assert_eq!(database.number(by_login).await, 1);
}

async fn the_workers_role_reads_what_its_page_shows(database: &TestDatabase, worker: &str) {
    for view in ["masked_claims", "masked_steps"] {
        let select = format!("begin; set local role {worker}; select * from {view}; rollback");
        database.execute(select).await;
    }
    for relation in ["masked_calls", "masked_dead_letters", "decision_counts", "removals"] {
        denied(database, worker, &format!("select from {relation}")).await;
    }
}

async fn the_workers_role_has_the_next_months_made_alone(database: &TestDatabase, worker: &str) {
    let months =
        |first: &str, months| format!("select claimgate_ensure_partitions({first}, {months})");
    for allowed in [months("current_date", 4), months("current_date + 20", 12)] {
        let allowed = format!("begin; set local role {worker}; {allowed}; rollback");
        database.execute(allowed).await;
    }
    for (first, number) in [("'2001-09-01'", 1), ("'3001-09-01'", 1), ("current_date", 13)] {
        denied(database, worker, &months(first, number)).await;
    }
}

async fn the_auditors_role_reads_masked_views(database: &TestDatabase, auditor: &str) {
    for view in ["masked_claims", "masked_calls", "masked_steps", "masked_dead_letters"] {
        let select = format!("begin; set local role {auditor}; select * from {view}; rollback");
        database.execute(select).await;
    }
}

async fn the_analysts_role_reads_masked_views_alone(database: &TestDatabase, analyst: &str) {
    for view in [
        "masked_claims",
        "masked_calls",
        "masked_steps",
        "masked_dead_letters",
        "decision_counts",
        "shadow_decisions",
    ] {
        let select = format!("begin; set local role {analyst}; select * from {view}; rollback");
        database.execute(select).await;
    }
    for table in ["verdicts", "claim_events", "risk_calls", "dead_letters", "token_exchanges"] {
        denied(database, analyst, &format!("select from {table}")).await;
    }
    denied(database, analyst, "delete from masked_calls").await;
}

#[tokio::test]
async fn the_auditors_role_reads_and_nothing_else() {
    with_roles(async |database, _, auditor| {
        let store = store_as(database, auditor).await;
        assert!(store.recall(vec!["a".to_owned()]).await.expect("it may select").is_empty());
        assert!(!store.is_owner().await.expect("it may ask"));
        assert!(database.store().await.store.is_owner().await.expect("it may ask"));
        let error = store.record(&close(vec![malformed(2)], vec![])).await;
        assert!(
            matches!(&error, Err(StoreError::Fatal(said)) if said.contains("grants")),
            "{error:?}"
        );
        denied(database, auditor, "select claimgate_ensure_partitions('2030-01-01', 1)").await;
        denied(database, auditor, ANNOUNCE).await;
    })
    .await;
}

#[tokio::test]
async fn evidence_readers_may_list_expired_rows() {
    use claimgate::audit::{Retention, retention::enforce};
    with_roles(async |database, worker, auditor| {
        let kept = Some(std::time::Duration::from_secs(86_400));
        let retention = Retention {
            risk_calls: kept,
            claim_events: kept,
            dead_letters: kept,
            shadow_decisions: kept,
        };
        for role in [worker, auditor] {
            let store = store_as(database, role).await;
            enforce(&store, &retention, true).await.map(drop).expect("it may count");
        }
    })
    .await;
}

/// On a worker's host and in its pod there is no other login. `audit deferred` asks Kafka.
#[tokio::test]
async fn the_workers_login_suffices_for_what_the_runbook_looks_at() {
    let runbook = include_str!("../../../docs/runbook.md");
    let texts = runbook.split(['`', '\n']).map(str::trim);
    let commands = texts.filter_map(|text| text.strip_prefix("claimgate "));
    let asks_postgres = |line: &&str| {
        ["audit ", "dead-letters "].iter().any(|command| line.starts_with(command))
            && *line != "audit deferred"
    };
    let commands: BTreeSet<&str> = commands.filter(asks_postgres).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    with_roles(async |database, worker, _| {
        let url = url_as(database, worker);
        for line in commands {
            let (code, _, error) = claimgate(&url, "", line).await;
            assert!(matches!(code, Some(0 | 3)), "{line}: {error}");
        }
    })
    .await;
}
