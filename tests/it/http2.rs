//! Calls over HTTP/2 share connections, and outlive one that is dead.

use std::time::Duration;

use claimgate::assess::egress::Settings;
use claimgate::assess::exchange::Http as _;
use claimgate::assess::http::Client;
use claimgate::risk::{Method, Request};
use claimgate_simulator::{
    APP_ID, APP_SECRET, ApiFaults, Faults, Latency, Simulator, SimulatorOptions,
};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::certificate::Certificate;
use crate::proxy::Proxy;

/// How long the API takes.
const LATENCY_MS: f64 = 300.0;

/// A simulator that speaks TLS, behind a proxy that counts connections.
struct Api {
    _simulator: Simulator,
    proxy: Proxy,
    certificate: Certificate,
}

impl Api {
    /// `None` without openssl.
    async fn start() -> Option<Self> {
        let certificate = Certificate::make()?;
        let all = ApiFaults { latency: Latency::Fixed(LATENCY_MS), ..ApiFaults::default() };
        let simulator = Simulator::start(SimulatorOptions {
            tls: Some(certificate.files()),
            faults: Faults { all, ..Faults::default() },
            ..SimulatorOptions::default()
        });
        let simulator = simulator.await.expect("a free port");
        let proxy = Proxy::before(simulator.address().to_string()).await;
        Some(Self { _simulator: simulator, proxy, certificate })
    }

    fn client(&self, http2_connections: usize) -> Client {
        let ca_certificates = Some(self.certificate.path());
        Client::new(&Settings { ca_certificates, http2_connections, ..Settings::default() })
            .expect("a client")
    }

    /// The version of HTTP of an answer within a second.
    async fn answer(&self, client: &Client) -> Option<&'static str> {
        let url = format!(
            "https://{}/cgi-bin/token?grant_type=client_credential&appid={APP_ID}&secret={APP_SECRET}",
            self.proxy.address
        );
        let request = Request { method: Method::Get, url, body: None, redacted: String::new() };
        let exchange = client.send(request, Duration::from_secs(1)).await;
        let answer = exchange.result.ok().filter(|response| response.status == 200);
        answer.map(|response| response.version)
    }

    async fn answers(&self, client: &Client) -> bool {
        self.answer(client).await.is_some()
    }

    /// Makes so many calls at once. Returns how many connections they opened.
    async fn connections_of(&self, client: &Client, calls: usize) -> u64 {
        let before = self.proxy.connections();
        let answered = join_all((0..calls).map(|_| self.answers(client))).await;
        assert!(answered.iter().all(|answered| *answered), "{answered:?}");
        self.proxy.connections() - before
    }
}

#[tokio::test]
async fn calls_at_once_share_the_connections_of_http2() {
    let Some(api) = Api::start().await else { return };
    let client = api.client(2);
    let mut opened = 0;
    while opened < 2 {
        opened += api.connections_of(&client, 1).await;
    }
    assert_eq!(api.connections_of(&client, 30).await, 0);
    assert_eq!(api.answer(&client).await, Some("2"));
    let http1 = api.client(0);
    assert_eq!(api.connections_of(&http1, 30).await, 30, "one for each call at once");
    assert_eq!(api.answer(&http1).await, Some("1.1"));
}

/// A network that forgets a connection reports nothing: each call on it would wait for its timeout.
#[tokio::test]
async fn a_dead_connection_of_http2_is_replaced() {
    let Some(api) = Api::start().await else { return };
    let client = api.client(1);
    assert!(api.answers(&client).await);
    api.proxy.forget_connections();
    let silent = Instant::now();
    let replaced = async { while !api.answers(&client).await {} };
    timeout(Duration::from_secs(20), replaced).await.expect("a new connection");
    assert!(silent.elapsed() > Duration::from_secs(1), "the first call waited in vain");
    assert_eq!(api.proxy.connections(), 2);
}

/// A proxy is asked for a tunnel in HTTP/1.1, whatever it chose by TLS.
#[tokio::test]
async fn a_proxy_that_may_have_chosen_http2_is_named() {
    let Some(api) = Api::start().await else { return };
    for (http2_connections, is_offered) in [(1, true), (0, false)] {
        let egress = Settings {
            proxy: Some(format!("https://{}", api.proxy.address).into()),
            ca_certificates: Some(api.certificate.path()),
            http2_connections,
            ..Settings::default()
        };
        let client = Client::new(&egress).expect("a client");
        let reached = client.reach("https://risk.internal", Duration::from_secs(5)).await;
        let refusal = reached.expect_err("the simulator is not a proxy");
        assert!(refusal.contains("tunnel error"), "{refusal}");
        let is_named = refusal.contains("set egress.http2_connections = 0");
        assert_eq!(is_named, is_offered, "{refusal}");
    }
}
