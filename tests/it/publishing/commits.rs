//! `at_least_once`: what is published and recorded waits for no commit of offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use claimgate_simulator::Latency;
use tokio::time::Instant;

use super::{LONG, log};
use crate::lab::{Event, Lab, PARTITIONS, Worker, answers_after, claim};
use crate::oracle::outcome;
use crate::outages::lag;

/// How long the others wait for a member that was killed.
const SESSION: Duration = Duration::from_secs(12);
/// The longest time in which a partition of a worker that lives may have no decision.
const SILENT_MAX: Duration = Duration::from_secs(3);

const AT_LEAST_ONCE: &str = "[kafka]\nguarantee = \"at_least_once\"\nsession_timeout = \"12s\"\n\
    transaction_timeout = \"5s\"";

/// The partitions of claims that a worker has, by its log.
fn held(lab: &Lab, worker: &str) -> BTreeSet<i32> {
    let mut held = BTreeSet::new();
    for line in log(lab, worker).lines() {
        let numbers = line.split("claims/").skip(1).filter_map(|rest| {
            rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<i32>().ok()
        });
        if line.contains("partitions assigned") {
            held.extend(numbers);
        } else if line.contains("partitions revoked") {
            let revoked: Vec<i32> = numbers.collect();
            held.retain(|held| !revoked.contains(held));
        }
    }
    held
}

/// A claim for each partition, every 40 ms, until `until`; the claims' ids.
async fn trickle(lab: &Lab, until: Instant, round: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while Instant::now() < until {
        for partition in 0..PARTITIONS {
            let id = format!("{round}-{}-{partition}", ids.len());
            lab.enqueue(&Event::of(claim(&id, &format!("user-{id}"))).on(partition));
            ids.insert(id);
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    lab.flush(LONG);
    ids
}

/// The longest time between two decisions about claims of a partition, from a moment on.
fn silences(lab: &Lab, from_ms: i64) -> BTreeMap<i32, Duration> {
    let mut times: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for seen in lab.read("decisions").into_iter().filter(|seen| seen.at_ms >= from_ms) {
        let decision: serde_json::Value =
            serde_json::from_slice(seen.payload.as_deref().expect("a payload")).expect("JSON");
        let partition = decision["source"]["partition"].as_i64().expect("a number") as i32;
        times.entry(partition).or_default().push(seen.at_ms);
    }
    let longest = |mut times: Vec<i64>| {
        times.sort_unstable();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(i64::MAX);
        Duration::from_millis(u64::try_from(gap).unwrap_or(0))
    };
    times.into_iter().map(|(partition, times)| (partition, longest(times))).collect()
}

fn now_ms() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000)
        .expect("soon enough")
}

/// Three workers; one is killed and started again, so that the group waits for the dead member.
/// Meanwhile the others decide their claims, and one that is stopped leaves no answer without its
/// row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_stops_none_of_the_others() {
    let options = answers_after(Latency::Uniform(10.0, 30.0));
    let Some(lab) = Lab::with("survivors", options).await else { return };
    let names = ["dynamic-1", "dynamic-2", "dynamic-3"];
    let mut workers: Vec<Worker> =
        names.iter().map(|name| lab.worker(name, AT_LEAST_ONCE)).collect();
    let all_held = async || names.iter().map(|name| held(&lab, name).len()).sum::<usize>() == 6;
    lab.wait("every partition has an owner", LONG, all_held).await;
    let mut ids = trickle(&lab, Instant::now() + Duration::from_secs(3), "before").await;
    let victim =
        (0..3).min_by_key(|worker| held(&lab, names[*worker]).len()).expect("there are three");
    let survivors: Vec<usize> = (0..3).filter(|worker| *worker != victim).collect();
    let theirs: BTreeSet<i32> =
        survivors.iter().flat_map(|worker| held(&lab, names[*worker])).collect();
    workers[victim].kill();
    let (killed_ms, killed) = (now_ms(), Instant::now());
    let mut again = lab.worker("dynamic-4", AT_LEAST_ONCE);
    ids.extend(trickle(&lab, killed + SESSION - Duration::from_secs(4), "during").await);
    let silent = silences(&lab, killed_ms);
    println!("killed {victim}, silent: {silent:?}, of those that live: {theirs:?}");
    // The group still waits: a stop now must not lose answers that are being recorded. It takes
    // until the rebalance is over; claims that the worker had not begun are left to the next owner.
    let told_ms = now_ms();
    assert_eq!(workers[survivors[0]].stop().await, Some(0));
    for partition in &theirs {
        let silence = silent.get(partition).copied().unwrap_or(Duration::MAX);
        assert!(silence < SILENT_MAX, "claims/{partition} was silent for {silence:?}");
    }
    let complete = async || {
        let decided = outcome(&lab).decisions;
        ids.iter().all(|id| decided.contains_key(id))
    };
    lab.wait("every claim decided", LONG, complete).await;
    lab.wait("the group to have no lag", LONG, async || lag(&lab) == 0).await;
    for worker in [&mut workers[survivors[1]], &mut again] {
        assert_eq!(worker.stop().await, Some(0));
    }
    every_answer_has_its_row(&lab, killed_ms, told_ms).await;
}

/// Workers that stay alive record every answer. Calls of the killed worker that were not recorded
/// are repeated: only calls and rows after its end are compared.
async fn every_answer_has_its_row(lab: &Lab, killed_ms: i64, told_ms: i64) {
    let killed = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(killed_ms) * 1_000_000)
        .expect("a time");
    let rows: Vec<String> =
        sqlx::query_scalar("select claim_id from risk_calls where requested_at >= $1")
            .bind(killed)
            .fetch_all(&lab.database)
            .await
            .expect("the rows");
    let mut left = BTreeMap::<String, i64>::new();
    rows.into_iter().for_each(|id| *left.entry(format!("user-{id}")).or_default() += 1);
    let calls = lab.simulator.calls();
    // A call of the worker that was killed may still have been on its way.
    let late: Vec<_> =
        calls.all().into_iter().filter(|call| call.at_ms >= killed_ms + 1_000).collect();
    assert!(late.iter().any(|call| call.at_ms >= told_ms), "nobody was asked about after the stop");
    late.iter().for_each(|call| *left.entry(call.account.to_string()).or_default() -= 1);
    let without: Vec<&String> = left.iter().filter(|(_, left)| **left < 0).map(|l| l.0).collect();
    assert!(without.is_empty(), "{} answers without a row: {without:?}", without.len());
}

/// An orderly restart repeats nothing: the last offsets are acknowledged before the partitions are
/// given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orderly_restarts_publish_nothing_twice() {
    let Some(lab) = Lab::new("restarts").await else { return };
    let mut workers =
        vec![lab.worker("dynamic-0", AT_LEAST_ONCE), lab.worker("dynamic-1", AT_LEAST_ONCE)];
    let mut ids = BTreeSet::new();
    for round in 0..4 {
        ids.extend(
            trickle(&lab, Instant::now() + Duration::from_secs(2), &format!("round-{round}")).await,
        );
        assert_eq!(workers.remove(0).stop().await, Some(0));
        workers.push(lab.worker(&format!("dynamic-{}", round + 2), AT_LEAST_ONCE));
    }
    let complete = async || {
        let decided = outcome(&lab).decisions;
        ids.iter().all(|id| decided.contains_key(id))
    };
    lab.wait("every claim decided", LONG, complete).await;
    for worker in &mut workers {
        assert_eq!(worker.stop().await, Some(0));
    }
    let twice = outcome(&lab).decisions.values().filter(|decisions| decisions.len() > 1).count();
    assert_eq!(twice, 0, "published twice");
    assert_eq!(lag(&lab), 0, "the last offsets are committed");
    assert!(lab.simulator.calls().counts().values().all(|calls| *calls == 1), "asked about again");
}
