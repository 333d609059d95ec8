//! Counts commits that are sent outside a transaction and not acknowledged yet. A member waits for
//! them before it gives a partition back or leaves the group.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// How long a revocation, or a worker that ends, waits for unacknowledged commits.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The pause between two checks.
const LOOK: Duration = Duration::from_millis(2);

/// Counts the commits that were handed over, and those that the group has accepted.
#[derive(Debug, Default)]
pub struct CommitCount {
    handed_over: AtomicU64,
    done: AtomicU64,
    given_up: AtomicBool,
}

impl CommitCount {
    /// Another commit was handed over.
    pub fn hand_over(&self) {
        self.handed_over.fetch_add(1, Ordering::Release);
    }

    /// How many were handed over so far.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Acquire)
    }

    /// The first `done` of them are done.
    pub fn are_done(&self, commits: u64) {
        self.done.store(commits, Ordering::Release);
    }

    /// Whether the worker leaves the group: commits that the group has not accepted by then are not
    /// tried again.
    pub fn are_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// After this no commit is tried.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// Waits until all are done, for a bounded time. The next owner repeats what is not committed.
    pub(super) fn wait(&self) {
        let deadline = Instant::now() + MAX_WAIT;
        while self.done.load(Ordering::Acquire) < self.handed_over() {
            if Instant::now() >= deadline {
                warn!(
                    "the last offsets were not committed in time; decisions may be published again"
                );
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
