//! The network to Postgres or to Kafka falls silent: no error, no close, nothing.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;

use super::{CONCURRENCY, UNRECORDED_MAX, World};
use crate::lab::{Lab, SIGUSR1, SIGUSR2, Worker, services};
use crate::proxy::Proxy;

/// How a silence ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// What was sent meanwhile arrives.
    Resumes,
    /// The connections are closed.
    Closes,
}

/// Bounds a fifth of the defaults, for silences that are a fifth as long.
const SHORT: &str = "[postgres]\nstatement_timeout = \"2s\"\nconnect_timeout = \"1s\"\n\
    [kafka]\nrequest_timeout = \"2s\"\n";
const FULL: &str = "[kafka]\nrequest_timeout = \"10s\"\nsession_timeout = \"20s\"\n\
    transaction_timeout = \"15s\"\n";

fn both(one: &str, other: &str) -> String {
    let mut merged: toml::Table = toml::from_str(one).expect("TOML");
    let other: toml::Table = toml::from_str(other).expect("TOML");
    for (section, keys) in other {
        let into = merged.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let (Some(into), toml::Value::Table(keys)) = (into.as_table_mut(), keys) else { continue };
        into.extend(keys);
    }
    toml::to_string(&merged).expect("TOML")
}

async fn silent_postgres(name: &str, bounds: &str, silence: Duration, end: End) {
    let Some((kafka, postgres)) = services() else { return };
    let server =
        postgres.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host and port");
    let proxy = Proxy::before(server.to_owned()).await;
    let through = |lab: &Lab| {
        let url = lab.postgres.replace(server, &proxy.address.to_string());
        both(bounds, &format!("[postgres]\nurl = \"{url}\"\n[worker]\nmax_in_flight = 10000"))
    };
    let mut world = World::at(name, kafka, postgres.clone(), through).await;
    world.produce(7_000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let recorded = recorded(&world.lab).await;
    proxy.fall_silent();
    tokio::time::sleep(silence).await;
    let unrecorded = world.calls() - recorded;
    println!("{name}: {unrecorded} answers waited for Postgres after a silence of {silence:?}");
    assert!(unrecorded <= CONCURRENCY + UNRECORDED_MAX, "{unrecorded} answers");
    over(&proxy, end);
    world.recovers(Instant::now(), Duration::ZERO).await;
    world.finish().await;
}

/// Attempts that Postgres has: those of a flush under way are not among them yet.
async fn recorded(lab: &Lab) -> u64 {
    let rows: i64 = sqlx::query_scalar("select count(*) from risk_calls")
        .fetch_one(&lab.database)
        .await
        .expect("a number");
    u64::try_from(rows).expect("no fewer than none")
}

async fn silent_kafka(name: &str, bounds: &str, silence: Duration, end: End) {
    let Some((_, postgres)) = services() else { return };
    let Some((_kafka, proxy, bootstrap)) = Proxy::before_kafka().await else { return };
    let through =
        |_: &Lab| both(bounds, &format!("[kafka]\nbootstrap_servers = \"{}\"", proxy.address));
    let mut world = World::at(name, bootstrap, postgres, through).await;
    world.produce(3_000);
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.fall_silent();
    tokio::time::sleep(silence).await;
    over(&proxy, end);
    world.produce(100);
    world.recovers(Instant::now(), Duration::ZERO).await;
    world.finish().await;
}

fn over(proxy: &Proxy, end: End) {
    match end {
        End::Resumes => proxy.resume(),
        End::Closes => proxy.cut(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_postgres_resumes() {
    silent_postgres("pg-resumes", SHORT, Duration::from_secs(6), End::Resumes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_postgres_closes() {
    silent_postgres("pg-closes", SHORT, Duration::from_secs(6), End::Closes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_kafka_resumes() {
    silent_kafka("kafka-resumes", SHORT, Duration::from_secs(7), End::Resumes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_kafka_closes() {
    silent_kafka("kafka-closes", SHORT, Duration::from_secs(7), End::Closes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn postgres_is_silent_for_30_s() {
    silent_postgres("pg-resumes-30", FULL, Duration::from_secs(30), End::Resumes).await;
    silent_postgres("pg-closes-30", FULL, Duration::from_secs(30), End::Closes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn kafka_is_silent_for_30_s() {
    silent_kafka("kafka-resumes-30", FULL, Duration::from_secs(30), End::Resumes).await;
    silent_kafka("kafka-closes-30", FULL, Duration::from_secs(30), End::Closes).await;
}

/// A worker that waits for a server that does not answer, and that server.
async fn waiting(name: &str) -> Option<(Lab, TcpListener, Worker)> {
    let lab = Lab::new(name).await?;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let url = format!(
        "[postgres]\nurl = \"postgres://claimgate@{address}/claimgate\"\nconnect_timeout = \"60s\""
    );
    let worker = lab.worker("w1", &url);
    Some((lab, silent, worker))
}

/// The server does not answer, and the worker waits. In a container it is process 1, which signals
/// without a handler do not reach.
#[tokio::test]
async fn a_worker_waiting_for_a_silent_postgres_stops_on_request() {
    let Some((lab, _silent, mut worker)) = waiting("silent-start").await else { return };
    let told = Instant::now();
    assert_eq!(worker.stop().await, Some(0));
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert!(log.contains("stopped before the work began"), "{log}");
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

/// Operators send SIGUSR2 to every worker, also to one that starts: it must not end it. SIGUSR1
/// does, with the exit code 0, after which no supervisor starts it again.
#[tokio::test]
async fn a_worker_waiting_for_a_silent_postgres_hears_the_signals_of_operators() {
    let Some((lab, _silent, mut worker)) = waiting("silent-told").await else { return };
    lab.wait("the handlers", Duration::from_secs(30), async || {
        worker.hears(SIGUSR1) && worker.hears(SIGUSR2)
    })
    .await;
    worker.signal("-USR2");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!worker.has_ended(), "SIGUSR2 ended it");
    worker.signal("-USR1");
    assert_eq!(worker.end(Duration::from_secs(10)).await, Some(0));
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert!(log.contains("stopped before the work began"), "{log}");
}
