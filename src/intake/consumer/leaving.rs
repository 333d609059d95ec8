//! How the consumer leaves its group.
//!
//! If a member leaves while the group rebalances, the group waits for it until its session ends:
//! its request to leave is queued behind its own request to join, and the broker answers that only
//! when all others have joined. So the consumer waits until the rebalance is over, then lets the
//! group accept the last commits, which it refuses during a rebalance, and only then leaves. The
//! invariant: none of this waits for a broker that does not answer.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Rebalances, SharedConsumer, dealt};

/// The time limit of a request for the state of the group.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the consumer is polled between two requests.
const POLL: Duration = Duration::from_millis(30);
/// How long the publisher, and the watch for orphans, may take to release the consumer. The watch
/// may wait for an answer.
const RELEASE_TIMEOUT: Duration = dealt::ASK_TIMEOUT.saturating_add(Duration::from_secs(1));

/// How the worker leaves its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It may be back soon: a member with a name stays in the group, and the group keeps its
    /// partitions for it until its session ends.
    ForNow,
    /// It does not come back under its name: the group assigns its partitions to others at once.
    ForGood,
}

/// Leaves the group and waits for that. `max_wait` bounds the wait for the end of a rebalance.
pub(super) fn leave(consumer: SharedConsumer, how: Leave, max_wait: Duration) {
    if consumer.client().fatal_error().is_none() {
        wait_for_stable_group(&consumer, max_wait);
        consumer.context().commits.wait();
    }
    consumer.context().commits.give_up();
    if how == Leave::ForGood {
        unsubscribe(&consumer);
    }
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    let mut consumer = consumer;
    // The thread that drops the consumer last tells the group. That has to be this thread, because
    // the caller waits for it.
    while let Err(shared) = Arc::try_unwrap(consumer) {
        if Instant::now() > deadline {
            return warn!(
                "the consumer is still in use; the group waits for this worker until its session \
                 times out"
            );
        }
        drop(shared.poll(POLL));
        consumer = shared;
    }
}

/// Polls, so that the group gets its answers, until no rebalance is under way.
fn wait_for_stable_group(consumer: &BaseConsumer<Rebalances>, max_wait: Duration) {
    let deadline = Instant::now() + max_wait;
    let mut was_stable = false;
    loop {
        // Records that are read here are dropped: the next owner of the partition reads them again.
        drop(consumer.poll(POLL));
        let group_id = &consumer.context().group_id;
        let is_stable = match consumer.fetch_group_list(Some(group_id), ASK_TIMEOUT) {
            Ok(groups) => {
                let is_stable = |state: &str| matches!(state, "Stable" | "Empty" | "Dead");
                groups.groups().iter().all(|group| is_stable(group.state()))
            }
            Err(error) => {
                return debug!(error.message = %error, "it is not known whether the group is \
                     rebalancing");
            }
        };
        // It checks twice, because the group's last answer to this member may still be under way.
        if is_stable && was_stable {
            return;
        }
        was_stable = is_stable;
        if Instant::now() > deadline {
            return warn!(
                "the group is still rebalancing; it may wait for this worker until its session \
                 times out"
            );
        }
    }
}

/// A member with a name does not leave the group when it is closed, but it does when it
/// unsubscribes.
fn unsubscribe(consumer: &BaseConsumer<Rebalances>) {
    consumer.unsubscribe();
    let deadline = Instant::now() + ASK_TIMEOUT;
    while Instant::now() < deadline && consumer.context().holds_any() {
        drop(consumer.poll(POLL));
    }
    // The revocation was answered; the request to leave is sent a moment later.
    drop(consumer.poll(POLL));
}
