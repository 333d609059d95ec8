//! Faults below the API: statuses, invalid bodies, broken connections, and unknown requests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn words_break_answers_in_every_way() {
    let client = Client::start(SimulatorOptions::default()).await;
    let path = |account| format!("/v2/index.php?{}", client.query(account, &[]));
    assert_eq!(client.get(&path("u-http-503")).await.0, 503);
    let response = client.http.get(client.url(&path("u-http-429"))).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()),
        (429, "1")
    );
    assert_eq!(client.last_call().outcome, Outcome::HttpStatus);
    assert!(client.get(&path("u-html")).await.1.starts_with("<!DOCTYPE html>"));
    assert_eq!(client.get(&path("u-empty")).await, (200, String::new()));
    let (_, truncated) = client.get(&path("u-truncated")).await;
    assert!(
        truncated.starts_with("{\"code\":0") && serde_json::from_str::<Value>(&truncated).is_err()
    );
    let (_, big) = client.get(&path("u-level-2-big")).await;
    assert_eq!(
        (big.len(), &serde_json::from_str::<Value>(&big).unwrap()["level"]),
        (300_000, &json!(2))
    );
    let reset = client.http.get(client.url(&path("u-reset"))).send().await;
    assert!(reset.is_err_and(|error| !error.is_timeout()));
    assert_eq!(
        (client.last_call().outcome, client.last_call().http_status),
        (Outcome::Reset, None)
    );
    let cut = client.http.get(client.url(&path("u-cut"))).send().await.unwrap();
    assert!(cut.text().await.is_err());
    assert_eq!(client.code("u", &[]).await, 0, "and it goes on");
}

#[tokio::test]
async fn slow_answers_come_late_and_hanging_ones_never() {
    let client = Client::start(SimulatorOptions::default()).await;
    let start = Instant::now();
    assert_eq!(client.code("u-slow-80ms", &[]).await, 0);
    assert!(start.elapsed() >= Duration::from_millis(80));
    let url = client.url(&format!("/v2/index.php?{}", client.query("u-hang", &[])));
    let short = client.http.get(&url).timeout(Duration::from_millis(100)).send().await;
    assert!(short.is_err_and(|error| error.is_timeout()));
    let call = client.last_call();
    assert_eq!((call.outcome, &*call.account), (Outcome::Hang, "u-hang"));
    let gone = async || client.simulator.calls().totals()[&Api::IntelligentQrCode].in_flight == 0;
    timeout(Duration::from_secs(5), async {
        while !gone().await {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn stopping_cuts_what_hangs_and_frees_the_address() {
    let client = Client::start(SimulatorOptions::default()).await;
    let url = client.url(&format!("/v2/index.php?{}", client.query("u-hang", &[])));
    let hanging = tokio::spawn(client.http.get(url).send());
    while client.simulator.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let listen = client.simulator.address();
    let _idle = TcpStream::connect(listen).await.unwrap();
    timeout(Duration::from_secs(5), client.simulator.stop()).await.unwrap();
    assert!(hanging.await.unwrap().is_err_and(|error| !error.is_timeout()));
    let again =
        Simulator::start(SimulatorOptions { listen, ..SimulatorOptions::default() }).await.unwrap();
    assert_eq!(again.address(), listen);
    let taken = Simulator::start(SimulatorOptions { listen, ..SimulatorOptions::default() }).await;
    assert!(matches!(taken, Err(SimulatorError::Listen { address, .. }) if address == listen));
}

#[tokio::test]
async fn hostile_requests_get_an_answer_and_no_panic() {
    let client = Client::start(SimulatorOptions::default()).await;
    for path in [
        "/",
        "/v2/index.php",
        "/v2/index.php?",
        "/v2/index.php?Action=%ff",
        "/v2/index.php?a=1&a=2",
        "/control/",
        "/control/calls?after=x",
        "/control/calls?api=nonesuch",
        "/tcb/servicemarket",
        "/cgi-bin/token?appid=%00",
        "/v2/index.php?Action=IntelligentQRCode&Nonce=99999999999999999999999&Timestamp=-9223372036854775808",
    ] {
        let (status, _) = client.get(path).await;
        assert!(status < 500, "{path}: {status}");
    }
    let big = "x".repeat((1 << 20) + 1);
    assert_eq!(client.post("/tcb/servicemarket", &big).await.0, 413);
    let deep = "[".repeat(100_000);
    assert!(client.post("/tcb/servicemarket?access_token=x", &deep).await.1.contains("40001"));
    let boundary = client.query("u-truncated-红包红包红", &[]);
    assert_eq!(client.get(&format!("/v2/index.php?{boundary}")).await.0, 200);
    let odd = client.query("u-level-1", &[("Timestamp", "+9223372036854775807")]);
    assert_eq!(client.tencent_cloud(&odd).await["code"], 4200);
    let mut raw = TcpStream::connect(client.simulator.address()).await.unwrap();
    raw.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    raw.read_to_end(&mut answer).await.unwrap();
    assert_eq!(client.code("u", &[]).await, 0);
}
