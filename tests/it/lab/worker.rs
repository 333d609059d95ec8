//! A worker's process.

use std::process::{Child, Command};
use std::time::Duration;

pub(crate) const SIGUSR1: u32 = 10;
pub(crate) const SIGUSR2: u32 = 12;
const SIGTERM: u32 = 15;

/// A worker process. Killed when dropped.
pub(crate) struct Worker {
    pub(super) child: Child,
}

impl Worker {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// SIGTERM, then waits for the end and returns the exit code. On a busy machine a process may
    /// have just begun: it gets the signal when it has a handler.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        // A process that has ended by itself gets no signal; its exit code shows that.
        while !self.has_ended() {
            if self.hears(SIGTERM) {
                self.signal("-TERM");
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "the worker is deaf to SIGTERM");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.end(Duration::from_secs(30)).await
    }

    /// Whether a signal has a handler, as Linux tells; elsewhere it is taken for granted.
    pub(crate) fn hears(&self, signal: u32) -> bool {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
        else {
            return true;
        };
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_none_or(|caught| caught & (1 << (signal - 1)) != 0)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Waits for the end. Returns the exit code, `None` if a signal ended it.
    pub(crate) async fn end(&mut self, timeout: Duration) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the worker did not end within {timeout:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ended already, or ended now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
