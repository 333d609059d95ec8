//! What runs beside the worker: the care of partitions, and the signals that end it.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::outbox::postgres::PostgresStore;

/// How often the partitions of the large tables are looked after.
const UPKEEP: Duration = Duration::from_secs(6 * 3600);

/// And how soon again after a failure, such as a lock that an auditor's transaction holds.
const UPKEEP_AGAIN: Duration = Duration::from_secs(600);

/// Makes the next months' partitions in time. A failure is told and tried again soon: rows go to
/// the default partition meanwhile. The worker takes nothing away: `claimgate audit retention`
/// does.
pub(super) async fn look_after_partitions(store: Arc<PostgresStore>) {
    loop {
        let pause = match store.ensure_partitions().await {
            Ok(_) => UPKEEP,
            Err(error) => {
                warn!(
                    "the partitions of the months to come could not be made; tried again in {UPKEEP_AGAIN:?}: {error}"
                );
                UPKEEP_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Ready when SIGTERM or SIGINT has come since the call. Without handlers the signals end the
/// process as they always do; process 1 of a container they do not even end.
pub fn signalled() -> impl Future<Output = ()> + Send + use<> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
            return std::future::pending().await;
        };
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    }
}
