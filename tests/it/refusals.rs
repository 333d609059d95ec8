//! Faults at the start are reported in one sentence that names the key or the address; the exit
//! code is not 0, and nothing panics.

use std::process::Command;

use claimgate_simulator::SimulatorOptions;

use super::collector::Collector;
use super::lab::Lab;

/// The URL of a database without a listener.
const NOWHERE: (&str, &str) =
    ("CLAIMGATE__POSTGRES__URL", "postgres://claimgate:hunter2@127.0.0.1:1/claimgate");

/// The sentence with which `claimgate run` ends with these settings from the environment.
fn refusal(settings: &[(&str, &str)]) -> String {
    let error = said(settings);
    assert!(error.contains("claimgate: "), "{error}");
    error
}

/// Its standard error, which must be one line.
fn said(settings: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimgate"));
    command.arg("run").env_clear().current_dir(std::env::temp_dir());
    for (key, value) in [
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_ID", "id"),
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_KEY", "hunter2"),
        ("CLAIMGATE__WECHAT__APP_ID", "wx"),
        ("CLAIMGATE__WECHAT__APP_SECRET", "hunter2"),
        ("CLAIMGATE__KAFKA__REQUEST_TIMEOUT", "2s"),
        ("CLAIMGATE__POSTGRES__CONNECT_TIMEOUT", "2s"),
        ("CLAIMGATE__HTTP__LISTEN", ""),
        ("CLAIMGATE__TELEMETRY__LOG", "error"),
    ]
    .iter()
    .chain(settings)
    {
        command.env(key, value);
    }
    let output = command.output().expect("it runs");
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "more than one sentence:\n{error}");
    assert!(!error.contains("panicked") && !error.contains("hunter2"), "{error}");
    error
}

#[test]
fn an_unknown_or_wrong_key_is_named() {
    for (key, value, named) in [
        ("CLAIMGATE__KAFKA__TOPIK", "x", "topik"),
        ("CLAIMGATE__WORKER__MAX_IN_FLIGHT", "many", "worker.max_in_flight"),
        (
            "CLAIMGATE__RISK__INTELLIGENT_QR_CODE__TIMEOUT",
            "soon",
            "risk.intelligent_qr_code.timeout",
        ),
        ("CLAIMGATE__RISK__NO_SUCH_API__PATH", "/x", "risk.no_such_api"),
        ("CLAIMGATE__POSTGRES__URL", "", "postgres.url"),
        ("CLAIMGATE__POSTGRES__URL", "mysql://x", "postgres.url"),
        ("CLAIMGATE__TELEMETRY__LOG", "a=b=c", "telemetry.log"),
        ("CLAIMGATE_ENV", "no-such-environment", "no-such-environment"),
    ] {
        let error = refusal(&[(key, value)]);
        assert!(error.contains(named), "{key}={value}: {error}");
    }
}

#[test]
fn an_unreachable_postgres_is_named() {
    let error = refusal(&[NOWHERE]);
    assert!(error.contains("127.0.0.1:1") && error.contains("postgres.url"), "{error}");
}

/// It is in the format of log lines and goes where they go, and is not lost with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_worker_ended_is_a_log_line() {
    let collector = Collector::start().await;
    let line = said(&[
        NOWHERE,
        ("CLAIMGATE__TELEMETRY__LOG_FORMAT", "json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let message = line["message"].as_str().expect("words");
    assert!(line["level"] == "ERROR" && message.contains("127.0.0.1:1"), "{line}");
    assert!(collector.has_heard(message), "{line}");
    let unlogged = said(&[NOWHERE, ("CLAIMGATE__TELEMETRY__LOG", "off")]);
    assert!(unlogged.starts_with("claimgate: ") && unlogged.contains("127.0.0.1:1"), "{unlogged}");
}

#[tokio::test]
async fn a_wrong_schema_and_a_missing_topic_are_named() {
    let Some(lab) = Lab::new("refusals").await else { return };
    let url = ("CLAIMGATE__POSTGRES__URL", lab.postgres.as_str());
    let empty = "drop schema public cascade; create schema public";
    sqlx::raw_sql(empty).execute(&lab.database).await.expect("emptied");
    let error = refusal(&[url, ("CLAIMGATE__POSTGRES__MIGRATE", "false")]);
    assert!(error.contains("claimgate migrate"), "{error}");
    let error = refusal(&[url, ("CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")]);
    assert!(error.contains("127.0.0.1:1") && error.contains("kafka.bootstrap_servers"), "{error}");
    let kafka = ("CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS", lab.kafka.as_str());
    let error = refusal(&[url, kafka, ("CLAIMGATE__KAFKA__INPUT_TOPIC", "no.such.topic")]);
    assert!(error.contains("no.such.topic") && error.contains("kafka.input_topic"), "{error}");
    sqlx::raw_sql("drop table verdicts cascade").execute(&lab.database).await.expect("dropped");
    let error = refusal(&[url, kafka, ("CLAIMGATE__POSTGRES__MIGRATE", "false")]);
    assert!(error.contains("verdicts"), "{error}");
}

/// Its rights keep a worker from changing evidence only where it does not own the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_does_not_run_as_owner_unless_it_migrates() {
    let Some(lab) = Lab::with("owner", SimulatorOptions::default()).await else { return };
    let migrated = lab.claimgate("", &["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    for command in ["run", "check"] {
        let output = lab.claimgate("[postgres]\nmigrate = false", &[command]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        assert!(said.contains("could change evidence"), "{said}");
        assert!(said.contains("migrate --roles"), "{said}");
    }
}
