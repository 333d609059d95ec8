//! Partitions of the input topic are spread evenly, and those of the retry topic go with them.

use std::time::Duration;

use claimgate_simulator::Latency;
use tokio::time::Instant;

use super::Fleet;
use crate::exactly_once::{assert_asked_once, simulator};
use crate::lab::{PARTITIONS, answers_after};

const SOON: Duration = Duration::from_secs(20);

/// Out to eight workers, in to two, a rolling restart, a SIGKILL: the work is shared after each,
/// and workers that start or stop in order cause no repeated calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_stay_evenly_spread_while_workers_come_and_go() {
    let Some(mut fleet) = Fleet::new("spread", simulator(), 8, "").await else { return };
    for size in [2, 3, 4, 8, 4, 3, 2, 3] {
        while fleet.workers.len() < size {
            fleet.start(false);
        }
        while fleet.workers.len() > size {
            let first = fleet.workers.keys().next().expect("one").clone();
            fleet.stop(&first).await;
        }
        fleet.produce(80);
        fleet.fair(&format!("scaled to {size}"), SOON).await;
        fleet.produce(80);
    }
    for old in fleet.workers.keys().cloned().collect::<Vec<_>>() {
        fleet.stop(&old).await;
        fleet.start(false);
        fleet.produce(40);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fleet.fair("rolling restart", SOON).await;
    fleet.decided().await;
    assert_asked_once(&fleet.lab);
    let killed = fleet.workers.keys().next().expect("one").clone();
    fleet.kill(&killed);
    fleet.produce(80);
    fleet.fair("SIGKILL", SOON).await;
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// The bound of a worker is its number of calls at once; two workers may make twice as many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_do_the_work_of_two() {
    let options = answers_after(Latency::Uniform(100.0, 100.0));
    let more = "[risk.intelligent_qr_code]\nconcurrency = 4";
    let Some(mut fleet) = Fleet::new("shared", options, 8, more).await else { return };
    let mut took = Vec::new();
    for size in [1, 2] {
        while fleet.workers.len() < size {
            fleet.start(false);
        }
        fleet.fair(&format!("{size} workers"), SOON).await;
        let began = Instant::now();
        let calls = fleet.lab.simulator.calls().len();
        fleet.produce(480);
        let lab = &fleet.lab;
        lab.wait("the calls", Duration::from_secs(60), async || {
            lab.simulator.calls().len() >= calls + 480
        })
        .await;
        took.push(began.elapsed().as_secs_f64());
        fleet.decided().await;
    }
    let gain = took[0] / took[1];
    println!("480 claims: {took:?} s, two workers do {gain:.2} times what one does");
    assert!(gain >= 1.8, "{took:?}");
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// The worker of a claim's partition also has the retry partition that the claim is deferred to:
/// claims of one subject, and copies of one claim, stay with one worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_claim_stays_with_the_worker_of_its_partition() {
    let more = "[retry]\nin_process_for = \"1ms\"\ndefer_interval = \"1s\"\n[breaker]\n\
        min_calls = 1000000\n\
        [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0";
    let Some(mut fleet) = Fleet::new("beside", simulator(), PARTITIONS, more).await else { return };
    for _ in 0..2 {
        fleet.start(false);
    }
    fleet.fair("2 workers", SOON).await;
    fleet.produce_of(60, "-transient-2");
    fleet.decided().await;
    let deferred = fleet.lab.read("retry");
    assert!(deferred.len() >= 120, "{} were deferred", deferred.len());
    for record in deferred {
        let source = String::from_utf8_lossy(&record.headers["claimgate-source"]).into_owned();
        let partition = source.rsplit('/').nth(1).expect("topic/partition/offset");
        assert_eq!(record.partition.to_string(), partition, "{source}");
    }
    fleet.fair("2 workers, afterwards", SOON).await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}
