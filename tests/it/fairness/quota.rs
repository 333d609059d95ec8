//! One quota for the whole group: with any number of workers, an API never gets more calls than its
//! limit, and soon all of the limit is used again.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate_simulator::Latency;
use time::OffsetDateTime;

use super::load::{Account, Stream, send};
use crate::exactly_once::assert_asked_once;
use crate::lab::{Lab, Worker, answers_after};

/// The calls per second that the API allows, and a twentieth more in the worst second.
const LIMIT: usize = 200;
const WORST: usize = 210;
/// A little more than the API allows, so that there is always a call to make.
const OFFERED: usize = 230;
/// After a change this part of the limit is used again…
const USED: f64 = 0.9;
/// …from this long after it on…
const AGAIN: Duration = Duration::from_secs(10);
/// …for as long as nothing else changes.
const STEP: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two minutes: make fairness"]
async fn a_groups_quota_holds_while_workers_come_and_go() {
    let options = answers_after(Latency::Uniform(20.0, 60.0));
    let Some(lab) = Lab::with("quota", options).await else { return };
    let more = format!(
        "[risk.intelligent_qr_code]\nrate_limit = {LIMIT}.0\nrate_limit_scope = \"group\"\n"
    );
    let mut workers: BTreeMap<&str, Worker> = [("w1", lab.worker("w1", &more))].into();
    let stream = |name| Stream { name, kind: "qr_code", account: Account::Each };
    let mut changes = Vec::new();
    for (step, has, name) in [(0, 1, "one"), (1, 4, "four"), (2, 1, "again"), (3, 2, "two")] {
        for instance in ["w1", "w2", "w3", "w4"].into_iter().take(has) {
            workers.entry(instance).or_insert_with(|| lab.worker(instance, &more));
        }
        while workers.len() > has {
            let (_, mut leaves) = workers.pop_last().expect("there are some");
            assert_eq!(leaves.stop().await, Some(0));
        }
        changes.push((step, has, unix_ms()));
        send(&lab, &[stream(name)], OFFERED, STEP).await;
    }
    changes.push((4, 0, unix_ms()));
    for worker in workers.values_mut() {
        assert_eq!(worker.stop().await, Some(0));
    }
    let mut at: Vec<i64> = lab.simulator.calls().all().iter().map(|call| call.at_ms).collect();
    at.sort_unstable();
    let worst = most_in_a_second(&at);
    println!("| workers | calls a second, from {AGAIN:?} after the change |\n| --- | --- |");
    let mut faults = Vec::new();
    for pair in changes.windows(2) {
        let [(_, has, from), (_, _, to)] = pair else { continue };
        let from = from + AGAIN.as_millis() as i64;
        let calls = at.iter().filter(|at| (from..*to).contains(at)).count();
        let rate = calls as f64 / ((to - from) as f64 / 1000.0);
        println!("| {has} | {rate:.1} |");
        if rate < USED * LIMIT as f64 {
            faults.push(format!("{has} workers used {rate:.1} of {LIMIT} calls a second"));
        }
    }
    println!("most calls in one second: {worst}");
    if worst > WORST {
        faults.push(format!("{worst} calls in one second"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_asked_once(&lab);
}

/// The most calls in any second, wherever it begins.
fn most_in_a_second(at: &[i64]) -> usize {
    let within = |first: usize| at[first..].partition_point(|later| *later < at[first] + 1_000);
    (0..at.len()).map(within).max().unwrap_or(0)
}

fn unix_ms() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)
        .expect("this century")
}
