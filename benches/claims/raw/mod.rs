//! The raw loop: the worker's work with the worker's libraries, but without guarantees.
//!
//! It parses each claim, signs its request, calls the risk API over HTTP, reads the answer, writes
//! verdict and attempt to the same tables, many rows at once, and publishes the decision as JSON. A
//! timer commits its offsets, whether or not the claims are done. It keeps no order, retries
//! nothing, does not recognise repeated claims, and loses claims in flight when it dies.

use std::path::Path;
use std::time::Duration;

use claimgate::claim::Claim;
use claimgate::config::Config;
use claimgate::decision::{Assessment, Policy, Source};
use claimgate::risk::{Answer, ApiResult, Attempt, Registry};
use claimgate::schema::{Call, Verdict};
use futures::StreamExt as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message as _};
use reqwest::Certificate;
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Outcome;

mod sink;

use sink::{CHUNK, Sink};

/// The worker's default.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A claim that was assessed.
struct Row {
    key: Vec<u8>,
    verdict: Verdict,
    call: Call,
}

/// Runs the loop until it is killed.
pub(crate) fn run(config: &Path) -> Outcome<()> {
    let config = Config::load(Some(config))?;
    // As many threads as the worker has.
    let mut builder = match config.worker.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(config.worker.threads).enable_all().build()?;
    runtime.block_on(work(&config))
}

async fn work(config: &Config) -> Outcome<()> {
    let (registry, policy) = config.risk_apis()?;
    let assessor = Assessor { registry, policy, http: http(config)? };
    let url = config.postgres.url.as_ref().ok_or("postgres.url")?.expose_secret();
    let sink = Sink {
        database: PgPoolOptions::new().max_connections(4).connect(url).await?,
        producer: client(config).create()?,
        output_topic: config.kafka.output_topic.clone(),
    };
    let consumer: StreamConsumer = client(config)
        .set("group.id", &config.kafka.group_id)
        .set("enable.auto.commit", "true")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[&config.kafka.input_topic])?;
    let (rows, assessed) = mpsc::channel(CHUNK);
    let assess = consumer.stream().for_each_concurrent(assessor.concurrency()?, async |message| {
        let row = match message {
            Ok(message) => assessor.assess(&message).await,
            Err(error) => Err(error.into()),
        };
        match row {
            // A sink that has ended has said why.
            Ok(row) => drop(rows.send(row).await),
            Err(error) => eprintln!("a claim is lost: {error}"),
        }
    });
    tokio::select! {
        () = assess => Err("the consumer has ended".into()),
        result = sink.run(assessed) => result,
    }
}

/// One HTTP client, over HTTP/1.1 where the worker is to use that.
fn http(config: &Config) -> Outcome<reqwest::Client> {
    let mut builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
    if let Some(path) = &config.egress.ca_certificates {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&std::fs::read(path)?)?);
    }
    if config.egress.http2_connections == 0 {
        builder = builder.http1_only();
    }
    Ok(builder.build()?)
}

fn client(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.kafka.bootstrap_servers);
    client
}

struct Assessor {
    registry: Registry,
    policy: Policy,
    http: reqwest::Client,
}

impl Assessor {
    /// The calls at once, as many as the worker would make.
    fn concurrency(&self) -> Outcome<usize> {
        let (_, route) = self.registry.iter().next().ok_or("no risk API is in use")?;
        Ok(usize::try_from(route.concurrency)?)
    }

    async fn assess(&self, message: &BorrowedMessage<'_>) -> Outcome<Row> {
        let claim =
            Claim::parse(message.payload(), usize::MAX).map_err(|malformed| malformed.detail)?;
        let id = self.registry.route(&claim).map_err(|malformed| malformed.detail)?;
        let api = &self.registry.get(id).api;
        let requested_at = OffsetDateTime::now_utc();
        let attempt = Attempt {
            number: 1,
            now: requested_at.unix_timestamp(),
            nonce: fastrand::u64(1..=u64::MAX >> 1),
            token: None,
        };
        let request = api.request(&claim, &attempt);
        let sent = Instant::now();
        let response = self.http.get(&request.url).send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        let latency = sent.elapsed();
        let ApiResult::Assessed { assessment, provider_code } =
            api.read(&Answer { status, body: &body })
        else {
            return Err(format!("no verdict in {}", String::from_utf8_lossy(&body)).into());
        };
        let ruling = self.policy.rule(api.name(), &assessment, |code| api.risk_type(code));
        let Assessment::Level { level, risk_types } = assessment else {
            return Err("no level".into());
        };
        let source = Source {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
        };
        let verdict = Verdict {
            decision: ruling.decision,
            level: Some(i16::from(level)),
            risk_types,
            reasons: ruling.reasons,
            provider_code: Some(provider_code),
            policy_version: self.policy.version().to_owned(),
            claimed_at: claim.claimed_at,
            decided_at: micros(OffsetDateTime::now_utc()),
            source,
            subject: claim.account.id,
            ..Verdict::ordinary(&claim.claim_id)
        };
        let call = Call {
            id: Uuid::now_v7(),
            requested_at: micros(requested_at),
            latency: i64::try_from(latency.as_micros())?,
            http_status: Some(i32::from(status)),
            provider_code: Some(provider_code),
            request: request.redacted,
            response: Some(body.to_vec()),
            ..Call::ordinary(&claim.claim_id)
        };
        Ok(Row { key: message.key().unwrap_or_default().to_vec(), verdict, call })
    }
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}
