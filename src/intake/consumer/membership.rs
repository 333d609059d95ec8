//! The worker's membership of its group, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::Leave;

/// How long to wait for the end of the thread once no rebalance is under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The worker's membership of its group.
#[derive(Debug)]
pub struct Membership {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) leave: Arc<OnceLock<Leave>>,
    /// How long the worker waits for the end of a rebalance before it leaves the group.
    pub(super) max_wait: Duration,
    /// The consumer's thread. `None` after it was handed over.
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Membership {
    /// Moves the thread to the returned membership.
    pub(super) fn hand_over(&mut self) -> Self {
        let (stop, leave) = (Arc::clone(&self.stop), Arc::clone(&self.leave));
        Self { stop, leave, max_wait: self.max_wait, thread: self.thread.take() }
    }

    /// Ends the consumer's thread, which leaves the group, and waits for it, but not for a broker.
    /// Call it when the [`KafkaIntake`](super::KafkaIntake) and every other
    /// [`SharedConsumer`](super::SharedConsumer) are dropped.
    pub fn end(mut self, how: Leave) {
        self.leave.get_or_init(|| how);
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + self.max_wait + CLOSE_TIMEOUT;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return warn!(
                    "the worker did not leave the group in time; the group waits for it until its \
                     session times out"
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            error!("the consumer's thread ended in a panic");
        }
    }
}
