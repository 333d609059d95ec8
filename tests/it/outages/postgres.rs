//! Postgres goes away, or is full.

use std::time::Duration;

use tokio::time::Instant;

use super::{CONCURRENCY, World};
use crate::lab::services;
use crate::service::Service;

/// Postgres stops and starts again.
async fn stopped(name: &str, away: Duration) {
    let Some((kafka, _)) = services() else { return };
    let Some((postgres, url)) = Service::start("postgres.sh") else { return };
    let more = "[worker]\nmax_in_flight = 10000".to_owned();
    let mut world = World::at(name, kafka, url, |_| more.clone()).await;
    world.produce(6_000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    postgres.run("stop");
    let before = world.calls();
    tokio::time::sleep(away).await;
    let in_vain = world.calls() - before;
    println!("{name}: {in_vain} calls while Postgres was away for {away:?}");
    assert!(in_vain <= CONCURRENCY, "{in_vain} calls: more than were under way");
    let start = postgres.run("start");
    world.recovers(Instant::now(), start).await;
    world.finish().await;
}

/// The disk under Postgres is full, first for verdicts, then for calls: the worker waits, says so,
/// and goes on when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    let Some((kafka, postgres)) = services() else { return };
    let mut world = World::at("disk-full", kafka, postgres, |_| String::new()).await;
    let full = "create function no_space() returns trigger language plpgsql as $$
        begin
            raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
        end $$";
    sqlx::raw_sql(full).execute(&world.lab.database).await.expect("the fault");
    for table in ["verdicts", "risk_calls"] {
        let fill = format!(
            "create trigger no_space before insert on {table} for each statement execute function \
             no_space()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(fill)).execute(&world.lab.database).await.expect("full");
        world.produce(3_000);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let (before, decided) = (world.calls(), world.tail.count());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(
            (world.calls(), world.tail.count()),
            (before, decided),
            "nothing is asked, nothing decided"
        );
        let empty = format!("drop trigger no_space on {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(empty)).execute(&world.lab.database).await.expect("room");
        world.recovers(Instant::now(), Duration::ZERO).await;
    }
    let log = std::fs::read_to_string(world.lab.log("w1")).expect("the log");
    assert!(log.contains("No space left on device (53100)"), "{log}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_and_starts_again() {
    stopped("pg-stop", Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn postgres_is_away_for_20_s() {
    stopped("pg-stop-20", Duration::from_secs(20)).await;
}
