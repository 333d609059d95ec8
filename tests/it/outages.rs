//! Outages: Postgres and Kafka go away and come back under a worker, and nothing is lost. These tests have services of their own.

use std::time::Duration;

use claimgate::simulator::SimulatorOptions;

use super::lab::{Event, Lab, claim, services};
use super::oracle::{Expected, outcome};
use super::service::Service;

const LONG: Duration = Duration::from_secs(120);

fn events(from: usize, to: usize, expected: &mut Expected) -> Vec<Event> {
    let id = |number| format!("clm-{number}");
    expected.claims.extend((from..to).map(id));
    (from..to).map(|number| Event::of(claim(&id(number), &format!("user-{number}")))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_kafka_may_go_away() {
    if services().is_none() {
        return;
    }
    let Some((postgres, url)) = Service::start("postgres.sh") else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let lab = Lab::at("outages", SimulatorOptions::default(), bootstrap, url).await;
    let mut expected = Expected::default();
    let mut worker = lab.worker("w1", "");
    lab.produce(&events(0, 500, &mut expected));
    lab.wait("the first decisions", LONG, async || !outcome(&lab).decisions.is_empty()).await;

    postgres.run("stop");
    lab.produce(&events(500, 1_000, &mut expected));
    tokio::time::sleep(Duration::from_secs(3)).await;
    postgres.run("start");
    lab.wait("decisions after Postgres came back", LONG, async || expected.is_complete(&outcome(&lab))).await;

    postgres.run("kill");
    postgres.run("start");
    lab.produce(&events(1_000, 1_500, &mut expected));
    kafka.run("restart");
    lab.produce(&events(1_500, 2_000, &mut expected));
    tokio::time::sleep(Duration::from_millis(300)).await;
    kafka.run("kill");
    kafka.run("start");
    lab.wait("decisions after Kafka came back", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}
