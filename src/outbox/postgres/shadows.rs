//! What a policy in shadow would have decided otherwise, on its way into `shadow_decisions`.
//!
//! No decision rests on these rows, so no claim waits for them: they are written after their
//! verdicts are committed, by a task beside the worker, over a connection of its own. Rows that
//! PostgreSQL refuses are dropped and counted, and a warning says so at most every ten minutes. So
//! the time of one statement bounds how many rows wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::connections::Connections;
use super::error::Failure;
use crate::schema::{self, ShadowDecision, Verdict};
use crate::telemetry::shadow_decisions_lost;

/// The least time between two warnings that rows are dropped.
const TELL_EVERY: Duration = Duration::from_secs(600);
/// How long the end of the process waits for what is not written yet.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Rows that wait, and the connection that they are written over.
#[derive(Debug)]
pub(super) struct Shadows {
    connections: Connections,
    waiting: Mutex<Vec<ShadowDecision>>,
    /// Held by the task that writes. When a failure was last logged.
    told: tokio::sync::Mutex<Option<Instant>>,
}

impl Shadows {
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections, waiting: Mutex::default(), told: tokio::sync::Mutex::default() }
    }

    /// Has the rows of verdicts that are recorded written, and does not wait for it.
    pub(super) fn add<'a>(self: &Arc<Self>, verdicts: impl Iterator<Item = &'a Verdict>) {
        let rows: Vec<_> = verdicts.filter_map(ShadowDecision::of).collect();
        if rows.is_empty() {
            return;
        }
        self.waiting().extend(rows);
        let shadows = Arc::clone(self);
        tokio::spawn(async move { shadows.write().await });
    }

    /// Writes what waits, one statement at a time.
    async fn write(&self) {
        let mut told = self.told.lock().await;
        let rows = std::mem::take(&mut *self.waiting());
        if rows.is_empty() {
            return;
        }
        let write = async {
            let mut lease = self.connections.lease().await?;
            self.connections.answer(schema::insert(&mut lease, rows.iter())).await?;
            lease.keep();
            Ok::<_, Failure>(())
        };
        let Err(failure) = write.await else { return };
        shadow_decisions_lost(rows.len());
        if told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        tracing::warn!(
            "{} rows of shadow_decisions were not written, and more may follow before the next \
             warning in {TELL_EVERY:?} (claimgate_shadow_decisions_lost_total counts them); all \
             verdicts are recorded: {}",
            rows.len(),
            failure.into_store_error(self.connections.place())
        );
    }

    /// Writes what waits still, unless that takes long, and closes the connection.
    pub(super) async fn finish(&self) {
        drop(timeout(LAST_WAIT, self.write()).await);
        self.connections.close().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<ShadowDecision>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
