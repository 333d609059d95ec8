//! A broker of three goes away, and stays away: the others go on, and so does the worker.

use std::time::Duration;

use tokio::time::Instant;

use super::World;
use crate::cluster::{Cluster, Part};
use crate::lab::services;

/// A transaction that waits in vain for a broker is given up and made again within this time.
const SOON: Duration = Duration::from_secs(40);

/// Whether there is work while the broker dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Busy,
    Idle,
}

/// The broker with this role is killed and stays away. Claims are still decided: those that were
/// there, and new ones.
async fn dies(name: &str, part: Part, then: Then) {
    let Some((_, postgres)) = services() else { return };
    let Some((cluster, bootstrap)) = Cluster::start() else { return };
    let mut world = World::at(name, bootstrap, postgres, |_| String::new()).await;
    cluster.verify(&world.lab).await;
    let broker = cluster.that_has(part, &world.lab).expect("somebody has it");
    cluster.tell("kill", broker).expect("it dies");
    // Longer than the cluster takes to remove it, and the group to notice.
    for _ in 0..12 {
        if then == Then::Busy {
            world.produce(50);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let produced = Instant::now();
    let fresh = world.produce(100);
    let took = world.recovery("the first decision about a claim of then", produced, fresh).await;
    assert!(took <= SOON, "the worker took {took:?} to do without the broker");
    cluster.tell("start", broker).expect("it comes back");
    world.finish().await;
}

/// librdkafka ignores its time limit when it waits for the group's coordinator (#5456), even if
/// that is no broker any more (#5511): a worker that had nothing to publish meanwhile would wait
/// for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_groups_coordinator_dies_and_an_idle_worker_goes_on() {
    dies("coordinator-idle", Part::Group, Then::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn coordinators_die_and_a_busy_worker_goes_on() {
    dies("coordinator", Part::Group, Then::Busy).await;
    dies("transactions", Part::Transactions(1), Then::Busy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn an_idle_worker_survives_the_transaction_coordinator() {
    dies("transactions-idle", Part::Transactions(1), Then::Idle).await;
}
