//! How the consumer leaves its group.
//!
//! A member that ends while the group rebalances is waited for until its session ends: what it says
//! then stands behind its own request to join, which is not answered before all others have joined.
//! So the end waits until the group is at rest, lets it take the last commits, which it refuses
//! while it is not, and only then leaves. The invariant: nothing of this waits for a broker that
//! does not answer.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Rebalances, SharedConsumer};

/// How long the group's coordinator may take to say how the group is.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// What the consumer is polled for between two questions.
const POLL: Duration = Duration::from_millis(30);
/// How long the publisher may take to let go of the consumer.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(2);

/// How the worker leaves its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It may be back soon: a member with a name stays in the group, which keeps its partitions for
    /// it until its session ends.
    ForNow,
    /// It does not come back under its name: the group deals its partitions out at once.
    ForGood,
}

/// Leaves the group, and waits for that; `max_wait` bounds how long the group may take to come to
/// rest.
pub(super) fn leave(consumer: SharedConsumer, how: Leave, max_wait: Duration) {
    if consumer.client().fatal_error().is_none() {
        wait_for_rest(&consumer, max_wait);
        consumer.context().commits.wait();
    }
    consumer.context().commits.give_up();
    if how == Leave::ForGood {
        unsubscribe(&consumer);
    }
    let deadline = Instant::now() + LET_GO_TIMEOUT;
    let mut consumer = consumer;
    // Whoever drops it last tells the group. That has to be this thread: it is the one that the
    // caller waits for.
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

/// Polls, so that the group's questions are answered, until no rebalance is under way.
fn wait_for_rest(consumer: &BaseConsumer<Rebalances>, max_wait: Duration) {
    let deadline = Instant::now() + max_wait;
    let mut rested = false;
    loop {
        // What is read is not handed over: whoever has the partition next reads it again.
        drop(consumer.poll(POLL));
        let group_id = &consumer.context().group_id;
        let rests = match consumer.fetch_group_list(Some(group_id), ASK_TIMEOUT) {
            Ok(groups) => {
                let rests = |state: &str| matches!(state, "Stable" | "Empty" | "Dead");
                groups.groups().iter().all(|group| rests(group.state()))
            }
            Err(error) => {
                return debug!(error.message = %error, "it is not known whether the group is \
                     rebalancing");
            }
        };
        // Twice, because the group's last answer may still be under way to this member.
        if rests && rested {
            return;
        }
        rested = rests;
        if Instant::now() > deadline {
            return warn!(
                "the group is still rebalancing; it may wait for this worker until its session \
                 times out"
            );
        }
    }
}

/// A member with a name does not leave when it is closed, but it does when it wants no topic any
/// more.
fn unsubscribe(consumer: &BaseConsumer<Rebalances>) {
    consumer.unsubscribe();
    let deadline = Instant::now() + ASK_TIMEOUT;
    while Instant::now() < deadline && consumer.context().holds_any() {
        drop(consumer.poll(POLL));
    }
    // The group's question was answered; that it leaves is sent a moment later.
    drop(consumer.poll(POLL));
}
