//! Commits that are sent on their own: how many are on their way. Whoever gives a partition back,
//! or leaves the group, waits for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// How long a revocation, or a worker that ends, waits for commits that are on their way.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Counts commits that are handed over to be sent, and those that the group has taken.
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

    /// So many of them, the first, are done.
    pub fn are_done(&self, commits: u64) {
        self.done.store(commits, Ordering::Release);
    }

    /// Whether the group is left: what it has not taken so far, it is not to be asked to take.
    pub fn are_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Lets none be tried after this.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// Waits until all are done, for a bounded time: what is not, the next owner repeats.
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
