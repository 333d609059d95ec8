//! What needs no service: `check --offline`, `policy`, and an environment that ends the start.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;

use super::claimgate;

const EXAMPLES: &str = include_str!("../../../config/policy-tests.toml");

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// The findings of a severity: place and message.
fn findings(document: &Value, severity: &str) -> Vec<(String, String)> {
    let all = document["findings"].as_array().expect("a list").iter();
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
    all.filter(|finding| finding["severity"] == severity)
        .map(|finding| (text(finding, "place"), text(finding, "message")))
        .collect()
}

#[test]
fn an_offline_check_connects_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("set");
    let place = listener.local_addr().expect("an address").to_string();
    let (postgres, http) = (format!("postgres://x@{place}/x"), format!("http://{place}"));
    let settings = [
        ("CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS", place.as_str()),
        ("CLAIMGATE__POSTGRES__URL", &postgres),
        ("CLAIMGATE__WECHAT__BASE_URL", &http),
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__BASE_URL", &http),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &http),
    ];
    let output = claimgate("check --offline --json", &settings);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let refused = listener.accept().expect_err("nobody came");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    let document = document(&output);
    assert_eq!((&document["offline"], &document["wrong"]), (&true.into(), &0.into()));
    assert!(findings(&document, "ok").iter().any(|(place, _)| place == "risk APIs"), "{document}");
}

#[test]
fn a_check_names_every_fault_at_once() {
    let settings = [
        ("CLAIMGATE__WORKER__THREADS", "0"),
        ("CLAIMGATE__WORKER__MAX_IN_FLIGHT", "many"),
        ("CLAIMGATE__KAFKA__TOPIK", "x"),
        ("CLAIMGATE__KAFKA__PROPERTIES__SASL_PASWORD", "hunter2"),
        ("CLAIMGATE__POSTGRES__URL", ""),
        ("CLAIMGATE__RISK__CAPTCHA_CHECK__TIMEOUT", "0s"),
        ("CLAIMGATE__TELEMETRY__LOG", "claimgate=loud"),
        ("OTEL_METRICS_EXPORTER", "console"),
    ];
    for options in ["check --json", "check --offline --json"] {
        let output = claimgate(options, &settings);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document = document(&output);
        let mut places: Vec<String> =
            findings(&document, "wrong").into_iter().map(|(place, _)| place).collect();
        places.sort();
        let expected = [
            "kafka.properties",
            "kafka.topik",
            "postgres.url",
            "risk.captcha_check.timeout",
            "telemetry.log",
            "worker.max_in_flight",
            "worker.threads",
        ];
        assert_eq!(places, expected, "{document:#}");
        let warnings = findings(&document, "warning");
        assert!(warnings.iter().any(|(place, _)| place == "OTEL_METRICS_EXPORTER"), "{document:#}");
        let told = warnings.iter().any(|(place, _)| place == "connections");
        assert_eq!(told, !options.contains("offline"), "{document:#}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.lines().count() == 1 && error.contains("7 of "), "{error}");
    }
    let text = claimgate("check --offline", &settings);
    let lines = String::from_utf8_lossy(&text.stdout).into_owned();
    assert_eq!(lines.lines().filter(|line| line.starts_with("WRONG ")).count(), 7, "{lines}");
}

/// The helper sees to it that the password is not printed.
#[test]
fn a_wrong_endpoint_of_spans_ends_the_start_as_check_says() {
    for (protocol, endpoint) in [
        ("http/protobuf", "http://user:hunter2@coll ector"),
        ("grpc", "https://user:hunter2@collector:4317"),
    ] {
        let settings =
            [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
        let run = claimgate("run", &settings);
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(1) && error.lines().count() == 1, "{error}");
        let checked = document(&claimgate("check --offline --json", &settings));
        let [(place, message)] = findings(&checked, "wrong").try_into().expect("one");
        assert_eq!(place, "OTEL_EXPORTER_OTLP_ENDPOINT");
        assert!(error.contains(&place) && error.contains(&message), "{error}: {message}");
    }
}

#[test]
fn an_unknown_compression_ends_the_start_as_check_says() {
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
    ];
    let run = claimgate("run", &settings);
    let error = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.code() == Some(1) && error.lines().count() == 1, "{error}");
    let checked = document(&claimgate("check --offline --json", &settings));
    let [(place, message)] = findings(&checked, "wrong").try_into().expect("one");
    assert!(
        error.contains(&place) && error.contains(&message) && error.contains("zstd"),
        "{error}"
    );
}

#[test]
fn policy_examples_need_no_credentials_and_have_exit_codes() {
    let none = [
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_ID", ""),
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_KEY", ""),
        ("CLAIMGATE__WECHAT__APP_ID", ""),
        ("CLAIMGATE__WECHAT__APP_SECRET", ""),
        ("CLAIMGATE__POSTGRES__URL", ""),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let test = format!("policy test {}", write("examples.toml", EXAMPLES));
    let output = claimgate(&test, &none);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let other = write("other.toml", "[retry]\non_unassessed = \"reject\"\n");
    let output = claimgate(&format!("{test} --policy {other}"), &none);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(printed.lines().filter(|line| line.starts_with("FAIL ")).count(), 1, "{printed}");

    let broken = write("broken.toml", "[[case]]\nname = \"x\"\nlevle = 1\n");
    for file in [&broken, "/nowhere.toml"] {
        let output = claimgate(&format!("policy test {file}"), &none);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let shown = claimgate("policy show --json", &none);
    let version = document(&shown)["policy_version"].as_str().expect("text").to_owned();
    let checked = claimgate("check --offline", &[]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains(&version), "the policy in force is the one that is shown: {checked}");
}
