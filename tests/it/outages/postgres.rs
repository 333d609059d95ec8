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
    postgres.run("start");
    world.recovers(Instant::now()).await;
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
