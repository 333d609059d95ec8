//! A process that can be frozen, as SIGSTOP freezes one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::signal::Signal;

/// A handle on a process. While it is frozen, nothing in it makes a step; everything outside goes
/// on.
#[derive(Debug, Clone, Default)]
pub struct Process {
    frozen: Arc<AtomicBool>,
    changed: Signal,
}

impl Process {
    /// Freezes the process, or lets it go on.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.changed.raise();
    }

    /// Waits until the process is not frozen.
    pub async fn thawed(&self) {
        self.becomes(false).await;
    }

    /// Runs a future within the process.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            self.thawed().await;
            tokio::select! {
                biased;
                () = self.becomes(true) => {}
                output = &mut future => return output,
            }
        }
    }

    async fn becomes(&self, frozen: bool) {
        self.changed.until(|| self.frozen.load(Ordering::Relaxed) == frozen).await;
    }
}
