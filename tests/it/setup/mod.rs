//! Set-up faults: the real binary reports a fault of a deployment in one sentence that names the
//! key and the cause.

mod apis;
mod broker;
mod offline;
mod running;
mod settings;
mod topics;

use std::process::{Command, Output};

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};

use super::lab::Lab;

/// An address without a listener.
const NOWHERE: &str = "127.0.0.1:1";

/// Runs a command of the real binary, its options after it, with these settings and nothing else in
/// its environment.
fn claimgate(command: &str, settings: &[(&str, &str)]) -> Output {
    let mut claimgate = Command::new(env!("CARGO_BIN_EXE_claimgate"));
    claimgate.args(command.split(' ')).env_clear().current_dir(std::env::temp_dir());
    let postgres = format!("postgres://nobody@{NOWHERE}/none");
    for (key, value) in [
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_ID", "id"),
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_KEY", "hunter2"),
        ("CLAIMGATE__WECHAT__APP_ID", "wx"),
        ("CLAIMGATE__WECHAT__APP_SECRET", "hunter2"),
        ("CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS", NOWHERE),
        ("CLAIMGATE__KAFKA__REQUEST_TIMEOUT", "1s"),
        ("CLAIMGATE__POSTGRES__URL", &postgres),
        ("CLAIMGATE__POSTGRES__CONNECT_TIMEOUT", "1s"),
        ("CLAIMGATE__HTTP__LISTEN", ""),
        ("CLAIMGATE__TELEMETRY__LOG", "error"),
    ]
    .iter()
    .chain(settings)
    {
        claimgate.env(key, value);
    }
    let output = claimgate.output().expect("it runs");
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains("hunter2"), "a secret was printed");
    }
    output
}

/// The lines of `check` that speak of `what`.
fn lines(output: &Output, what: &str) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains(what)).collect();
    assert!(
        !lines.is_empty(),
        "nothing is said of {what}:\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lines.join("\n")
}

/// Changes the configuration of one of the lab's topics.
async fn configure(lab: &Lab, topic: &str, entries: &[(&str, &str)]) {
    let admin = lab.admin();
    let name = lab.topic(topic);
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(&name));
    for (key, value) in entries {
        change = change.set(key, value);
    }
    for result in admin.alter_configs(&[change], &AdminOptions::new()).await.expect("Kafka answers")
    {
        result.expect("changed");
    }
}
