//! Servers have to prove their identity.

use std::time::Duration;

use claimgate::assess::egress::Settings;
use claimgate::assess::exchange::{Failure, Http};
use claimgate::assess::http::Client;
use claimgate::config::Config;
use claimgate::risk::{Method, Request};

use crate::certificate::Untrusted;

/// Properties that switch verification off are refused, by name.
#[test]
fn properties_that_switch_verification_off_are_refused() {
    let credentials = "[tencent_cloud]\nsecret_id = 'i'\nsecret_key = 'k'\n[wechat]\n\
        app_id = 'wx'\napp_secret = 's'\n";
    for (key, value) in [
        ("enable.ssl.certificate.verification", "false"),
        ("enable_ssl_certificate_verification", "0"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ] {
        let text = format!("{credentials}[kafka.properties]\n\"{key}\" = \"{value}\"");
        let error = Config::from_toml(&text).expect_err("refused").to_string();
        assert!(
            error.contains(&format!("kafka.properties.{}", key.replace('_', ".")))
                && error.contains("ssl.ca.location"),
            "{error}"
        );
    }
    let fine = format!(
        "{credentials}[kafka.properties]\n\"enable.ssl.certificate.verification\" = \"true\""
    );
    Config::from_toml(&fine).expect("verification may be asked for");
}

/// No request is sent to a risk API with an untrusted certificate.
#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let Some(server) = Untrusted::start() else { return };
    let port = server.port;
    let request =
        |url: String| Request { method: Method::Get, url, body: None, redacted: String::new() };
    let client = Client::new(&Default::default()).expect("a client");
    let exchange =
        client.send(request(format!("https://localhost:{port}/")), Duration::from_secs(5)).await;
    let failure = exchange.result.expect_err("the certificate is nobody's");
    assert_eq!(failure.reason().as_str(), "connect", "and nothing was sent");
    // The certificate is the cause: a client that trusts it gets an answer.
    let believer = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .expect("a client");
    let answer =
        believer.get(format!("https://localhost:{port}/")).send().await.expect("an answer");
    assert!(answer.status().is_success());
}

/// A certificate that is trusted is good for the hosts that it names, and for no other.
#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let Some(server) = Untrusted::start() else { return };
    for http2_connections in [0, 2] {
        let ca_certificates = Some(server.certificate.path());
        let egress = Settings { ca_certificates, http2_connections, ..Settings::default() };
        let client = Client::new(&egress).expect("a client");
        let call = |host: &str| {
            let url = format!("https://{host}:{}/", server.port);
            let request = Request { method: Method::Get, url, body: None, redacted: String::new() };
            client.send(request, Duration::from_secs(5))
        };
        let named = call("localhost").await;
        assert_eq!(named.arrived().map(|answer| answer.status), Some(200), "{:?}", named.cause);
        let other = call("127.0.0.2").await;
        assert_eq!(other.result, Err(Failure::Connect), "the certificate names 127.0.0.1");
    }
}
