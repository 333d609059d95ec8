//! Rows 7, 11 and 12: commits that are late, lost or hang, on a network that holds up one kind of request.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::lab::services;
use crate::outages::{World, lag};
use crate::proxy::Proxy;
use crate::service::Service;

const OFFSET_COMMIT: i16 = 8;
const END_TXN: i16 = 26;
const TXN_OFFSET_COMMIT: i16 = 28;
/// Longer than every question of the worker's may take, and than its transactions may.
const LATE: Duration = Duration::from_secs(7);
const LONG: Duration = Duration::from_secs(30);

/// A worker at work whose network to Kafka is a proxy.
async fn behind_a_proxy(name: &str, more: &str) -> Option<(Service, Proxy, World)> {
    let (_, postgres) = services()?;
    let proxy = Proxy::alone().await;
    let port = proxy.address.port().to_string();
    let (kafka, bootstrap) = Service::start_with("kafka.sh", &[("CLAIMGATE_KAFKA_PROXY", port)])?;
    proxy.lead_to(format!("127.0.0.1:{}", kafka.file("proxied").trim()));
    let more =
        format!("[kafka]\nbootstrap_servers = \"{}\"\nrequest_timeout = \"2s\"\n{more}", proxy.address);
    let world = World::at(name, bootstrap, postgres, |_| more.clone()).await;
    Some((kafka, proxy, world))
}

/// Holds up the next request of a kind, under load, three times.
async fn hold_up(proxy: &Proxy, world: &mut World, request: i16) {
    for _ in 0..3 {
        proxy.hold_up(request, LATE);
        world.produce(300);
        world.lab.wait("the request that is late", LONG, async || proxy.has_held_up()).await;
        // Others follow it, and are made while it is under way.
        tokio::time::sleep(LATE / 2).await;
        world.produce(300);
    }
    tokio::time::sleep(LATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_a_commit_that_was_only_sent_is_not_done() {
    let more = "guarantee = \"at_least_once\"";
    let Some((_kafka, proxy, mut world)) = behind_a_proxy("late-commit", more).await else { return };
    hold_up(&proxy, &mut world, OFFSET_COMMIT).await;
    // A commit that comes too late sets the group back; the next one puts that right.
    world.produce(300);
    world.lab.wait("the group to have no lag", LONG, async || lag(&world.lab) == 0).await;
    assert_eq!(world.worker.stop().await, Some(0));
    // What was sent before a commit that failed is sent again: it says the same.
    let outcome = crate::oracle::outcome(&world.lab);
    let mut twice = 0;
    for (id, decisions) in &outcome.decisions {
        let said: BTreeSet<String> = decisions.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{id}: {said:?}");
        twice += usize::from(decisions.len() > 1);
    }
    println!("row 7: {} claims, {twice} of them published again", outcome.decisions.len());
    assert_eq!(outcome.decisions.len(), 300 + 3 * 600 + 300);
    assert!(world.lab.simulator.calls().counts().values().all(|calls| *calls == 1), "asked about again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_a_late_end_of_a_transaction_ends_no_other() {
    let Some((_kafka, proxy, mut world)) = behind_a_proxy("late-end", "").await else { return };
    hold_up(&proxy, &mut world, END_TXN).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_offsets_that_hang_are_given_up_and_sent_again() {
    let Some((_kafka, proxy, mut world)) = behind_a_proxy("late-offsets", "").await else { return };
    hold_up(&proxy, &mut world, TXN_OFFSET_COMMIT).await;
    world.finish().await;
}
