//! `topics create`: what it makes, what it leaves alone and says, and that a worker works on it.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use claimgate_simulator::SimulatorOptions;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::super::lab::{Event, Lab, claim, client, services};
use super::{configure, lines};

const TOPICS: [&str; 4] = ["claims", "decisions", "retry", "dead"];

/// A lab without topics.
async fn bare(name: &str) -> Option<Lab> {
    let (kafka, postgres) = services()?;
    Some(Lab::without_topics(name, SimulatorOptions::default(), kafka, postgres).await)
}

async fn create(lab: &Lab, options: &str) -> (Output, String) {
    let arguments = ["topics", "create"].into_iter().chain(options.split_whitespace());
    let output = lab.claimgate("", &arguments.collect::<Vec<_>>()).await;
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    (output, String::from_utf8(said).expect("text"))
}

/// The lab's topics: partitions and configuration of each that is there.
async fn found(lab: &Lab) -> BTreeMap<&'static str, (usize, BTreeMap<String, Option<String>>)> {
    let consumer: BaseConsumer = client(&lab.kafka).create().expect("a consumer");
    let all = consumer.fetch_metadata(None, Duration::from_secs(10)).expect("Kafka answers");
    let admin = lab.admin();
    let mut found = BTreeMap::new();
    for topic in TOPICS {
        let name = lab.topic(topic);
        let Some(there) = all.topics().iter().find(|there| there.name() == name) else { continue };
        let described = admin
            .describe_configs([&ResourceSpecifier::Topic(&name)], &AdminOptions::new())
            .await
            .expect("Kafka answers");
        let described = described.into_iter().next().expect("one").expect("described");
        let entries = described.entries.into_iter().map(|entry| (entry.name, entry.value));
        found.insert(topic, (there.partitions().len(), entries.collect()));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_made_once_and_a_worker_decides_on_them() {
    let Some(lab) = bare("made").await else { return };
    let (output, said) = create(&lab, "--partitions 6 --replication-factor 1 --dry-run").await;
    assert!(output.status.success() && said.matches("would be created: 6").count() == 4, "{said}");
    let (output, said) = create(&lab, "--partitions 6 --replication-factor 99").await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("99 replicas") && said.contains("--replication-factor 1"), "{said}");
    assert!(found(&lab).await.is_empty(), "a dry run and a refusal make nothing");

    let (output, said) = create(&lab, "--partitions 6 --replication-factor 1").await;
    assert!(output.status.success() && said.matches("was created: 6").count() == 4, "{said}");
    let are_there = async || found(&lab).await.len() == 4;
    lab.wait("the topics", Duration::from_secs(10), are_there).await;
    let made = found(&lab).await;
    for topic in TOPICS {
        let (partitions, configuration) = &made[topic];
        let value = |key: &str| configuration[key].as_deref().expect("a value");
        assert_eq!((*partitions, value("cleanup.policy")), (6, "delete"), "{topic}");
        assert_eq!((value("min.insync.replicas"), value("retention.bytes")), ("1", "-1"));
        assert_eq!(value("max.message.bytes"), "1048588");
        let retention = if topic == "retry" { "1296000000" } else { "1209600000" };
        assert_eq!(value("retention.ms"), retention, "{topic}");
    }

    let (output, said) = create(&lab, "--partitions 6 --replication-factor 1").await;
    assert!(output.status.success() && said.matches("left unchanged").count() == 4, "{said}");
    assert!(said.lines().all(|line| line.starts_with("ok")), "{said}");
    assert_eq!(found(&lab).await, made, "and so it is");

    assert!(lab.claimgate("", &["migrate"]).await.status.success(), "the schema is made");
    let checked = lab.claimgate("", &["check"]).await;
    assert!(checked.status.success());
    for line in lines(&checked, "topic ").lines() {
        assert!(line.starts_with("ok") && line.ends_with("6 partitions"), "{line}");
    }
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("partitions and kafka."));
    let mut worker = lab.worker("w1", "");
    lab.produce(&[Event::of(claim("on-made-topics", "user-1"))]);
    let decided = async || !lab.read("decisions").is_empty();
    lab.wait("the decision", Duration::from_secs(60), decided).await;
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_differs_is_named_and_left_alone() {
    let Some(lab) = bare("differs").await else { return };
    let admin = lab.admin();
    let names = [("claims", 7), ("decisions", 3)].map(|(topic, n)| (lab.topic(topic), n));
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|(name, n)| NewTopic::new(name, *n, TopicReplication::Fixed(1))).collect();
    for made in admin.create_topics(&topics, &AdminOptions::new()).await.expect("Kafka answers") {
        made.expect("the topic is new");
    }
    configure(&lab, "decisions", &[("retention.ms", "3600000"), ("max.message.bytes", "1000")])
        .await;
    let is_set = async || {
        found(&lab).await.get("decisions").is_some_and(|(_, configuration)| {
            configuration["max.message.bytes"].as_deref() == Some("1000")
        })
    };
    lab.wait("the broker's new setting", Duration::from_secs(10), is_set).await;
    let before = found(&lab).await;

    let (output, said) = create(&lab, "--replication-factor 1").await;
    assert!(output.status.success(), "a warning is no failure: {said}");
    let name = lab.topic("decisions");
    let line = lines(&output, &format!("topic {name} "));
    assert!(line.starts_with("warn") && line.contains("retention.ms is 3600000"), "{line}");
    let remedy = format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {name} \
         --add-config retention.ms=1209600000,max.message.bytes=1048588",
        lab.kafka
    );
    assert!(line.ends_with(&remedy), "{line}");
    let after = found(&lab).await;
    assert_eq!(after["retry"].0, 7, "as many as the claims have");
    assert_eq!(after["dead"].0, 12, "the default");
    assert_eq!((&after["claims"], &after["decisions"]), (&before["claims"], &before["decisions"]));

    configure(&lab, "dead", &[("cleanup.policy", "compact")]).await;
    let is_compacted =
        async || found(&lab).await["dead"].1["cleanup.policy"].as_deref() == Some("compact");
    lab.wait("the broker's new setting", Duration::from_secs(10), is_compacted).await;
    let (output, said) = create(&lab, "--replication-factor 1 --partitions 9 --json").await;
    assert_eq!(output.status.code(), Some(1), "no worker starts on a compacted topic: {said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(document["severity"], "wrong", "{document}");
    assert_eq!((&document["wrong"], &document["dry_run"]), (&1.into(), &false.into()));
    let remedies: Vec<&str> = document["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter_map(|finding| finding["remedy"].as_str())
        .collect();
    let partitions = |topic: &str| format!("--topic {} --partitions 9", lab.topic(topic));
    assert!(remedies[0].contains(&partitions("claims")), "{remedies:?}");
    assert!(remedies[1].contains(&partitions("decisions")), "{remedies:?}");
    assert!(remedies[2].contains("--add-config cleanup.policy=delete"), "{remedies:?}");
}
