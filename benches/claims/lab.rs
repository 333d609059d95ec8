//! The environment of one run: topics and a database of its own on the running broker and server,
//! and the simulator.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use claimgate_simulator::{SECRET_ID, SECRET_KEY, SimulateArgs};
use clap::Parser as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scenario::{Contender, RiskApi, Scenario, Transport};
use crate::{Outcome, SIMULATOR};

/// The claimgate binary that is measured: the one that was built with this program, or another to
/// compare two builds.
pub(crate) fn claimgate() -> Outcome<PathBuf> {
    let other = std::env::var("CLAIMGATE_BENCH_BINARY").ok();
    Ok(std::path::absolute(other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_claimgate")))?)
}

/// What all runs share.
pub(crate) struct Lab {
    /// Kafka's bootstrap servers.
    pub(crate) kafka: String,
    /// A database; those of the runs are made on the same server.
    postgres: String,
    runtime: Runtime,
    admin: AdminClient<DefaultClientContext>,
}

impl Lab {
    /// The services that `scripts/with-services.sh` names.
    pub(crate) fn from_environment() -> Outcome<Self> {
        let need = |key: &str| {
            std::env::var(key)
                .map_err(|_| format!("{key} is not set; start this with `make bench`"))
        };
        let (kafka, postgres) =
            (need("KAFKA_BOOTSTRAP_SERVERS")?, need("CLAIMGATE_TEST_POSTGRES_URL")?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let admin = ClientConfig::new().set("bootstrap.servers", &kafka).create()?;
        drop(guard);
        Ok(Self { kafka, postgres, runtime, admin })
    }

    /// Makes the topics and the database of a run.
    pub(crate) fn world(&self, name: &str, partitions: i32) -> Outcome<World<'_>> {
        let world = World { lab: self, name: name.to_owned() };
        let topics = world.topics();
        let topics: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
            .collect();
        for result in
            self.runtime.block_on(self.admin.create_topics(&topics, &AdminOptions::new()))?
        {
            result.map_err(|(topic, code)| format!("topic {topic} cannot be made: {code}"))?;
        }
        self.execute(&format!(
            "create database {} encoding 'UTF8' template template0",
            world.database()
        ))?;
        Ok(world)
    }

    fn execute(&self, sql: &str) -> Outcome<()> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.postgres).await?;
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
            Ok(connection.close().await?)
        })
    }
}

/// The topics and the database of one run. Dropping it deletes them.
pub(crate) struct World<'a> {
    lab: &'a Lab,
    name: String,
}

impl World<'_> {
    /// One of its topics.
    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.name)
    }

    fn topics(&self) -> [String; 4] {
        ["claims", "decisions", "retry", "dead"].map(|topic| self.topic(topic))
    }

    fn database(&self) -> String {
        self.name.replace('-', "_")
    }

    fn postgres(&self) -> String {
        let server = self
            .lab
            .postgres
            .rsplit_once('/')
            .map_or(self.lab.postgres.as_str(), |(server, _)| server);
        format!("{server}/{}", self.database())
    }

    /// The configuration of a contender: the defaults, except for addresses and for what is
    /// compared.
    pub(crate) fn configuration(
        &self,
        contender: Contender,
        scenario: &Scenario,
        simulator: &Simulator,
    ) -> String {
        let guarantee =
            if contender == Contender::AtLeastOnce { "at_least_once" } else { "exactly_once" };
        let (kafka, postgres, name) = (&self.lab.kafka, self.postgres(), &self.name);
        let concurrency = scenario.concurrency;
        let Simulator { url, certificate, .. } = simulator;
        let http2_connections = scenario.api.transport.connections();
        let authority = certificate.as_ref().map_or(String::new(), |certificate| {
            format!("ca_certificates = \"{}\"", certificate.display())
        });
        format!(
            r#"
[kafka]
bootstrap_servers = "{kafka}"
group_id = "{name}"
input_topic = "{name}.claims"
output_topic = "{name}.decisions"
retry_topic = "{name}.retry"
dead_letter_topic = "{name}.dead"
guarantee = "{guarantee}"
[postgres]
url = "{postgres}"
[tencent_cloud]
secret_id = "{SECRET_ID}"
secret_key = "{SECRET_KEY}"
[risk.intelligent_qr_code]
base_url = "{url}"
concurrency = {concurrency}
[risk.mini_program]
serves = []
[risk.wechat_marketing]
serves = []
[risk.wechat_account]
serves = []
[risk.captcha_query]
serves = []
[risk.captcha_check]
serves = []
[egress]
{authority}
http2_connections = {http2_connections}
[http]
listen = "127.0.0.1:0"
"#
        )
    }

    /// The number of rows of a table.
    pub(crate) fn rows(&self, table: &str) -> Outcome<u64> {
        self.number(format!("select count(*) from {table}"))
    }

    /// The bytes of its tables, with their indexes.
    pub(crate) fn stored_bytes(&self) -> Outcome<u64> {
        let sql = "select sum(pg_total_relation_size(oid))::bigint from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace";
        self.number(sql.to_owned())
    }

    fn number(&self, sql: String) -> Outcome<u64> {
        let number: i64 = self.lab.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.postgres()).await?;
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await
        })?;
        Ok(u64::try_from(number)?)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let topics = self.topics();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let deleted =
            self.lab.runtime.block_on(self.lab.admin.delete_topics(&topics, &AdminOptions::new()));
        let dropped =
            self.lab.execute(&format!("drop database if exists {} with (force)", self.database()));
        if deleted.is_err() || dropped.is_err() {
            eprintln!("bench: topics or database {} are left behind", self.name);
        }
    }
}

/// A command in a folder without a configuration, with only the worker's own settings from the
/// environment.
pub(crate) fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    let ours = |key: &str| key.starts_with("CLAIMGATE__") || key.starts_with("OTEL_");
    command.envs(std::env::vars().filter(|(key, _)| ours(key)));
    command
}

/// A child process. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("{} has ended ({status}); its last words are above", self.name).into())
            }
        }
    }

    /// Stops it, and waits until it has ended.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        let told = Command::new("kill").arg(self.id().to_string()).status()?;
        for _ in 0..600 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{} was told to stop ({told}) and did not within 30 s", self.name).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ended now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process of the risk API: serves until it is stopped. The first argument replaces the
/// program's name.
pub(crate) fn simulate(arguments: &[String]) -> Outcome<()> {
    let arguments = SimulateArgs::try_parse_from(arguments)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(claimgate_simulator::run(arguments))?)
}

/// The risk API, in a process of its own.
pub(crate) struct Simulator {
    _process: Process,
    /// Its URL.
    pub(crate) url: String,
    /// The certificate that it proves its identity with, over TLS.
    certificate: Option<PathBuf>,
    _folder: TempDir,
}

impl Simulator {
    /// A simulator with these answers.
    pub(crate) fn start(RiskApi { latency, transient, transport }: &RiskApi) -> Outcome<Self> {
        let mut command = command(std::env::current_exe()?, &std::env::temp_dir());
        command
            .args([SIMULATOR, "--listen", "127.0.0.1:0", "--latency", latency])
            .args(["--transient-rate", &transient.to_string()])
            .stdout(Stdio::piped());
        let folder = tempfile::tempdir()?;
        let mut trusted = None;
        if *transport != Transport::Plain {
            let (certificate, key) = certificate(folder.path())?;
            command.arg("--tls-certificate").arg(&certificate).arg("--tls-key").arg(key);
            trusted = Some(certificate);
        }
        let mut process = Process::start("the simulator", &mut command)?;
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let url = line.split_whitespace().last().filter(|word| word.starts_with("http"));
        let url = url.ok_or("the simulator does not say where it is")?.to_owned();
        Ok(Self { _process: process, url, certificate: trusted, _folder: folder })
    }
}

/// Makes a certificate for the loopback address, and its key.
fn certificate(folder: &Path) -> Outcome<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.join("certificate"), folder.join("key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]);
    command.args(["-subj", "/CN=simulator", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let made = command.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output()?;
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(format!("openssl makes no certificate: {why}").into());
    }
    Ok((certificate, key))
}
