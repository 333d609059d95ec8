//! A running worker under a machine's tools, and the settings of the compose file.

use std::time::Duration;

use claimgate_simulator::{APP_ID, APP_SECRET, SECRET_ID, SECRET_KEY};

use super::super::lab::{Event, Lab, claim};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reloads_the_log_filter_and_ends_no_worker() {
    let Some(lab) = Lab::new("hangup").await else { return };
    let mut worker = lab.worker("w1", "[telemetry]\nlog = \"info\"");
    lab.produce(&[Event::of(claim("before", "user-1"))]);
    lab.wait("the first decision", LONG, async || lab.read("decisions").len() == 1).await;
    let file = lab.folder.path().join("w1.toml");
    let settings = std::fs::read_to_string(&file).expect("the settings");
    std::fs::write(&file, settings.replace("log = \"info\"", "log = \"warn,claimgate=debug\""))
        .expect("written");
    worker.signal("-HUP");
    let heard =
        |words: &str| std::fs::read_to_string(lab.log("w1")).is_ok_and(|log| log.contains(words));
    lab.wait("the word of the worker", LONG, async || worker.has_ended() || heard("SIGHUP")).await;
    assert!(!worker.has_ended(), "it ended");
    assert!(heard("claimgate=debug"), "the new filter is told");
    std::fs::write(&file, "nonsense").expect("written");
    worker.signal("-HUP");
    lab.wait("the refusal", LONG, async || worker.has_ended() || heard("nothing was changed"))
        .await;
    lab.produce(&[Event::of(claim("after", "user-2"))]);
    lab.wait("the second decision", LONG, async || lab.read("decisions").len() == 2).await;
    assert_eq!(worker.stop().await, Some(0));
}

/// `make up`: what the worker is given is what the simulator knows.
#[test]
fn the_compose_file_has_the_simulators_credentials() {
    let compose = include_str!("../../../docker-compose.yml");
    for (key, value) in [
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_ID", SECRET_ID),
        ("CLAIMGATE__TENCENT_CLOUD__SECRET_KEY", SECRET_KEY),
        ("CLAIMGATE__WECHAT__APP_ID", APP_ID),
        ("CLAIMGATE__WECHAT__APP_SECRET", APP_SECRET),
    ] {
        let given: Vec<&str> = compose
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
            .collect();
        assert_eq!(given, [value], "{key}");
    }
}
