//! The producer: sends claims at a bounded rate, and waits only if the group is far behind.

use std::sync::Arc;
use std::time::Duration;

use super::observer::Observer;
use super::{Phase, World, breath, plan};

/// How many seconds' worth of claims the group may be behind before the producer waits: faults
/// should meet work in progress.
const BACKLOG_SECONDS: usize = 10;
/// How long Kafka may take for the last events.
const FLUSH_WITHIN: Duration = Duration::from_secs(120);

/// Sends the claims and returns their number. It sends fewer if `CHAOS_MINUTES` have passed.
pub(super) async fn send(world: &Arc<World>, observer: &Observer, faults: usize) -> usize {
    let claims = world.settings.size.claims;
    let held_back = (claims as f64 * (plan::LAST + 0.01)) as usize;
    let mut phase = world.phase.subscribe();
    let mut done = world.done.subscribe();
    let (mut sent, mut allowance) = (0, 0.0);
    let mut last = tokio::time::Instant::now();
    while sent < claims {
        if world.journal.elapsed() > world.settings.cap {
            world
                .journal
                .say(&format!("CHAOS_MINUTES have passed: nothing is sent after {sent} claims"));
            world.phase.send_replace(Phase::Settling);
        }
        if *phase.borrow_and_update() != Phase::Breaking {
            break;
        }
        breath().await;
        let rate = world.settings.rate;
        allowance += rate as f64 * last.elapsed().as_secs_f64();
        last = tokio::time::Instant::now();
        // Claims that could not be sent in time are not sent in one burst.
        allowance = f64::min(allowance, rate as f64);
        let waits = sent - observer.decided().min(sent) > BACKLOG_SECONDS * rate;
        // The last claims come when everything works again.
        if waits || (sent >= held_back && *done.borrow_and_update() < faults) {
            continue;
        }
        while allowance >= 1.0 && sent < claims {
            world.traffic.events(sent).iter().for_each(|event| world.lab.enqueue(event));
            allowance -= 1.0;
            sent += 1;
        }
        world.sent.send_replace(sent);
    }
    let lab = Arc::clone(world);
    let flushed = tokio::task::spawn_blocking(move || lab.lab.flush(FLUSH_WITHIN));
    flushed.await.expect("Kafka takes the last events");
    world.journal.say(&format!("all {sent} claims are sent"));
    sent
}
