//! Properties of the producer that cannot work end the start, with one sentence that gives no
//! secret away.

use crate::lab::Lab;

/// What `claimgate run` says with these properties, and how it ends.
async fn refusal(lab: &Lab, properties: &str) -> String {
    let more = format!("[telemetry]\nlog = \"error\"\n[kafka.properties]\n{properties}");
    let run = lab.claimgate(&more, &["run"]);
    let output = tokio::time::timeout(super::LONG, run).await.expect("it ends of its own");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("claimgate: ") && error.lines().count() == 1, "{error}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_property_unknown_to_the_producer_fails_the_start() {
    let Some(lab) = Lab::new("properties").await else { return };
    let error = refusal(&lab, "acks = \"1\"").await;
    assert!(error.contains("acks") && error.contains("kafka.properties"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_property_is_named_without_its_value() {
    let Some(lab) = Lab::new("mistyped").await else { return };
    for properties in ["\"sasl.pasword\" = \"hunter2\"", "\"security.protocol\" = \"hunter2\""] {
        let error = refusal(&lab, properties).await;
        let name = properties.split('"').nth(1).expect("a name");
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
    }
}
