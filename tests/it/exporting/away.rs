//! A collector that is away, or accepts a connection and does not answer: it costs only telemetry.

use tokio::net::TcpListener;
use tokio::time::{Duration, Instant};

use super::{BOTH, LONG};
use crate::lab::{Event, Lab, claim};

/// The worker's own end, and the five seconds that the last telemetry has.
const END: Duration = Duration::from_secs(12);

/// A worker that exports everything to `collector` decides its claims, and ends in its time.
async fn decides_and_ends(name: &str, collector: &str, protocol: &str) -> Option<String> {
    let lab = Lab::new(name).await?;
    let variables = [
        BOTH[0],
        BOTH[1],
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "10"),
    ];
    let mut worker = lab.worker_with("w1", "[telemetry]\nlog = \"debug\"", &variables);
    let ids: Vec<_> = (0..100).map(|number| format!("clm-{number}")).collect();
    let events: Vec<_> = ids.iter().map(|id| Event::of(claim(id, &format!("user-{id}")))).collect();
    lab.produce(&events);
    lab.wait("the decisions", LONG, async || lab.read("decisions").len() == 100).await;
    let told = Instant::now();
    assert_eq!(worker.stop().await, Some(0));
    assert!(told.elapsed() < END, "the end took {:?}", told.elapsed());
    Some(std::fs::read_to_string(lab.log("w1")).expect("a log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_told_once_for_each_signal() {
    for (name, protocol) in [("away-http", "http/protobuf"), ("away-grpc", "grpc")] {
        // Nobody listens on port 9, "discard".
        let log = decides_and_ends(name, "http://user:hunter2@127.0.0.1:9", protocol).await;
        let Some(log) = log else { return };
        for signal in ["spans", "metrics", "log lines"] {
            let words = format!("{signal} do not reach the collector at 127.0.0.1");
            assert_eq!(log.matches(&words).count(), 1, "{log}");
        }
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_says_nothing_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    for (name, protocol) in [("silent-http", "http/protobuf"), ("silent-grpc", "grpc")] {
        let log = decides_and_ends(name, &url, protocol).await;
        assert!(log.is_none_or(|log| log.contains("did not reach the collector")));
    }
    held.abort();
}
