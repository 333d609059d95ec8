//! What runs beside the worker: the upkeep of the tables, and the handlers of signals.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::warn;

use crate::claim::SubjectKey;
use crate::decision::{Policies, Policy};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{NewPolicy, NewSubjectKey, PolicyUse};

/// How often the tables are looked after.
const UPKEEP: Duration = Duration::from_secs(3600);

/// How soon this is tried again after a failure, such as a lock that an auditor's transaction
/// holds.
const UPKEEP_AGAIN: Duration = Duration::from_secs(600);

/// Stores the policies and the id of the subject key, makes the partitions of the next months, and
/// counts decisions. A failure is logged and tried again soon; meanwhile rows go to the default
/// partition, and auditors' queries count for themselves. The worker removes nothing: `claimgate
/// audit retention` does.
pub(super) async fn look_after_tables(
    store: Arc<PostgresStore>,
    policies: Policies,
    subject_key: SubjectKey,
) {
    let id = subject_key.id();
    loop {
        let pause = match look_after(&store, &policies, &id).await {
            Ok(()) => UPKEEP,
            Err(error) => {
                warn!(
                    "the upkeep of the tables failed (recording policies and the key's id, \
                     creating partitions, counting decisions); next try in {UPKEEP_AGAIN:?}: \
                     {error}"
                );
                UPKEEP_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look_after(
    store: &PostgresStore,
    policies: &Policies,
    key_id: &str,
) -> Result<(), StoreError> {
    let in_force = (&policies.in_force, PolicyUse::ToDecide);
    let shadow = policies.shadow.as_ref().map(|policy| (policy, PolicyUse::InShadow));
    let content =
        |(policy, used): (&Policy, _)| (policy.version().to_owned(), policy.content(), used);
    let policies: Vec<_> = iter::once(in_force).chain(shadow).map(content).collect();
    let rows = policies.iter();
    let rows = rows.map(|(version, content, used)| NewPolicy { version, content, used: *used });
    let _: Vec<(String,)> = store.insert(rows, "on conflict do nothing returning version").await?;
    let key = [NewSubjectKey { id: key_id }].into_iter();
    let _: Vec<(String,)> = store.insert(key, "on conflict do nothing returning id").await?;
    store.ensure_partitions().await?;
    store.count_decisions().await?;
    Ok(())
}

/// Ready when SIGTERM or SIGINT has come since the call. Without handlers these signals end the
/// process at once, except process 1 of a container, which they do not end at all.
pub fn signalled() -> impl Future<Output = ()> + Send + use<> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
            return std::future::pending().await;
        };
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    }
}

/// Notified by every SIGUSR2: deferred claims are to be assessed at once.
pub(super) fn retry_signal() -> Result<Arc<Notify>, String> {
    let mut told = signal(SignalKind::user_defined2())
        .map_err(|error| format!("the handler of SIGUSR2 cannot be installed: {error}"))?;
    let retry_now = Arc::new(Notify::new());
    let notify = Arc::clone(&retry_now);
    tokio::spawn(async move {
        while told.recv().await.is_some() {
            notify.notify_one();
        }
    });
    Ok(retry_now)
}
