//! A signal that wakes its waiters in the order in which they came. tokio's `watch` wakes them in a
//! random one.

use std::sync::Arc;

use tokio::sync::Notify;

/// Something may have changed. Clones are the same signal.
#[derive(Debug, Clone, Default)]
pub(super) struct Signal {
    notify: Arc<Notify>,
}

impl Signal {
    /// Wakes all waiters.
    pub(super) fn raise(&self) {
        self.notify.notify_waiters();
    }

    /// Waits until a condition holds. It is checked whenever the signal is raised.
    pub(super) async fn until(&self, mut holds: impl FnMut() -> bool) {
        loop {
            let mut raised = std::pin::pin!(self.notify.notified());
            // From here on nothing is missed.
            raised.as_mut().enable();
            if holds() {
                return;
            }
            raised.await;
        }
    }
}
