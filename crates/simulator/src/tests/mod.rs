//! Tests the simulator from outside: with real HTTP and signatures, and its log.

mod control;
mod documented;
mod speed;
mod tencent_cloud;
mod transport;
mod wechat;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha1::Sha1;

use super::*;

/// A client that signs as the documents say and sends any request.
struct Client {
    simulator: Simulator,
    http: reqwest::Client,
    nonce: std::cell::Cell<u64>,
}

impl Client {
    async fn start(options: SimulatorOptions) -> Self {
        let simulator = Simulator::start(options).await.unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        Self { simulator, http, nonce: std::cell::Cell::new(1000) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    /// The query of a request of IntelligentQRCode about an account, with these changes: an empty
    /// value removes a parameter.
    fn query(&self, account: &str, changes: &[(&str, &str)]) -> String {
        self.nonce.set(self.nonce.get() + 1);
        let nonce = self.nonce.get().to_string();
        let now = time::OffsetDateTime::now_utc().unix_timestamp().to_string();
        let mut pairs = BTreeMap::from([
            ("Action", "IntelligentQRCode"),
            ("Nonce", &nonce),
            ("Region", "ap-guangzhou"),
            ("SecretId", SECRET_ID),
            ("Timestamp", &now),
            ("accountType", "2"),
            ("encryptedCode", "code-hash"),
            ("goodInfo", "red packet"),
            ("postTime", "1632994480"),
            ("uid", account),
            ("userIp", "121.14.96.121"),
        ]);
        for (key, value) in changes {
            if value.is_empty() {
                pairs.remove(key)
            } else {
                pairs.insert(key, value)
            };
        }
        sign("GET", &pairs)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = self.http.get(self.url(path)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = self.http.post(self.url(path)).body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The JSON that a signed query is answered with.
    async fn tencent_cloud(&self, query: &str) -> Value {
        let (status, text) = self.get(&format!("/v2/index.php?{query}")).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The code of an IntelligentQRCode answer about an account.
    async fn code(&self, account: &str, changes: &[(&str, &str)]) -> i64 {
        self.tencent_cloud(&self.query(account, changes)).await["code"].as_i64().unwrap()
    }

    /// A new access token from the stable endpoint.
    async fn token(&self) -> String {
        let ask = json!({"grant_type": "client_credential", "appid": APP_ID, "secret": APP_SECRET});
        let (_, text) = self.post("/cgi-bin/stable_token", &ask.to_string()).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    async fn market(&self, token: &str, message: &Value) -> Value {
        let path = format!("/tcb/servicemarket?access_token={token}");
        serde_json::from_str(&self.post(&path, &message.to_string()).await.1).unwrap()
    }

    fn last_call(&self) -> Call {
        self.simulator.calls().all().pop().unwrap()
    }
}

fn sign(method: &str, pairs: &BTreeMap<&str, &str>) -> String {
    let join = |encode: fn(&str) -> String| {
        pairs
            .iter()
            .map(|(key, value)| format!("{key}={}", encode(value)))
            .collect::<Vec<_>>()
            .join("&")
    };
    let text = format!("{method}{SIGNED_HOST}/v2/index.php?{}", join(str::to_owned));
    let mac =
        Hmac::<Sha1>::new_from_slice(SECRET_KEY.as_bytes()).unwrap().chain_update(text).finalize();
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.into_bytes());
    format!("{}&Signature={}", join(encode), encode(&signature))
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

fn marketing(openid: &str, client_msg_id: &str) -> Value {
    json!({
        "service": "wxd8a88093cf541a77",
        "api": "weopensecriskservice",
        "client_msg_id": client_msg_id,
        "data": {"openid": openid, "serviceid": 3, "sale_risk": {"clientip": "121.14.96.121"}},
    })
}

fn inner(answer: &Value) -> Value {
    serde_json::from_str(answer["data"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap()
}
