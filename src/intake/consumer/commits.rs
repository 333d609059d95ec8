//! Commits that are sent on their own: how many are on their way. Whoever gives a partition back
//! waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// How long a revocation waits for commits that are on their way.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Counts commits that are handed over to be sent, and those that the group has taken.
#[derive(Debug, Default)]
pub struct CommitCount {
    handed_over: AtomicU64,
    done: AtomicU64,
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

    /// Waits until all are done, for a bounded time: what is not, the next owner repeats.
    pub(super) fn wait(&self) {
        let deadline = Instant::now() + MAX_WAIT;
        while self.done.load(Ordering::Acquire) < self.handed_over() {
            if Instant::now() >= deadline {
                warn!(
                    "the group did not take the last offsets in time; decisions may be published again"
                );
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
