//! The worker's place in its group, and how it gives it up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::Leave;

/// How long the end of the thread is waited for once the group is at rest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The worker's place in its group.
#[derive(Debug)]
pub struct Membership {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) leave: Arc<OnceLock<Leave>>,
    /// How long the group may take to come to rest before the worker leaves it.
    pub(super) max_wait: Duration,
    /// The consumer's. `None` for who has handed it over.
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Membership {
    /// Hands the thread over to the returned one.
    pub(super) fn hand_over(&mut self) -> Self {
        let (stop, leave) = (Arc::clone(&self.stop), Arc::clone(&self.leave));
        Self { stop, leave, max_wait: self.max_wait, thread: self.thread.take() }
    }

    /// Ends the consumer's thread, which leaves the group, and waits for it, though not for a
    /// broker. To be called when the [`KafkaIntake`](super::KafkaIntake) and every other
    /// [`SharedConsumer`](super::SharedConsumer) are gone.
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
