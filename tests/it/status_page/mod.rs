//! The status page: who may see it, what it says about a claim, and that it shows no identities.

mod browser;
mod seen;

use std::time::Duration;

use claimgate_simulator::SimulatorOptions;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::lab::{Event, Lab, claim};

const LONG: Duration = Duration::from_secs(60);
const OPENID: &str = "oPDER5U0VMARiyXxUruU4SYmyOiw";
const PHONE: &str = "15912345687";
const ADDRESS: &str = "121.14.96.121";
const LOGIN: &str = "login-token-of-somebody";
/// Of the risk APIs: `tests/it/lab` gives them to every worker.
const SECRETS: [&str; 2] = [claimgate_simulator::SECRET_KEY, claimgate_simulator::APP_SECRET];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HOSTILE: &str = "<script>alert('x')</script>/\"%";

/// A free port of this machine.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a free port").port()
}

/// A claim of an account whose id ends with these words for the simulator.
fn of_somebody(claim_id: &str, words: &str) -> Event {
    let account = format!("{OPENID}{words}");
    let mut event: Value = serde_json::from_str(&claim(claim_id, &account)).expect("JSON");
    event["account"]["phone"] = json!(PHONE);
    event["client"]["ip"] = json!(ADDRESS);
    event["login"] = json!({ "token": LOGIN });
    event["reward"]["merchant"] = json!("m-1");
    Event::of(event.to_string())
}

/// The path of a claim's story.
fn story_of(claim_id: &str) -> String {
    let encoded: String = claim_id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/claims/{encoded}.json")
}

/// A viewer.
struct Viewer {
    client: Client,
    base: String,
}

impl Viewer {
    fn of(port: u16) -> Self {
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { client, base: format!("http://127.0.0.1:{port}") }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Option<Response> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.ok()
    }

    async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(path, headers).await.map_or(0, |answer| answer.status().as_u16())
    }

    async fn told(&self, path: &str) -> (StatusCode, String) {
        let answer = self.get(path, &[]).await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn json(&self, path: &str) -> Value {
        let (_, body) = self.told(path).await;
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    async fn is_ready(&self) -> bool {
        self.status("/readyz", &[]).await == 200
    }
}

/// A worker with the page on this machine.
async fn at_home(
    name: &str,
    options: SimulatorOptions,
) -> Option<(Lab, Viewer, crate::lab::Worker)> {
    let lab = Lab::with(name, options).await?;
    let port = free_port();
    let worker = lab.worker("w1", &format!("[http]\nlisten = \"127.0.0.1:{port}\"\n"));
    let viewer = Viewer::of(port);
    lab.wait("readiness", LONG, async || viewer.is_ready().await).await;
    Some((lab, viewer, worker))
}
