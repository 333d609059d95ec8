//! The lab: a topic set, a database and a simulator of its own for each test, on the real Kafka and
//! the real Postgres.
//!
//! Workers are processes of the real binary, so that they can be killed. [`super::oracle`] compares
//! the input, the simulator's log, the rows of Postgres and the messages that a `read_committed`
//! consumer sees, by identities.

mod producer;
mod reading;
mod worker;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use claimgate::config::Config;
use claimgate::outbox::postgres::PostgresStore;
use claimgate_simulator::{
    APP_ID, APP_SECRET, ApiFaults, Faults, Latency, SECRET_ID, SECRET_KEY, Simulator,
    SimulatorOptions,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

pub(crate) use producer::Event;
use producer::Producer;
pub(crate) use reading::Seen;
pub(crate) use worker::{SIGUSR1, SIGUSR2, Worker};

pub(crate) const PARTITIONS: i32 = 6;
/// `default.replication.factor`.
const AS_THE_BROKERS_SAY: TopicReplication<'_> = TopicReplication::Fixed(-1);

/// The environment of one test.
pub(crate) struct Lab {
    /// Of its topics, and of its group.
    pub(crate) name: String,
    pub(crate) kafka: String,
    pub(crate) postgres: String,
    pub(crate) database: PgPool,
    pub(crate) simulator: Simulator,
    pub(crate) folder: tempfile::TempDir,
    producer: Producer,
    /// See [`Lab::read`].
    reader: Mutex<Option<BaseConsumer>>,
    /// Sections of TOML for every process of this lab.
    everywhere: &'static str,
}

/// The services, or `None` with a note if the test has to be left out: the runner's last lines say
/// so, too.
pub(crate) fn services() -> Option<(String, String)> {
    let kafka = std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok();
    let postgres = std::env::var("CLAIMGATE_TEST_POSTGRES_URL").ok();
    if kafka.is_none() || postgres.is_none() {
        eprintln!("left out: KAFKA_BOOTSTRAP_SERVERS or CLAIMGATE_TEST_POSTGRES_URL is not set");
    }
    Some((kafka?, postgres?))
}

/// A simulator without faults, whose APIs have this latency.
pub(crate) fn answers_after(latency: Latency) -> SimulatorOptions {
    let all = ApiFaults { latency, ..ApiFaults::default() };
    SimulatorOptions { faults: Faults { all, ..Faults::default() }, ..SimulatorOptions::default() }
}

impl Lab {
    /// A lab with empty topics and an empty database.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        Self::with(name, SimulatorOptions::default()).await
    }

    pub(crate) async fn with(name: &str, options: SimulatorOptions) -> Option<Self> {
        let (kafka, postgres) = services()?;
        Some(Self::at(name, options, kafka, postgres).await)
    }

    /// A lab on these services.
    pub(crate) async fn at(
        name: &str,
        options: SimulatorOptions,
        kafka: String,
        postgres: String,
    ) -> Self {
        let lab = Self::without_topics(name, options, kafka, postgres).await;
        lab.create_topics().await;
        // A test may read a table before its worker has made it.
        lab.migrate().await;
        lab
    }

    /// A lab without topics.
    pub(crate) async fn without_topics(
        name: &str,
        options: SimulatorOptions,
        kafka: String,
        postgres: String,
    ) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let database = name.replace('-', "_");
        let admin = PgPool::connect(&postgres).await.expect("Postgres answers");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {database}")))
            .execute(&admin)
            .await
            .expect("created");
        let (server, _) = postgres.rsplit_once('/').expect("a URL with a database");
        let postgres = format!("{server}/{database}");
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&postgres)
            .await
            .expect("the new database answers");
        Self {
            producer: Producer::new(kafka.clone(), format!("{name}.claims")),
            simulator: Simulator::start(options).await.expect("a free port"),
            folder: tempfile::tempdir().expect("a folder"),
            database: pool,
            postgres,
            kafka,
            name,
            reader: Mutex::new(None),
            everywhere: "",
        }
    }

    /// The same, with these sections of TOML in the configuration of every process.
    pub(crate) fn everywhere(self, more: &'static str) -> Self {
        Self { everywhere: more, ..self }
    }

    /// A client that makes, changes and deletes topics.
    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        client(&self.kafka).create().expect("an admin client")
    }

    async fn create_topics(&self) {
        let admin = self.admin();
        let names: Vec<String> =
            ["claims", "decisions", "retry", "dead"].map(|topic| self.topic(topic)).to_vec();
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, PARTITIONS, AS_THE_BROKERS_SAY)).collect();
        for result in
            admin.create_topics(&topics, &AdminOptions::new()).await.expect("Kafka answers")
        {
            result.expect("the topic is new");
        }
    }

    async fn migrate(&self) {
        let settings = self.parsed("migrate").postgres;
        let store = PostgresStore::connect(&settings).await.expect("the new database answers");
        store.migrate().await.expect("the tables are made");
        store.close().await;
    }

    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.name)
    }

    /// A worker's configuration: this lab's own, and `more` TOML sections. An instance called
    /// `dynamic…` is no static member.
    fn config(&self, instance: &str, more: &str) -> PathBuf {
        let url = self.simulator.base_url();
        let text = format!(
            r#"
[kafka]
bootstrap_servers = "{kafka}"
group_id = "{name}"
instance_id = "{instance}"
input_topic = "{name}.claims"
output_topic = "{name}.decisions"
retry_topic = "{name}.retry"
dead_letter_topic = "{name}.dead"
session_timeout = "6s"
transaction_timeout = "5s"
[postgres]
url = "{postgres}"
[tencent_cloud]
secret_id = "{SECRET_ID}"
secret_key = "{SECRET_KEY}"
[wechat]
app_id = "{APP_ID}"
app_secret = "{APP_SECRET}"
base_url = "{url}"
[risk.intelligent_qr_code]
base_url = "{url}"
[risk.mini_program]
base_url = "{url}"
[risk.captcha_query]
base_url = "{url}"
[risk.captcha_check]
base_url = "{url}"
# The tests' claims are of 2021.
ticket_lifetime = "100years"
[http]
listen = ""
"#,
            kafka = self.kafka,
            name = self.name,
            postgres = self.postgres,
        );
        let mut text = merge(&merge(&text, self.everywhere), more);
        if instance.starts_with("dynamic") {
            text = text.replace(&format!("instance_id = \"{instance}\"\n"), "");
        }
        let path = self.folder.path().join(format!("{instance}.toml"));
        std::fs::write(&path, text).expect("written");
        path
    }

    /// `[kafka]` of a worker of this lab, for its parts.
    pub(crate) fn settings(&self, instance: &str) -> claimgate::kafka::Settings {
        self.parsed(instance).kafka
    }

    fn parsed(&self, instance: &str) -> Config {
        let text = std::fs::read_to_string(self.config(instance, "")).expect("written");
        Config::from_toml(&text).expect("the settings are right")
    }

    /// Starts a worker process. Its log is in the lab's folder.
    pub(crate) fn worker(&self, instance: &str, more: &str) -> Worker {
        self.worker_with(instance, more, &[])
    }

    /// The same, with these variables in its environment.
    pub(crate) fn worker_with(
        &self,
        instance: &str,
        more: &str,
        variables: &[(&str, &str)],
    ) -> Worker {
        let config = self.config(instance, more);
        let log = self.log(instance);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_claimgate"));
        command.arg("--config").arg(config).arg("run").env_clear().current_dir(self.folder.path());
        command.envs(variables.iter().copied());
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        Worker { child: child.expect("the worker starts") }
    }

    /// Runs another command of the real binary to its end, with this lab's configuration and
    /// `more`.
    pub(crate) async fn claimgate(&self, more: &str, arguments: &[&str]) -> std::process::Output {
        let config = self.config(&format!("command-{}", fastrand::u64(..)), more);
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_claimgate"));
        command
            .arg("--config")
            .arg(config)
            .args(arguments)
            .env_clear()
            .current_dir(self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the command runs")
    }

    pub(crate) fn log(&self, instance: &str) -> PathBuf {
        self.folder.path().join(format!("{instance}.log"))
    }

    /// Sends records to the input topic and waits until Kafka has them.
    pub(crate) fn produce(&self, records: &[Event]) {
        records.iter().for_each(|event| self.enqueue(event));
        self.flush(Duration::from_secs(30));
    }

    /// Hands an event to the producer, which sends it in its own time.
    pub(crate) fn enqueue(&self, event: &Event) {
        self.producer.enqueue(event);
    }

    /// Waits until Kafka has every event.
    pub(crate) fn flush(&self, timeout: Duration) {
        self.producer.flush(timeout);
    }

    /// The number of events that had to be sent more than once, and may be there twice.
    pub(crate) fn resent(&self) -> usize {
        self.producer.resent()
    }

    /// Waits until a condition holds; checks it every 200 ms.
    pub(crate) async fn wait(
        &self,
        what: &str,
        timeout: Duration,
        mut holds: impl AsyncFnMut() -> bool,
    ) {
        let deadline = tokio::time::Instant::now() + timeout;
        while !holds().await {
            if tokio::time::Instant::now() > deadline {
                let logs: Vec<String> = std::fs::read_dir(self.folder.path())
                    .expect("the folder")
                    .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                    .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
                    .map(|path| {
                        format!(
                            "{}:\n{}",
                            path.display(),
                            tail(&std::fs::read_to_string(&path).unwrap_or_default())
                        )
                    })
                    .collect();
                panic!("waited {timeout:?} for {what}\n{}", logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Puts the keys of `more` into the sections of `text` that they name.
fn merge(text: &str, more: &str) -> String {
    let mut merged: toml::Table = toml::from_str(text).expect("TOML");
    let more: toml::Table = toml::from_str(more).expect("TOML");
    for (section, keys) in more {
        let into = merged.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        deep_merge(into, keys);
    }
    toml::to_string(&merged).expect("TOML")
}

fn deep_merge(into: &mut toml::Value, from: toml::Value) {
    match (into, from) {
        (toml::Value::Table(into), toml::Value::Table(from)) => {
            for (key, value) in from {
                deep_merge(
                    into.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new())),
                    value,
                );
            }
        }
        (into, from) => *into = from,
    }
}

/// A client that reconnects quickly to a broker that was away.
pub(crate) fn client(kafka: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", kafka).set("reconnect.backoff.max.ms", "200");
    client
}

/// A claim of a kind with few fields, of an account that says what the simulator is to answer.
pub(crate) fn claim(id: &str, account: &str) -> String {
    serde_json::json!({
        "claim_id": id, "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "wechat", "id": account },
        "client": { "ip": "121.14.96.121" },
        "reward": { "goods": "red packet" }
    })
    .to_string()
}
