//! The worker as a service: the real Kafka, Postgres and HTTP, wired to [`Worker`].
//!
//! Knows how to start everything in the right order and to stop it in the reverse one. Whatever is wrong at the start is said in
//! one sentence that names the key or the address.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::assess::http::Client;
use crate::audit::{AuditCommand, Auditor, Retention, retention};
use crate::config::{Config, OnDuplicate};
use crate::dead_letters::{DeadLetters, DeadLettersCommand};
use crate::intake::kafka::KafkaIntake;
use crate::outbox::Store;
use crate::outbox::kafka::KafkaPublisher;
use crate::outbox::postgres::PostgresStore;
use crate::risk::Registry;
use crate::telemetry::{self, Component, Health, Meter, Telemetry};
use crate::worker::{Clock, Ports, Terms, Worker};

/// Without a turn of the worker's loop for so long, `/livez` fails.
const STALE_AFTER: Duration = Duration::from_secs(30);
/// How often the partitions of the large tables are looked after.
const UPKEEP: Duration = Duration::from_secs(6 * 3600);

/// Runs the worker until SIGTERM or SIGINT, or until `shutdown` is ready.
///
/// # Errors
/// One sentence: what is wrong, where, and what to do.
pub async fn run(
    config: Config,
    telemetry: &Telemetry,
    shutdown: impl Future<Output = ()>,
) -> Result<(), String> {
    let (registry, policy) = config.risk_apis().map_err(|error| error.to_string())?;
    let registry = Arc::new(registry);
    let store = Arc::new(open_store(&config).await?);
    let kafka = config.kafka.clone();
    tokio::task::spawn_blocking(move || kafka.check_broker()).await.map_err(|error| error.to_string())??;
    let health = Health::new(STALE_AFTER);
    health.set_ready(Component::Store, Ok(()));
    health.set_ready(Component::Broker, Ok(()));
    let (stopped, stop) = oneshot::channel::<()>();
    let ended = async move { drop(stop.await) };
    let endpoints =
        telemetry::http::serve(&config.http.listen, health.clone(), telemetry.prometheus(), ended);
    let endpoints = endpoints.await.map_err(|error| error.to_string())?;
    log_start(
        &config,
        &registry,
        policy.version(),
        endpoints.as_ref().map(telemetry::http::Endpoints::address),
    );

    let upkeep = tokio::spawn(look_after_partitions(Arc::clone(&store), config.audit.retention));
    let drain_timeout = config.worker.drain_timeout + Duration::from_secs(2);
    let (intake, consumer) =
        KafkaIntake::start(&config.kafka, drain_timeout).map_err(|error| error.to_string())?;
    let republish = config.worker.on_duplicate == OnDuplicate::Republish;
    let publisher = KafkaPublisher::start(config.kafka.clone(), consumer, republish)
        .map_err(|error| error.to_string())?;
    let http = Client::new().map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
    let ports = Ports { intake, store: Arc::clone(&store), publisher: Arc::new(publisher), http };
    let terms = terms(&config, registry, policy, telemetry, health);
    let result = Worker::new(ports, terms).run(async {
        tokio::select! { () = signalled() => {} () = shutdown => {} }
    });
    let result = result.await;
    upkeep.abort();
    let outcome = match result {
        Ok(intake) => {
            tokio::task::spawn_blocking(move || intake.stop()).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    drop(stopped);
    if let Some(endpoints) = endpoints {
        endpoints.finished().await;
    }
    if outcome.is_ok() {
        store.close().await;
    }
    outcome
}

/// Opens the store and sees that its schema is the one this program was built for.
///
/// # Errors
/// One sentence that names the address, or what is missing.
pub async fn open_store(config: &Config) -> Result<PostgresStore, String> {
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    if config.postgres.migrate {
        let applied = store.migrate().await.map_err(|error| error.to_string())?;
        if applied > 0 {
            info!(applied, "applied {applied} migrations");
        }
    }
    store.check_schema().await.map_err(|error| error.to_string())?;
    // One question as the worker asks it: a missing privilege shows now and not with the first claim.
    store.recall(vec![String::new()]).await.map_err(|error| error.to_string())?;
    Ok(store)
}

fn terms(
    config: &Config,
    registry: Arc<Registry>,
    policy: crate::decision::Policy,
    telemetry: &Telemetry,
    health: Health,
) -> Terms {
    let kinds: Vec<&str> = registry.kinds().map(|(kind, _)| kind).collect();
    let apis: Vec<&str> = registry.iter().map(|(_, route)| route.api.name()).collect();
    Terms {
        kafka: config.kafka.clone(),
        worker: config.worker.clone(),
        retry: config.retry.clone(),
        breaker: config.breaker.clone(),
        flood: config.dead_letters.flood_bounds(),
        meter: Meter::new(&kinds, &apis),
        spans: telemetry.spans(&config.kafka.group_id),
        subject_key: config.subject_key().cloned(),
        registry: Arc::clone(&registry),
        policy,
        health,
        clock: Clock::System,
        random: fastrand::Rng::new(),
    }
}

fn log_start(config: &Config, registry: &Registry, policy: &str, endpoints: Option<std::net::SocketAddr>) {
    let kinds: Vec<&str> = registry.kinds().map(|(kind, _)| kind).collect();
    info!(
        kafka.bootstrap_servers = %config.kafka.bootstrap_servers,
        kafka.group_id = %config.kafka.group_id,
        kafka.input_topic = %config.kafka.input_topic,
        kafka.guarantee = ?config.kafka.guarantee,
        worker.max_in_flight = config.worker.max_in_flight,
        policy.version = %policy,
        http.listen = ?endpoints,
        "claimgate {} serves {}",
        env!("CARGO_PKG_VERSION"),
        kinds.join(", ")
    );
}

/// Makes the next months' partitions in time and drops those past their retention. A failure is told and tried again: rows go to
/// the default partition meanwhile.
async fn look_after_partitions(store: Arc<PostgresStore>, retention: Retention) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        if let Err(error) = store.ensure_partitions().await {
            error!("the partitions of risk_calls and claim_events could not be looked after: {error}");
        }
        match retention::enforce(&store, &retention).await {
            Ok(dropped) if dropped.is_empty() => {}
            Ok(dropped) => info!("past their retention and dropped: {}", dropped.join(", ")),
            Err(error) => error!("what is past its retention could not be dropped: {error}"),
        }
    }
}

/// SIGTERM or SIGINT came.
pub async fn signalled() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        }
        // Without handlers the signals end the process as they always do.
        _ => std::future::pending().await,
    }
}

/// `claimgate migrate`: applies the migrations and makes the partitions of the months to come.
///
/// # Errors
/// One sentence that names the address, or what is wrong.
pub async fn migrate(config: &Config) -> Result<(), String> {
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let applied = store.migrate().await.map_err(|error| error.to_string())?;
    let partitions = store.ensure_partitions().await.map_err(|error| error.to_string())?;
    println!("{applied} migrations applied, {} partitions made", partitions.len());
    store.close().await;
    Ok(())
}

/// `claimgate check`: looks at everything a worker needs, and says of each whether it is well.
///
/// # Errors
/// How many things are wrong; what they are was printed.
pub async fn check(config: &Config) -> Result<(), String> {
    let mut wrong = 0;
    let mut say = |what: &str, result: Result<String, String>| match result {
        Ok(detail) => println!("ok    {what}: {detail}"),
        Err(problem) => {
            wrong += 1;
            println!("WRONG {what}: {problem}");
        }
    };
    let apis = config.risk_apis().map_err(|error| error.to_string());
    say(
        "risk APIs",
        apis.map(|(registry, policy)| format!("{} built, policy {}", registry.len(), policy.version())),
    );
    let store = async {
        let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
        store.check_schema().await.map_err(|error| error.to_string())?;
        store.close().await;
        Ok("answers, and its schema is up to date".to_owned())
    };
    say("Postgres", store.await);
    let kafka = config.kafka.clone();
    let broker =
        tokio::task::spawn_blocking(move || kafka.check_broker()).await.map_err(|error| error.to_string())?;
    say(
        "Kafka",
        broker.map(|()| format!("{} answers, and the topics are there", config.kafka.bootstrap_servers)),
    );
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of 3 checks failed")) }
}

/// `claimgate audit …`: answers a question from the record, on stdout.
///
/// # Errors
/// One sentence: what is wrong, or that nothing was found.
pub async fn audit(config: &Config, command: AuditCommand) -> Result<(), String> {
    let risk_apis = if command.needs_risk_apis() {
        Some(config.risk_apis().map_err(|error| error.to_string())?)
    } else {
        None
    };
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let auditor = Auditor {
        store: &store,
        subject_key: config.subject_key(),
        retention: &config.audit.retention,
        risk_apis: risk_apis.as_ref().map(|(registry, policy)| (registry, policy)),
    };
    let found =
        command.run(auditor, &mut std::io::stdout().lock()).await.map_err(|error| error.to_string())?;
    store.close().await;
    if found { Ok(()) } else { Err("nothing of the kind is in the record".to_owned()) }
}

/// `claimgate dead-letters …`: shows dead letters, or sends their events once more.
///
/// # Errors
/// One sentence: what is wrong, that nothing was found, or how much of a replay was not done.
pub async fn dead_letters(config: &Config, command: DeadLettersCommand) -> Result<(), String> {
    let store = PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
    let desk =
        DeadLetters { store: &store, kafka: &config.kafka, max_replays: config.dead_letters.max_replays };
    let done = command.run(desk, &mut std::io::stdout().lock()).await.map_err(|error| error.to_string());
    store.close().await;
    done
}
