//! Kafka goes away, alone or with Postgres.

use std::time::Duration;

use tokio::time::Instant;

use super::{CONCURRENCY, UNRECORDED_MAX, World, recovery_max};
use crate::lab::services;
use crate::service::Service;

/// What comes back first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    Kafka,
    Postgres,
}

/// Kafka stops and starts again. A claim that is made after that is decided as soon as one that
/// waited.
async fn stopped(name: &str, away: Duration) {
    let Some((_, postgres)) = services() else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let mut world = World::at(name, bootstrap, postgres, |_| String::new()).await;
    world.produce(8_000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    kafka.run("kill");
    let before = world.calls();
    tokio::time::sleep(away).await;
    let in_vain = world.calls() - before;
    println!("{name}: {in_vain} calls while Kafka was away for {away:?}");
    assert!(in_vain <= CONCURRENCY + UNRECORDED_MAX, "{in_vain} calls");
    let start = kafka.run("start");
    let back = Instant::now();
    let fresh = world.produce(100);
    world.recovers(back, start).await;
    let took = world.recovery("the first decision about a fresh claim", back, fresh).await;
    assert!(took <= recovery_max().max(start), "a fresh claim waited for {took:?}");
    world.finish().await;
}

/// Both stop, and come back one after the other.
async fn both_stopped(name: &str, away: Duration, first: First) {
    if services().is_none() {
        return;
    }
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let Some((postgres, url)) = Service::start("postgres.sh") else { return };
    let mut world = World::at(name, bootstrap, url, |_| String::new()).await;
    world.produce(3_000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    postgres.run("kill");
    kafka.run("kill");
    tokio::time::sleep(away / 2).await;
    let (one, other) =
        if first == First::Kafka { (&kafka, &postgres) } else { (&postgres, &kafka) };
    one.run("start");
    tokio::time::sleep(away / 2).await;
    let start = other.run("start");
    world.recovers(Instant::now(), start).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_stops_and_starts_again() {
    // Longer than the worker's session: its partitions go while they are paused, and come back.
    stopped("kafka-stop", Duration::from_secs(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_stop_and_start_again() {
    both_stopped("both-kafka", Duration::from_secs(4), First::Kafka).await;
    both_stopped("both-postgres", Duration::from_secs(4), First::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn kafka_is_away_for_20_s() {
    stopped("kafka-stop-20", Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn both_are_away_for_20_s() {
    both_stopped("both-kafka-20", Duration::from_secs(20), First::Kafka).await;
    both_stopped("both-postgres-20", Duration::from_secs(20), First::Postgres).await;
}
