//! Outages of Postgres: the worker logs when one begins and ends, and `/readyz` says whether there
//! is one. [`StoreHealth`](super::store_health::StoreHealth) says when it tries again.

use tokio::time::Instant;
use tracing::{info, warn};

use super::store_health::Asked;
use super::{OUTAGE_PAUSE, Ports, Worker, WorkerError};
use crate::outbox::StoreError;
use crate::telemetry::Component;

impl<P: Ports> Worker<P> {
    /// Postgres did not do what it was asked for. The worker tries again, or ends.
    pub(super) fn store_failed(
        &mut self,
        asked: Asked,
        error: StoreError,
    ) -> Result<(), WorkerError> {
        let reason = match error {
            StoreError::Fatal(reason) => return Err(WorkerError::Store(reason)),
            StoreError::Transient(reason) => reason,
        };
        if self.outflow.store.failed(asked, &reason, Instant::now() + OUTAGE_PAUSE) {
            warn!(
                "Postgres does not answer; nothing is lost, the worker tries again until it does: \
                 {reason}"
            );
        }
        self.context.meter.record_failed();
        self.context.health.set_ready(Component::Store, Err(reason));
        Ok(())
    }

    /// Postgres did what it was asked for.
    pub(super) fn store_answered(&mut self, asked: Asked) {
        if self.outflow.store.answered(asked, Instant::now()) {
            info!("Postgres answers again");
            self.context.health.set_ready(Component::Store, Ok(()));
        }
    }
}
