//! Risk APIs that cannot be used: a wrong clock, a token that is always refused, a wrong address.
//! The worker reports it, stops calling them, and serves the others.

mod rotation;
mod set_up;
mod tickets;
mod tokens;

use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults};
use serde_json::{Value, json};

use crate::lab::{Event, Lab, claim};

const LONG: Duration = Duration::from_secs(120);

/// These APIs answer everything with one code.
fn always(apis: &[Api], code: i64) -> Faults {
    let faults = ApiFaults { transient: 1.0, transient_codes: vec![code], ..ApiFaults::default() };
    Faults { apis: apis.iter().map(|api| (*api, faults.clone())).collect(), ..Faults::default() }
}

/// This many claims of a kind, each of an account of its own; their ids begin with the kind.
fn claims(kind: &str, count: usize) -> Vec<Event> {
    let account = kind.replace('_', "");
    let one = |number| {
        let event = claim(&format!("{kind}-{number}"), &format!("o{account}{number}x-level-0"));
        let mut event: Value = serde_json::from_str(&event).expect("JSON");
        event["kind"] = json!(kind);
        event["login"] = json!({ "token": "user+token" });
        Event::of(event.to_string())
    };
    (0..count).map(one).collect()
}

/// The worker's log.
fn log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.log("w1")).unwrap_or_default()
}

/// The lines of the log with these words.
fn lines(lab: &Lab, words: &str) -> Vec<String> {
    log(lab).lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// The settings of a worker whose metrics can be read, and their address.
pub(crate) fn with_metrics() -> (String, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port");
    (format!("[http]\nlisten = \"{free}\"\n"), format!("http://{free}/metrics"))
}

async fn metric(url: &str, line: &str) -> bool {
    let text = match reqwest::get(url).await {
        Ok(response) => response.text().await.unwrap_or_default(),
        Err(_) => return false,
    };
    text.lines().any(|found| found == line)
}

/// How many calls the simulator had for an API.
fn calls(lab: &Lab, api: Api) -> usize {
    lab.simulator.calls().all().iter().filter(|call| call.api == api).count()
}

async fn decided(lab: &Lab, kind: &str) -> i64 {
    sqlx::query_scalar("select count(*) from verdicts where kind = $1")
        .bind(kind)
        .fetch_one(&lab.database)
        .await
        .expect("a number")
}
