//! Producers that the broker ends.

use std::time::Duration;

use super::{LONG, log};
use crate::lab::services;
use crate::outages::World;
use crate::proxy::Proxy;

const TXN_OFFSET_COMMIT: i16 = 28;
const END_TXN: i16 = 26;

/// The coordinator stalls for longer than a transaction may take. The broker ends the transaction
/// and the producer; the worker keeps its name and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_timeout_does_not_end_a_static_member() {
    let Some((_, postgres)) = services() else { return };
    let Some((_kafka, proxy, bootstrap)) = Proxy::before_kafka().await else { return };
    let more = format!(
        "[kafka]\nbootstrap_servers = \"{}\"\nrequest_timeout = \"12s\"\n\
        session_timeout = \"20s\"\ntransaction_timeout = \"3s\"",
        proxy.address
    );
    let mut world = World::at("stall", bootstrap, postgres, |_| more.clone()).await;
    for request in [TXN_OFFSET_COMMIT, END_TXN] {
        // Longer than the transaction may be open, and than the broker needs to notice; shorter
        // than a question may take.
        proxy.hold_up(request, Duration::from_secs(8));
        world.produce(300);
        world.lab.wait("the request that is late", LONG, async || proxy.has_held_up()).await;
        world.produce(300);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(!world.worker.has_ended(), "the worker ended:\n{}", log(&world.lab, "w1"));
    }
    let said = log(&world.lab, "w1");
    assert!(!said.contains("took over"), "{said}");
    world.finish().await;
}
