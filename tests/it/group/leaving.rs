//! The group does not wait for a worker that ends.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Fleet;
use crate::exactly_once::simulator;
use crate::lab::PARTITIONS;

const SOON: Duration = Duration::from_secs(30);
/// The lab's session.
const SESSION: Duration = Duration::from_secs(6);
/// Longer than a worker used to wait when it left its group.
const LONG_SESSION: Duration = Duration::from_secs(12);

/// One worker was killed, another has joined: the group waits for the dead one until its session
/// ends. A worker that is stopped meanwhile leaves anyway, so that the group need not wait for it,
/// too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_during_a_rebalance_leaves_the_group() {
    let more = "[kafka]\nsession_timeout = \"12s\"";
    let Some(mut fleet) = Fleet::new("ending", simulator(), PARTITIONS, more).await else { return };
    let (dead, leaver) = (fleet.start(false), fleet.start(false));
    fleet.start(false);
    fleet.fair("3 workers", SOON).await;
    fleet.produce(60);
    let began = Instant::now();
    fleet.kill(&dead);
    fleet.start(false);
    sleep(Duration::from_secs(3)).await;
    fleet.stop(&leaver).await;
    println!("the worker has ended {} ms after the other was killed", began.elapsed().as_millis());
    let log = fleet.log(&leaver);
    assert!(
        !log.contains("did not leave the group") && !log.contains("still rebalancing"),
        "{log}"
    );
    fleet.fair("2 workers", SOON).await;
    let took = began.elapsed();
    println!("the group is at rest {} ms after", took.as_millis());
    // `fair` looks on for 1.5 s; a second session would be 12 s more.
    assert!(took < LONG_SESSION + Duration::from_secs(6), "{took:?}");
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// A worker that cannot go on leaves the group, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_fails_leaves_its_group() {
    let Some(mut fleet) = Fleet::new("failing", simulator(), PARTITIONS, "").await else { return };
    let failing = fleet.start(false);
    fleet.start(false);
    fleet.fair("2 workers", SOON).await;
    // A fault that waiting does not fix: a table is missing. The worker of one partition meets it,
    // then the table exists again.
    sqlx::query("alter table verdicts rename to verdicts_away")
        .execute(&fleet.lab.database)
        .await
        .expect("renamed");
    let partition = fleet.has(&failing).into_iter().find_map(|has| {
        has.strip_prefix("claims/").map(|number| number.parse().expect("a number"))
    });
    fleet.produce_on(partition.expect("it has one"));
    let mut worker = fleet.workers.remove(&failing).expect("it runs");
    assert_eq!(worker.end(SOON).await, Some(1), "{}", fleet.log(&failing));
    let ended = Instant::now();
    sqlx::query("alter table verdicts_away rename to verdicts")
        .execute(&fleet.lab.database)
        .await
        .expect("renamed");
    fleet.start(false);
    fleet.fair("another", SOON).await;
    assert!(ended.elapsed() < SESSION, "{:?}", ended.elapsed());
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}
