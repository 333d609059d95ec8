//! A partition without an owner: the owner was killed while giving it back, and returned before its
//! session ended.

use std::time::Duration;

use claimgate_simulator::{Faults, Latency};

use super::lab::Lab;
use super::oracle::{Expected, outcome};
use crate::lab::answers_after;

const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphaned_partition_gets_an_owner() {
    // Calls take long, so that giving a partition back takes as long.
    let options = answers_after(Latency::Uniform(8_000.0, 9_000.0));
    let Some(lab) = Lab::with("orphans", options).await else { return };
    let slow = "[risk.intelligent_qr_code]\ntimeout = \"10s\"\n[worker]\ndrain_timeout = \"10s\"";
    let mut expected = Expected::default();
    let mut produce = |from: usize| {
        expected.produce(&lab, (from..from + 60).map(|number| format!("clm-{number}")));
    };
    let log = |worker: &str| std::fs::read_to_string(lab.log(worker)).unwrap_or_default();
    let mut first = lab.worker("w1", slow);
    produce(0);
    lab.wait("calls under way", LONG, async || !lab.simulator.calls().all().is_empty()).await;
    let mut second = lab.worker("w2", slow);
    lab.wait("the rebalance", LONG, async || log("w1").contains("partitions revoked")).await;
    first.kill();
    let mut first = lab.worker("w1", slow);
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    produce(60);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    let visits = |worker: &str| log(worker).matches("no member of the group has").count();
    // Without an orphan this test would have tested nothing.
    assert_eq!(visits("w1") + visits("w2"), 1, "visitors\n{}\n{}", log("w1"), log("w2"));
    assert_eq!((first.stop().await, second.stop().await), (Some(0), Some(0)));
    expected.verify(&lab).await;
}

/// A partition that is given back slowly has no owner for as long, and needs no help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_drain_is_not_reported_as_an_orphan() {
    let options = answers_after(Latency::Uniform(11_000.0, 11_000.0));
    let Some(lab) = Lab::with("slow-drains", options).await else { return };
    let slow = "[risk.intelligent_qr_code]\ntimeout = \"14s\"\n[worker]\ndrain_timeout = \"14s\"";
    let mut expected = Expected::default();
    let mut workers: Vec<_> =
        (1..=2).map(|number| lab.worker(&format!("dynamic-{number}"), slow)).collect();
    let log = |number: usize| {
        std::fs::read_to_string(lab.log(&format!("dynamic-{number}"))).unwrap_or_default()
    };
    lab.wait("both at work", LONG, async || (1..=2).all(|worker| log(worker).contains("claims/")))
        .await;
    expected.produce(&lab, (0..60).map(|number| format!("clm-{number}")));
    lab.wait("calls under way", LONG, async || !lab.simulator.calls().all().is_empty()).await;
    workers.push(lab.worker("dynamic-3", slow));
    lab.wait("the newcomer at work", LONG, async || log(3).contains("claims/")).await;
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    for number in 1..=3 {
        assert!(!log(number).contains("no member of the group has"), "{}", log(number));
    }
    for worker in &mut workers {
        assert_eq!(worker.stop().await, Some(0));
    }
    expected.verify(&lab).await;
}
