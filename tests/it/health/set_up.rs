//! A wrong clock, a closed port, a port without TLS.

use std::time::Duration;

use claimgate_simulator::Api;
use sqlx::Row;

use super::{LONG, always, calls, claims, decided, lines, metric, with_metrics};
use crate::lab::Lab;

/// Tencent Cloud answers every request, even a freshly signed one, that it has expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_the_api_refuses_opens_the_breaker_and_is_named() {
    let Some(lab) = Lab::new("clock").await else { return };
    lab.simulator.set_faults(always(&[Api::IntelligentQrCode], 4200)).expect("faults");
    let (http, metrics) = with_metrics();
    let mut worker = lab.worker("w1", &http);
    lab.produce(&[claims("qr_code", 400), claims("mini_program", 400)].concat());
    lab.wait("the breaker", LONG, async || {
        metric(&metrics, "claimgate_breaker_access_denied{api=\"intelligent_qr_code\"} 1").await
    })
    .await;
    lab.wait("the other API's claims", LONG, async || decided(&lab, "mini_program").await == 400)
        .await;
    let warnings = lines(&lab, "the breaker of intelligent_qr_code opened");
    assert_eq!(warnings.len(), 1, "one warning: {warnings:?}");
    assert!(
        warnings[0].contains("request_expired") && warnings[0].contains("clock"),
        "{}",
        warnings[0]
    );
    let before = calls(&lab, Api::IntelligentQrCode);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let probes = calls(&lab, Api::IntelligentQrCode) - before;
    assert!(probes <= 3, "{probes} calls in 6 s of an API that is probed every 5 s");
    assert!(
        metric(&metrics, "claimgate_breaker_access_denied{api=\"intelligent_qr_code\"} 1").await,
        "a probe that is answered so does not close it"
    );
    lab.simulator.set_faults(claimgate_simulator::Faults::default()).expect("no faults");
    lab.wait("everything", LONG, async || decided(&lab, "qr_code").await == 400).await;
    assert_eq!(worker.stop().await, Some(0));
}

/// The API's port is closed, or has no TLS: the log line and the rows have the cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_an_unreachable_api_is_logged_and_stored() {
    let Some(lab) = Lab::new("reach").await else { return };
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port");
    let plain = lab.simulator.base_url().replace("http://", "https://");
    let more = format!(
        "[risk.intelligent_qr_code]\nbase_url = \"http://{closed}\"\n[risk.mini_program]\n\
        base_url = \"{plain}\"\n\
        [breaker]\nmin_calls = 3\n"
    );
    let mut worker = lab.worker("w1", &more);
    lab.produce(&[claims("qr_code", 20), claims("mini_program", 20)].concat());
    for (api, words) in
        [("intelligent_qr_code", "onnection refused"), ("mini_program", "wrong version number")]
    {
        let opened = format!("the breaker of {api} opened: connect");
        lab.wait("the breaker", LONG, async || !lines(&lab, &opened).is_empty()).await;
        let line = lines(&lab, &opened).remove(0);
        assert!(line.contains(words) && !line.contains("uid="), "{line}");
        let row = async || {
            let row = sqlx::query("select reason, cause from risk_calls where api = $1 limit 1")
                .bind(api);
            row.fetch_optional(&lab.database).await.expect("an answer")
        };
        lab.wait("a row", LONG, async || row().await.is_some()).await;
        let row = row().await.expect("a row");
        assert_eq!(row.get::<&str, _>(0), "connect");
        assert!(row.get::<&str, _>(1).contains(words), "{}", row.get::<&str, _>(1));
    }
    assert_eq!(worker.stop().await, Some(0));
}
