//! Publishing: messages that a topic does not accept, transactions that time out, commits that wait
//! for the group.

mod commits;
mod fences;
mod settings;
mod sizes;

use std::time::Duration;

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};

use crate::lab::Lab;

const LONG: Duration = Duration::from_secs(60);

/// Sets the largest batch that a topic of the lab takes, and waits until the broker knows it.
pub(crate) async fn set_max_bytes(lab: &Lab, topic: &str, bytes: usize) {
    let (topic, bytes) = (lab.topic(topic), bytes.to_string());
    let admin = lab.admin();
    let resource = ResourceSpecifier::Topic(&topic);
    let set = AlterConfig::new(resource).set("max.message.bytes", &bytes);
    admin.alter_configs([&set], &AdminOptions::new()).await.expect("Kafka answers")[0]
        .as_ref()
        .expect("it is set");
    lab.wait("the broker to know it", LONG, async || {
        let described = admin.describe_configs([&resource], &AdminOptions::new()).await;
        let described = described.expect("Kafka answers").remove(0).expect("a topic");
        let entry = described.get("max.message.bytes").expect("a setting");
        entry.value.as_deref() == Some(bytes.as_str())
    })
    .await;
}

fn log(lab: &Lab, worker: &str) -> String {
    std::fs::read_to_string(lab.log(worker)).unwrap_or_default()
}
