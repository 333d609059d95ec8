//! Prepares the store and the topics: connects, migrates if configured, and checks them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use super::check;
use crate::assess::http::Client;
use crate::claim::SubjectKey;
use crate::config::{Config, mistyped_variables};
use crate::decision::{Policies, Policy};
use crate::findings::Severity;
use crate::kafka::check::first_wrong;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::risk::Registry;
use crate::telemetry::{self, Health, Meter, Telemetry};
use crate::worker::{Clock, WorkerContext};

/// Checks the topics, the proxy settings and the variables. It logs doubtful settings once; a
/// setting that would lose claims ends the start.
pub(super) async fn look_around(config: &Config) -> Result<(), String> {
    let mut findings = config.kafka.look_at_topics(config.retry.give_up_after).await;
    findings.extend(check::egress(config));
    findings.extend(mistyped_variables());
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        warn!("{}: {}", finding.place, finding.sentence());
    }
    first_wrong(&findings).map_or(Ok(()), Err)
}

/// Makes the client that calls the risk APIs, on a thread of its own, because reading the system's
/// certificates takes a tenth of a second.
pub(super) async fn http_client(config: &Config, registry: &Registry) -> Result<Client, String> {
    let (egress, shortest) = (config.egress.clone(), shortest_timeout(registry));
    let made = tokio::task::spawn_blocking(move || Client::for_calls(&egress, shortest));
    let made = made.await.map_err(|error| error.to_string())?;
    made.map_err(|error| format!("{}: the HTTP client cannot be made: {error}", error.key()))
}

/// The shortest timeout of a call.
pub(super) fn shortest_timeout(registry: &Registry) -> Duration {
    registry.iter().map(|(_, route)| route.timeout).min().unwrap_or(Duration::MAX)
}

/// Opens the store and checks that its schema is the one that this program was built for.
///
/// # Errors
/// One sentence that names the address, or what is missing.
pub async fn open_store(config: &Config) -> Result<PostgresStore, String> {
    let store =
        PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    if config.postgres.migrate {
        let applied = store.migrate().await.map_err(|error| error.to_string())?;
        if applied > 0 {
            info!(applied, "applied {applied} migrations");
        }
    }
    store.check_schema().await.map_err(|error| error.to_string())?;
    // A missing right, or a table that accepts no rows, is found now and not with the first claim.
    match store.check_rights().await {
        Err(error @ StoreError::Fatal(_)) => return Err(error.to_string()),
        // For example a failover that is not over yet. The worker waits for it, as at any other
        // time.
        Err(error @ StoreError::Transient(_)) => {
            warn!("it could not be checked that the tables can be written: {error}")
        }
        Ok(()) => refuse_ownership(config, &store).await?,
    }
    Ok(store)
}

/// Refuses to start a worker whose role owns the tables, because it could change evidence; unless
/// the worker itself has to migrate.
pub(super) async fn refuse_ownership(config: &Config, store: &PostgresStore) -> Result<(), String> {
    if config.postgres.migrate || !store.is_owner().await.map_err(|error| error.to_string())? {
        return Ok(());
    }
    Err(format!(
        "{}: the worker's role owns the tables, so it could change evidence; let `claimgate \
         migrate --roles` create roles and give the worker a login in claimgate_worker, or set \
         postgres.migrate = true if the worker is to migrate",
        store.place()
    ))
}

pub(super) fn context(
    config: &Config,
    registry: Arc<Registry>,
    policies: Policies,
    telemetry: &Telemetry,
    health: Health,
    retry_now: Arc<Notify>,
) -> WorkerContext {
    let kinds: Vec<&str> = registry.kinds().map(|(kind, _)| kind).collect();
    let apis: Vec<&str> = registry.iter().map(|(_, route)| route.api.name()).collect();
    if policies.shadow.is_some() {
        telemetry::shadow_rules(&apis);
    }
    WorkerContext {
        kafka: config.kafka.clone(),
        worker: config.worker.clone(),
        retry: config.retry.clone(),
        breaker: config.breaker.clone(),
        flood: config.dead_letters.flood_bounds(),
        meter: Meter::new(&kinds, &apis),
        spans: telemetry.spans(&config.kafka.group_id),
        baggage: config.telemetry.baggage.clone(),
        subject_key: SubjectKey::new(config.subject_key()),
        registry: Arc::clone(&registry),
        policies,
        health,
        retry_now,
        clock: Clock::System,
        random: fastrand::Rng::new(),
    }
}

pub(super) fn log_start(
    config: &Config,
    registry: &Registry,
    policies: &Policies,
    endpoints: Option<std::net::SocketAddr>,
) {
    let kinds: Vec<&str> = registry.kinds().map(|(kind, _)| kind).collect();
    info!(
        kafka.bootstrap_servers = %config.kafka.bootstrap_servers,
        kafka.group_id = %config.kafka.group_id,
        kafka.input_topic = %config.kafka.input_topic,
        kafka.guarantee = config.kafka.guarantee.as_str(),
        worker.max_in_flight = config.worker.max_in_flight,
        policy.version = policies.in_force.version(),
        policy.shadow = policies.shadow.as_ref().map(Policy::version),
        http.listen = endpoints.map(tracing::field::display),
        "claimgate {} serves {}",
        env!("CARGO_PKG_VERSION"),
        kinds.join(", ")
    );
}
