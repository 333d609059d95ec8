//! What operators see: the endpoints while a worker works, and the trace that goes through it.

use std::time::Duration;

use serde_json::Value;

use super::lab::{Event, Lab, claim};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_its_health_and_keeps_the_trace() {
    let Some(lab) = Lab::new("watching").await else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let mut worker = lab.worker("w1", &format!("[http]\nlisten = \"127.0.0.1:{port}\""));
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    };
    lab.wait("readiness", Duration::from_secs(60), async || {
        get("/readyz").await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    assert_eq!(get("/livez").await.map(|(status, _)| status), Some(200));

    let headers = vec![
        ("traceparent".to_owned(), TRACEPARENT.into()),
        ("tracestate".to_owned(), b"vendor=1".to_vec()),
    ];
    lab.produce(&[
        Event { headers, ..Event::of(claim("traced", "user-transient-1")) },
        Event::of("{"),
    ]);
    let all_there = async || !lab.read("decisions").is_empty() && !lab.read("dead").is_empty();
    lab.wait("the decision", Duration::from_secs(60), all_there).await;
    let decision = lab.read("decisions").remove(0);
    let payload: Value =
        serde_json::from_slice(&decision.payload.expect("a payload")).expect("JSON");
    assert_eq!(payload["trace_id"], TRACE_ID);
    let header = |name: &str| String::from_utf8_lossy(&decision.headers[name]).into_owned();
    assert!(
        header("traceparent").starts_with(&format!("00-{TRACE_ID}-")),
        "{}",
        header("traceparent")
    );
    assert_eq!(header("tracestate"), "vendor=1");
    let traces: Vec<String> = sqlx::query_scalar(
        "select trace_id from risk_calls where claim_id = 'traced' union all select trace_id from \
         verdicts",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    assert_eq!(traces, [TRACE_ID; 3], "two calls and a verdict");

    let (_, metrics) = get("/metrics").await.expect("metrics");
    for line in [
        "claimgate_claims_admitted_total 2",
        "claimgate_decisions_total{kind=\"qr_code\",decision=\"approve\"} 1",
        "claimgate_dead_letters_total{error=\"not_json\"} 1",
        "claimgate_retries_total{api=\"intelligent_qr_code\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }
    assert_eq!(worker.stop().await, Some(0));
}
