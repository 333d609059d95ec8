//! Postgres: its connections, its errors, the rights of the worker.

use std::time::Duration;

use claimgate::audit::{Retention, retention};
use claimgate::outbox::{Store, StoreError};
use claimgate_simulator::{Api, Latency};

use crate::lab::{Event, Lab, answers_after, claim, services};
use crate::oracle::{Expected, outcome};
use crate::outages::World;
use crate::proxy::Proxy;
use crate::store::build::{assessed, call, close, malformed, record, verdict};
use crate::store::roles::{ANNOUNCE, denied, store_as, with_roles};
use crate::store::schema::DROP_MONTHS;

const LONG: Duration = Duration::from_secs(60);

/// Two connections serve a thousand calls at once, because no call holds one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_are_enough_for_a_thousand_calls() {
    let options = answers_after(Latency::Fixed(1_500.0));
    let Some(lab) = Lab::with("pool", options).await else { return };
    let mut expected = Expected::default();
    expected.claims.extend((0..2_500).map(|number| format!("clm-{number}")));
    let event = |id: &String| Event::of(claim(id, &format!("user-{id}")));
    lab.produce(&expected.claims.iter().map(event).collect::<Vec<_>>());
    let more = "[postgres]\nmax_connections = 2\n[risk.intelligent_qr_code]\nconcurrency = 1000\n\
        timeout = \"10s\"";
    let mut worker = lab.worker("w1", more);
    let mut most = 0;
    lab.wait("every claim decided", LONG, async || {
        let connections: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where application_name = 'claimgate' and \
             datname = current_database()",
        )
        .fetch_one(&lab.database)
        .await
        .expect("a number");
        most = most.max(connections);
        expected.is_complete(&outcome(&lab))
    })
    .await;
    assert_eq!(worker.stop().await, Some(0));
    let calls = lab.simulator.calls().totals()[&Api::IntelligentQrCode].peak_in_flight;
    println!("{calls} calls at once, {most} connections");
    assert!(calls >= 900 && (1..=2).contains(&most), "{calls} calls at once, {most} connections");
    expected.verify(&lab).await;
}

/// All connections fall silent for ever, again and again: the pool loses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_replaced() {
    let Some((kafka, postgres)) = services() else { return };
    let server =
        postgres.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host and port");
    let proxy = Proxy::before(server.to_owned()).await;
    let through = |lab: &Lab| {
        let url = lab.postgres.replace(server, &proxy.address.to_string());
        format!(
            "[postgres]\nurl = \"{url}\"\nmax_connections = 2\nstatement_timeout = \"500ms\"\n\
            connect_timeout = \"1s\""
        )
    };
    let mut world = World::at("forgotten", kafka, postgres.clone(), through).await;
    for _ in 0..5 {
        world.produce(300);
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.forget_connections();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    world.finish().await;
}

/// Serialisation, deadlock, a server that became a standby: the whole batch is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_database_errors_are_retried() {
    let Some((kafka, postgres)) = services() else { return };
    let mut world = World::at("passing", kafka, postgres, |_| String::new()).await;
    let faults = "
        create sequence faults;
        create function fail_some() returns trigger language plpgsql as $$
        declare
            code text := (array['40001', '40P01', '25006'])[nextval('faults')];
        begin
            if code is not null then
                raise exception 'injected' using errcode = code;
            end if;
            return null;
        end $$;
        create trigger fail_some before insert
            on risk_calls for each statement execute function fail_some();";
    sqlx::raw_sql(faults).execute(&world.lab.database).await.expect("the faults");
    world.produce(500);
    let raised = async || {
        let last: i64 = sqlx::query_scalar("select last_value from faults")
            .fetch_one(&world.lab.database)
            .await
            .expect("a number");
        last > 3
    };
    world.lab.wait("three faults and a success", LONG, raised).await;
    world.finish().await;
}

#[tokio::test]
async fn the_workers_role_cannot_rewrite_history() {
    with_roles(async |database, worker, _| {
        let store = store_as(database, worker).await;
        store.check_schema().await.expect("it may look at the schema");
        assert_eq!(store.migrate().await.expect("nothing to migrate needs no right to"), 0);
        let batch = close(vec![assessed(verdict("a", 1)), malformed(2)], vec![call("a")]);
        assert_eq!(record(&store, &batch).await, []);
        assert_eq!(record(&store, &batch).await.len(), 1);
        assert_eq!(store.recall(vec!["a".to_owned()]).await.expect("it may select").len(), 1);
        database.execute(DROP_MONTHS).await;
        assert_eq!(store.ensure_partitions().await.expect("it may have partitions made").len(), 8);

        for table in ["verdicts", "risk_calls", "claim_events", "dead_letters"] {
            for change in [
                "update {} set claim_id = 'b'",
                "delete from {}",
                "truncate {}",
                "drop table {} cascade",
            ] {
                // dead_letters has no claim_id; any column will do.
                let change = change.replace("{}", table).replace("claim_id", "trace_id");
                denied(database, worker, &change).await;
            }
        }
        denied(database, worker, "delete from risk_calls_default").await;
        denied(database, worker, "select from removals").await;
        denied(database, worker, ANNOUNCE).await;
        let all = Retention {
            risk_calls: Some(std::time::Duration::from_secs(86_400)),
            ..Retention::default()
        };
        let error = retention::enforce(&store, &all, false).await;
        assert!(
            matches!(&error, Err(StoreError::Fatal(said)) if said.contains("docs/audit.md")),
            "{error:?}"
        );
    })
    .await;
}
