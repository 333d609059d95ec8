//! What the demo starts, and stops again: a mock Kafka broker, PostgreSQL, the simulated risk APIs,
//! the worker.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::task::spawn_blocking;

use super::DemoArgs;
use super::folder::Folder;
use super::observer::Partitions;
use super::postgres::{Postgres, Server};
use super::traffic::now_micros;
use super::watch::Watch;
use super::worker::{self, Worker};
use claimgate::decision::Policy;
use claimgate::kafka;
use claimgate::risk::Registry;
use claimgate::telemetry::metrics;
use claimgate_simulator::{Api, ApiFaults, Faults, Latency, Simulator, SimulatorOptions};

const PARTITIONS: Partitions = Partitions { input: 6, output: 3 };
/// How long the worker may take until it has its partitions.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// How long PostgreSQL is away.
const OUTAGE: Duration = Duration::from_secs(2);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) worker: Worker,
    pub(super) simulator: Simulator,
    pub(super) postgres: Postgres,
    pub(super) watch: Watch,
    pub(super) kafka: kafka::Settings,
    pub(super) endpoints: String,
    /// As in the worker.
    pub(super) risk_apis: (Registry, Policy),
    pub(super) folder: Folder,
    /// It lives as long as this value.
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    /// Starts everything; the worker has its partitions when this returns.
    pub(super) async fn set(args: &DemoArgs) -> Result<Self, String> {
        let (folder, postgres) = blocking({
            let named = args.dir.clone();
            move || database(named.as_deref())
        })
        .await?;
        let kafka = MockCluster::new(1)
            .map_err(|error| format!("the mock Kafka broker does not start: {error}"))?;
        let simulator = Simulator::start(simulator_options(args.seed))
            .await
            .map_err(|error| error.to_string())?;
        let config =
            worker::config(&kafka.bootstrap_servers(), postgres.url(), &simulator.base_url())?;
        let topics = config.kafka.clone();
        create_topics(&kafka, &topics)?;
        let watch = Watch::start(&topics, PARTITIONS)?;
        let endpoints = config.http.listen.clone();
        let risk_apis = config.risk_apis().map_err(|error| error.to_string())?;
        let worker = Worker::start(config, &folder.log())?;
        let stage = Self {
            risk_apis,
            worker,
            simulator,
            postgres,
            watch,
            kafka: topics,
            endpoints,
            folder,
            _cluster: kafka,
        };
        match stage.joined().await {
            Ok(()) => Ok(stage),
            Err(problem) => {
                stage.strike(true).await.unwrap_or_default();
                Err(problem)
            }
        }
    }

    async fn joined(&self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + JOIN_WITHIN;
        while self.worker.metric(metrics::ASSIGNED_PARTITIONS.name) == 0 {
            self.worker.check()?;
            if tokio::time::Instant::now() > deadline {
                let log = self.folder.log();
                return Err(format!(
                    "the worker got no partitions within {} s; see {}",
                    JOIN_WITHIN.as_secs(),
                    log.display()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Stops everything in order; PostgreSQL and its data go.
    pub(super) async fn strike(self, failed: bool) -> Result<(), String> {
        let Self { worker, simulator, postgres, watch, folder, .. } = self;
        let stopped = blocking(move || worker.stop()).await;
        simulator.stop().await;
        let removed = blocking(move || {
            watch.stop();
            let removed = postgres.remove();
            folder.tidy(failed);
            removed
        });
        stopped.and(removed.await)
    }
}

/// Kills PostgreSQL as a crash would, and starts it again a little later. `say` prints what
/// happens. Returns from when until when it was away, UNIX microseconds.
pub(super) async fn outage(server: Server, say: impl Fn(String)) -> Result<Range<i64>, String> {
    let (stop, from) = (server.clone(), now_micros());
    blocking(move || stop.command("kill")).await?;
    say(format!("PostgreSQL was killed, and stays down for {} s …", OUTAGE.as_secs()));
    tokio::time::sleep(OUTAGE).await;
    blocking(move || server.command("start")).await?;
    say("… and is back. The worker has to notice that by itself.".to_owned());
    Ok(from..now_micros())
}

/// A few percent of faults, and answers as slow as over a network. The demo's folder, with a
/// database in it.
fn database(named: Option<&Path>) -> Result<(Folder, Postgres), String> {
    let folder = Folder::make(named)?;
    let server = Server::new(folder.path(), folder.path().join("postgres"));
    match server.and_then(Postgres::start) {
        Ok(postgres) => Ok((folder, postgres)),
        Err(problem) => {
            folder.tidy(false);
            Err(problem)
        }
    }
}

fn create_topics(
    kafka: &MockCluster<'static, DefaultProducerContext>,
    topics: &kafka::Settings,
) -> Result<(), String> {
    let Partitions { input, output } = PARTITIONS;
    for (topic, partitions) in [
        (&topics.input_topic, input),
        (&topics.retry_topic, input),
        (&topics.output_topic, output),
        (&topics.dead_letter_topic, output),
    ] {
        kafka.create_topic(topic, partitions, 1).map_err(|error| {
            format!("the mock Kafka broker does not create topic {topic}: {error}")
        })?;
    }
    Ok(())
}

fn simulator_options(seed: u64) -> SimulatorOptions {
    let latency = Latency::Uniform(8.0, 30.0);
    let all = ApiFaults {
        transient: 0.02,
        server_error: 0.006,
        too_many: 0.002,
        malformed: 0.004,
        reset: 0.002,
        hang: 0.001,
        latency,
        ..ApiFaults::default()
    };
    let tokens = ApiFaults { latency, ..ApiFaults::default() };
    let faults = Faults { all, apis: [(Api::AccessToken, tokens)].into() };
    SimulatorOptions { faults, seed, ..SimulatorOptions::default() }
}

/// Runs blocking work where it does no harm.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    spawn_blocking(work).await.map_err(|error| error.to_string())?
}
