//! A worker ends during a Kafka outage: the APIs' answers are in Postgres anyway, and no call is
//! repeated.

use std::collections::HashSet;
use std::time::Duration;

use claimgate_simulator::{Call, Outcome};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::World;
use crate::lab::{Lab, services};
use crate::service::Service;

/// How the worker ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Terminated,
    Killed,
}

/// After SIGKILL the answers of this time may be lost…
const UNRECORDED: Duration = Duration::from_secs(1);
/// …and the simulator logs a call this long before it sends the answer ([`World`] configures it).
const LATENCY: Duration = Duration::from_millis(40);

/// Kafka dies under load, the worker ends some seconds later, Kafka comes back, the worker starts
/// again.
async fn ends_while_kafka_is_away(name: &str, guarantee: &str, end: End) {
    let Some((_, postgres)) = services() else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let more = format!("[kafka]\nguarantee = \"{guarantee}\"\n[worker]\ndrain_timeout = \"3s\"\n");
    let mut world = World::at(name, bootstrap, postgres, |_| more.clone()).await;
    let asked = world.calls();
    world.produce(8_000);
    world
        .lab
        .wait("work in progress", Duration::from_secs(30), async || world.calls() > asked + 500)
        .await;
    kafka.run("kill");
    let asked = world.calls();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{name}: {} calls while Kafka was away", world.calls() - asked);
    let told = Instant::now();
    match end {
        End::Killed => world.worker.kill(),
        End::Terminated => {
            let code = world.worker.stop().await;
            println!("{name}: ended with {code:?} {:?} after SIGTERM", told.elapsed());
            assert!(
                told.elapsed() < Duration::from_secs(12),
                "it drains for 3 s, and took {:?}",
                told.elapsed()
            );
        }
    }
    let ended = unix_ms(OffsetDateTime::now_utc());
    let unrecorded = unrecorded(&world.lab).await;
    let long_ago = ended - i64::try_from((UNRECORDED + LATENCY).as_millis()).expect("small");
    let lost =
        unrecorded.iter().filter(|call| end == End::Terminated || call.at_ms < long_ago).count();
    println!(
        "{name}: {} of {} answers have no row, {lost} of them must have one",
        unrecorded.len(),
        world.calls()
    );
    assert_eq!(lost, 0, "answers without a row");
    kafka.run("start");
    world.worker = world.lab.worker("w1", &more);
    world.has_decided().await;
    let repeated =
        world.lab.simulator.calls().counts().into_values().map(|calls| calls - 1).sum::<u64>();
    println!("{name}: {repeated} calls repeated");
    let most = if end == End::Terminated { 0 } else { unrecorded.len() as u64 };
    assert!(
        repeated <= most,
        "{repeated} calls repeated, and {most} answers were lost with the process"
    );
    match guarantee {
        "exactly_once" => world.finish().await,
        // A batch that was on its way when the worker ended may be there twice.
        _ => world.finish_at_least_once().await,
    }
}

/// Calls that were answered with a verdict, and have no row.
async fn unrecorded(lab: &Lab) -> Vec<Call> {
    let query = "select substring(request from '[?&]Nonce=([0-9]+)') from risk_calls where \
        response is not null";
    let nonces: Vec<String> =
        sqlx::query_scalar(query).fetch_all(&lab.database).await.expect("the calls");
    let recorded: HashSet<u64> =
        nonces.iter().map(|nonce| nonce.parse().expect("a number")).collect();
    let has_row = |call: &Call| call.nonce.is_some_and(|nonce| recorded.contains(&nonce));
    let calls = lab.simulator.calls().all().into_iter();
    calls.filter(|call| call.outcome == Outcome::Answered && !has_row(call)).collect()
}

fn unix_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).expect("this century")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_without_kafka_loses_no_answer_and_repeats_no_call() {
    ends_while_kafka_is_away("end-term", "exactly_once", End::Terminated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_without_kafka_loses_no_answer_with_at_least_once() {
    ends_while_kafka_is_away("end-term-once", "at_least_once", End::Terminated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_without_kafka_loses_only_the_last_answers() {
    ends_while_kafka_is_away("end-kill", "exactly_once", End::Killed).await;
}
