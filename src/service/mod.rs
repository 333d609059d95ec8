//! The worker as a service: connects the real Kafka, Postgres and HTTP to [`Worker`].
//!
//! Starts everything in the right order, and stops it in the reverse order. If the start fails, one
//! sentence says what is wrong and names the key or the address.

mod background;
mod check;
mod commands;
mod hangups;
mod policies;
mod report;
mod secrets;
mod set_up;
mod topics;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::assess::http::Client;
use crate::claim::SubjectKey;
use crate::config::{Config, OnDuplicate};
use crate::decision::Policies;
use crate::intake::consumer::{KafkaIntake, Leave, Membership};
use crate::kafka::client_error;
use crate::live::Live;
use crate::outbox::postgres::PostgresStore;
use crate::outbox::producer::KafkaPublisher;
use crate::status::StatusPage;
use crate::telemetry::http::Endpoints;
use crate::telemetry::{self, Component, Health, Telemetry};
use crate::worker::{Connections, Drain, Ports, Worker};

pub use background::signalled;
use background::{look_after_tables, retry_signal};
pub use check::{CheckCommand, check};
pub use commands::{Failure, audit, dead_letters, migrate, status};
pub use hangups::with_hangups;
pub use policies::policy;
use secrets::{Secrets, keep_secrets};
pub use set_up::open_store;
use set_up::{context, http_client, log_start, look_around};
pub use topics::{TopicsCommand, topics};

/// `/livez` fails if the worker's loop has made no turn for this long.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// Runs the worker until SIGTERM or SIGINT, or until `shutdown` is ready.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub async fn run(
    config: Config,
    telemetry: &Telemetry,
    shutdown: impl Future<Output = ()>,
) -> Result<(), String> {
    // These come first, so that a worker that waits for its database hears them, too: a signal
    // without a handler ends the process.
    let told = signalled();
    let mut for_good = signal(SignalKind::user_defined1())
        .map_err(|error| format!("the handler of SIGUSR1 cannot be installed: {error}"))?;
    let retry_now = retry_signal()?;
    let mut stop = pin!(async {
        tokio::select! { () = told => {} () = shutdown => {} }
    });
    let told_early = async {
        tokio::select! { () = &mut stop => {} _ = for_good.recv() => {} }
    };
    let service = tokio::select! {
        biased;
        () = told_early => {
            info!("stopped before the work began");
            return Ok(());
        }
        service = Service::start(config, telemetry, retry_now) => service?,
    };
    service.work(stop, for_good).await
}

/// The real outside systems.
struct Real;

impl Ports for Real {
    type Intake = KafkaIntake;
    type Store = PostgresStore;
    type Publisher = KafkaPublisher;
    type Http = Client;
}

/// Everything that runs while the worker does.
struct Service {
    worker: Worker<Real>,
    membership: Membership,
    store: Arc<PostgresStore>,
    upkeep: JoinHandle<()>,
    endpoints: Option<Endpoints>,
    /// Dropping it ends the endpoints.
    stopped: oneshot::Sender<()>,
}

impl Service {
    async fn start(
        config: Config,
        telemetry: &Telemetry,
        retry_now: Arc<Notify>,
    ) -> Result<Self, String> {
        let (registry, policy) = config.risk_apis().map_err(|error| error.to_string())?;
        let (registry, shadow) = (Arc::new(registry), config.shadow(&policy));
        let policies = Policies { in_force: policy, shadow };
        // In parallel, because partitions wait while their worker restarts.
        let (store, (), http) = tokio::try_join!(
            open_store(&config),
            look_around(&config),
            http_client(&config, &registry)
        )?;
        let store = Arc::new(store);
        let health = Health::new(STALE_AFTER);
        health.set_ready(Component::Store, Ok(()));
        health.set_ready(Component::Broker, Ok(()));
        let (stopped, stop) = oneshot::channel::<()>();
        let ended = async move { drop(stop.await) };
        let page_token = Live::from(config.http.token.clone());
        let endpoints = telemetry::http::serve(
            &config.http.listen,
            health.clone(),
            telemetry.prometheus(),
            |address| {
                let (health, token) = (health.clone(), page_token.clone());
                StatusPage::routes(address, token, health, telemetry.prometheus(), &store)
            },
            ended,
        );
        let endpoints = endpoints.await.map_err(|error| error.to_string())?;
        if let Some(warning) = config.audit.warning() {
            warn!("{warning}");
        }
        log_start(&config, &registry, &policies, endpoints.as_ref().map(Endpoints::address));

        // From here on nothing is waited for: a worker in the group works, or leaves in order.
        let drain_timeout = config.worker.drain_timeout + Duration::from_secs(2);
        let (mut intake, consumer) = KafkaIntake::start(&config.kafka, drain_timeout)
            .map_err(|error| client_error(&error))?;
        let membership = intake.membership();
        let republish = config.worker.on_duplicate == OnDuplicate::Republish;
        let publisher = KafkaPublisher::start(config.kafka.clone(), consumer, republish)?;
        let ports = Connections::<Real> {
            intake,
            store: Arc::clone(&store),
            publisher: Arc::new(publisher),
            http,
        };
        let subject_key = SubjectKey::new(config.subject_key());
        let tables = look_after_tables(Arc::clone(&store), policies.clone(), subject_key);
        let context =
            context(&config, Arc::clone(&registry), policies, telemetry, health, retry_now);
        let secrets =
            keep_secrets(Secrets { config, registry, store: Arc::clone(&store), page_token });
        let upkeep = tokio::spawn(async {
            tokio::join!(tables, secrets);
        });
        let worker = Worker::new(ports, context);
        Ok(Self { worker, membership, store, upkeep, endpoints, stopped })
    }

    /// Works until `stop` is ready. `for_good`, SIGUSR1, stops the worker as well, and the group is
    /// told that it does not come back.
    async fn work(
        self,
        stop: impl Future<Output = ()>,
        mut for_good: Signal,
    ) -> Result<(), String> {
        let mut how = Leave::ForNow;
        let stop = async {
            tokio::select! {
                () = stop => {}
                _ = for_good.recv() => how = Leave::ForGood,
            }
        };
        // The worker is dropped before the group is left, so that nothing else holds the consumer.
        let outcome = match self.worker.run(stop).await {
            Ok((_, drain)) => told(drain),
            Err(error) => Err(error.to_string()),
        };
        self.upkeep.abort();
        let membership = self.membership;
        let left = tokio::task::spawn_blocking(move || membership.end(how)).await;
        let left = left.map_err(|error| error.to_string());
        let outcome = outcome.and(left);
        drop(self.stopped);
        if let Some(endpoints) = self.endpoints {
            endpoints.finished().await;
        }
        if outcome.is_ok() {
            self.store.finish().await;
        }
        outcome
    }
}

/// The result of the drain. It is an error if something was left: scripts that restart workers wait
/// for a clean end.
fn told(drain: Drain) -> Result<(), String> {
    let Drain { unpublished, unrecorded } = drain;
    if drain.is_clean() {
        info!("the worker has drained");
        return Ok(());
    }
    Err(format!(
        "not drained within worker.drain_timeout: {unpublished} records are not published and will \
         be delivered again, {unrecorded} answers are not in Postgres and their claims will be \
         asked about again"
    ))
}
