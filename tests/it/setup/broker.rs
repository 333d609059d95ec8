//! Kafka: who answers, what the topics are like, and what the principal may do.

use std::process::Command;

use super::super::lab::Lab;
use super::super::service::Service;
use super::{claimgate, configure, lines};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_lose_claims_are_refused_or_reported() {
    let Some(lab) = Lab::new("topics").await else { return };
    assert!(lab.claimgate("", &["migrate"]).await.status.success(), "the schema is made");
    let checked = lab.claimgate("", &["check"]).await;
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{printed}");
    assert!(lines(&checked, "transactions").starts_with("ok"), "{printed}");
    let raised = "[kafka]\noffset_metadata_max_bytes = 8192";
    let line = lines(&lab.claimgate(raised, &["check"]).await, "offset.metadata.max.bytes");
    assert!(line.starts_with("WRONG kafka.offset_metadata_max_bytes"), "{line}");
    for topic in ["claims", "retry", "dead"] {
        configure(&lab, topic, &[("cleanup.policy", "compact")]).await;
        let name = lab.topic(topic);
        for command in ["check", "run"] {
            let output = lab.claimgate("", &[command]).await;
            assert_eq!(output.status.code(), Some(1), "{command} with {name} compacted");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let told =
                said.lines().any(|line| line.contains(&name) && line.contains("cleanup.policy"));
            assert!(told, "{command}: {said}");
        }
        configure(&lab, topic, &[("cleanup.policy", "delete")]).await;
    }
    configure(&lab, "retry", &[("retention.ms", "3600000")]).await;
    configure(&lab, "decisions", &[("max.message.bytes", "100000")]).await;
    let output = lab.claimgate("", &["check"]).await;
    assert!(output.status.success(), "doubts are no faults");
    let line = lines(&output, "retention.ms");
    assert!(line.starts_with("warn") && line.contains("retry.give_up_after"), "{line}");
    let line = lines(&output, "max.message.bytes");
    assert!(line.starts_with("warn") && line.contains("kafka.max_message_bytes"), "{line}");
    let mut worker = lab.worker("w1", "");
    let log = lab.log("w1");
    let warned =
        async || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("retry.give_up_after"));
    lab.wait("the warning of the worker", std::time::Duration::from_secs(30), warned).await;
    assert_eq!(worker.stop().await, Some(0), "and it works");
}

/// A broker that also has a port for SASL_SSL: the port, the plain address, the certificate's path.
fn secure_broker() -> Option<(Service, String, String, String)> {
    let there = |program: &str, argument: &str| {
        Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
    };
    if !there("java", "-version") || !there("openssl", "version") {
        eprintln!("left out: a broker with TLS needs Java and openssl on this machine");
        return None;
    }
    let variables =
        [("CLAIMGATE_KAFKA_SECURE", "1".to_owned()), ("CLAIMGATE_KAFKA", "jars".to_owned())];
    let (broker, plain) = Service::start_with("kafka.sh", &variables)?;
    let secure = format!("127.0.0.1:{}", broker.file("secure").trim());
    let certificate = broker.path("secure.pem");
    Some((broker, secure, plain, certificate))
}

/// The findings of `check` about Kafka with these properties.
fn said(servers: &str, properties: &[(&str, &str)]) -> String {
    let properties: Vec<(String, &str)> = properties
        .iter()
        .map(|(key, value)| (format!("CLAIMGATE__KAFKA__PROPERTIES__{key}"), *value))
        .collect();
    let mut settings = vec![
        ("CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS", servers),
        ("CLAIMGATE__KAFKA__REQUEST_TIMEOUT", "3s"),
        ("CLAIMGATE__WECHAT__BASE_URL", "http://127.0.0.1:1"),
        // Their own fault, and not this test's.
        ("CLAIMGATE__RISK__CAPTCHA_QUERY__SERVES", ""),
        ("CLAIMGATE__RISK__CAPTCHA_CHECK__SERVES", ""),
        ("CLAIMGATE__RISK__MINI_PROGRAM__SERVES", ""),
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__SERVES", ""),
    ];
    settings.extend(properties.iter().map(|(key, value)| (key.as_str(), *value)));
    let output = claimgate("check", &settings);
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> =
        printed.lines().filter(|line| line.contains("afka") || line.contains("topic")).collect();
    lines.join("\n")
}

#[test]
fn the_brokers_refusals_are_told_apart() {
    let Some((_broker, secure, plain, certificate)) = secure_broker() else { return };
    let login = |user: &'static str, password: &'static str, mechanism: &'static str| {
        [
            ("SECURITY_PROTOCOL", "SASL_SSL"),
            ("SASL_MECHANISM", mechanism),
            ("SASL_USERNAME", user),
            ("SASL_PASSWORD", password),
        ]
    };
    let authority = [("SSL_CA_LOCATION", certificate.as_str())];
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let wrong =
            said(&secure, &[&login("claimgate", "hunter2", mechanism)[..], &authority].concat());
        assert!(wrong.starts_with("WRONG Kafka") && wrong.contains("uthentication"), "{wrong}");
        assert!(wrong.contains("sasl.password"), "{wrong}");
    }
    let unknown = said(&secure, &login("claimgate", "claimgate-secret", "PLAIN"));
    assert!(unknown.contains("certificate") && unknown.contains("ssl.ca.location"), "{unknown}");
    let to_plain = said(&plain, &[("SECURITY_PROTOCOL", "SSL")]);
    assert!(
        to_plain.contains("speaks plaintext") && to_plain.contains("security.protocol"),
        "{to_plain}"
    );
    let to_secure = said(&secure, &[]);
    assert!(
        to_secure.contains("TLS or a login") && to_secure.contains("security.protocol"),
        "{to_secure}"
    );
    let kerberos = said(&secure, &[&[("SECURITY_PROTOCOL", "SASL_SSL")], &authority[..]].concat());
    assert!(kerberos.contains("sasl.mechanism"), "{kerberos}");
    // The topics do not exist. One principal gets that answer, the other that they are denied.
    let absent =
        said(&secure, &[&login("claimgate", "claimgate-secret", "PLAIN")[..], &authority].concat());
    assert!(absent.contains("does not exist") && !absent.contains("denies"), "{absent}");
    let denied =
        said(&secure, &[&login("stranger", "stranger-secret", "PLAIN")[..], &authority].concat());
    assert!(denied.contains("denies") && !denied.contains("does not exist"), "{denied}");
}

/// The example of docs/getting-started.md, with this broker's address and files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_example_of_a_kafka_login_works() {
    let Some((_, postgres)) = super::super::lab::services() else { return };
    let Some((_broker, secure, plain, certificate)) = secure_broker() else { return };
    let guide = include_str!("../../../docs/getting-started.md");
    let (_, example) = guide.split_once("[kafka.properties]\n").expect("the guide has the section");
    let (example, _) = example.split_once("\n\n").expect("it ends");
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "claimgate-secret\n").expect("written");
    let properties: Vec<String> = example
        .lines()
        .map(|line| line.split_once(" #").map_or(line, |(line, _)| line).trim())
        .map(|line| match line.trim_matches('"').split_once("\" = ") {
            Some(("sasl.password_file", _)) => format!("\"sasl.password_file\" = {password:?}"),
            Some(("ssl.ca.location", _)) => format!("\"ssl.ca.location\" = {certificate:?}"),
            _ => line.to_owned(),
        })
        .collect();
    let lab =
        Lab::at("login", claimgate_simulator::SimulatorOptions::default(), plain, postgres).await;
    let more = format!(
        "[kafka]\nbootstrap_servers = {secure:?}\n[kafka.properties]\n{}",
        properties.join("\n")
    );
    assert!(lab.claimgate("", &["migrate"]).await.status.success(), "the schema is made");
    let output = lab.claimgate(&more, &["check"]).await;
    assert!(output.status.success(), "{more}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(more.contains("SASL_SSL") && more.contains("sasl.mechanism"), "{more}");
}
