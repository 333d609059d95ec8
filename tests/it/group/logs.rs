//! What happens to claims when a log or the committed offsets change during the run.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::Fleet;
use super::fleet::create_topic;
use crate::exactly_once::simulator;
use crate::lab::{Lab, PARTITIONS, claim, client};
use crate::oracle::{Expected, outcome};

const SOON: Duration = Duration::from_secs(30);

/// TOML for a worker with metrics, and their address.
fn with_metrics() -> (String, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port");
    (format!("[http]\nlisten = \"{free}\""), format!("http://{free}"))
}

/// The sum of a metric over its labels.
async fn metric(url: &str, name: &str) -> f64 {
    let Ok(answer) = reqwest::get(format!("{url}/metrics")).await else { return 0.0 };
    let text = answer.text().await.unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Sends claims over all partitions, by a producer that knows nothing of what was before.
fn send_anew(fleet: &mut Fleet, count: i32) {
    let producer: BaseProducer = client(&fleet.lab.kafka).create().expect("a producer");
    let topic = fleet.lab.topic("claims");
    for number in 0..count {
        let id = format!("new-{number}");
        let event = claim(&id, &format!("user-{id}"));
        let record =
            BaseRecord::<(), str>::to(&topic).partition(number % fleet.partitions).payload(&event);
        producer.send(record).expect("queued");
        fleet.expected.claims.insert(id);
    }
    producer.flush(SOON).expect("sent");
}

/// Retention removes claims that a stopped group has not read: the worker counts them and logs the
/// count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_retention_removed_unread_are_counted() {
    let (more, url) = with_metrics();
    let Some(mut fleet) = Fleet::new("retention", simulator(), PARTITIONS, &more).await else {
        return;
    };
    let worker = fleet.start(false);
    fleet.produce(60);
    fleet.decided().await;
    fleet.stop(&worker).await;
    // 60 more, ten of each partition: three quarters of those of partition 0 and all of partition 1
    // are removed.
    let kept = fleet.expected.claims.clone();
    fleet.produce(60);
    let mut before = TopicPartitionList::new();
    let topic = fleet.lab.topic("claims");
    before.add_partition_offset(&topic, 0, Offset::Offset(17)).expect("an offset");
    before.add_partition_offset(&topic, 1, Offset::Offset(20)).expect("an offset");
    fleet
        .lab
        .admin()
        .delete_records(&before, &AdminOptions::new())
        .await
        .expect("Kafka deletes them");
    let gone = |id: &String| {
        let number: usize =
            id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number");
        number >= 60 && (number % 6 == 1 || (number.is_multiple_of(6) && number / 6 < 17))
    };
    fleet.expected = Expected {
        claims: fleet
            .expected
            .claims
            .iter()
            .filter(|id| kept.contains(*id) || !gone(id))
            .cloned()
            .collect(),
        ..Expected::default()
    };
    let worker = fleet.start(false);
    fleet.decided().await;
    let counted = async || metric(&url, "claimgate_records_lost_total").await >= 17.0;
    fleet.lab.wait("the loss counted", SOON, counted).await;
    let log = fleet.log(&worker);
    assert!(
        log.contains("7 offsets of claims/0 were removed")
            && log.contains("10 offsets of claims/1 were removed"),
        "{log}"
    );
    assert!((metric(&url, "claimgate_records_lost_total").await - 17.0).abs() < 0.1);
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// The topic is deleted and created again while the worker runs. The worker had read 40 claims; the
/// new topic has 61.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_deleted_and_created_again_is_noticed() {
    let Some(mut fleet) = Fleet::new("anew", simulator(), 1, "").await else { return };
    let worker = fleet.start(false);
    fleet.produce(40);
    fleet.decided().await;
    let topic = fleet.lab.topic("claims");
    let admin = fleet.lab.admin();
    for result in admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("Kafka answers")
    {
        result.expect("it is deleted");
    }
    create_topic(&fleet.lab, "claims", 1).await;
    send_anew(&mut fleet, 61);
    let mut ended = fleet.workers.remove(&worker).expect("it runs");
    assert_eq!(ended.end(SOON).await, Some(1), "{}", fleet.log(&worker));
    let log = fleet.log(&worker);
    assert!(log.contains("was deleted and recreated"), "{log}");
    fleet.start(false);
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// The group's offsets are gone: the worker logs beforehand how many decisions will be published
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_about_to_be_published_again_are_announced() {
    let (more, url) = with_metrics();
    let Some(mut fleet) = Fleet::new("expired", simulator(), PARTITIONS, &more).await else {
        return;
    };
    let worker = fleet.start(false);
    fleet.produce(30);
    fleet.decided().await;
    fleet.stop(&worker).await;
    let group = fleet.lab.name.clone();
    for result in fleet
        .lab
        .admin()
        .delete_groups(&[&group], &AdminOptions::new())
        .await
        .expect("Kafka answers")
    {
        result.expect("it is deleted");
    }
    // The triggers that keep verdicts as they are do not fire for a replica.
    let earlier = "begin; set local session_replication_role = replica; \
        update verdicts set decided_at = decided_at - interval '1 hour'; commit";
    sqlx::raw_sql(earlier).execute(&fleet.lab.database).await.expect("they are older now");
    let worker = fleet.start(false);
    let again = async || outcome(&fleet.lab).decisions.values().map(Vec::len).sum::<usize>() == 60;
    fleet.lab.wait("every decision published again", SOON, again).await;
    let log = fleet.log(&worker);
    assert!(
        log.contains("has no committed offsets here: 30 offsets are read from the start"),
        "{log}"
    );
    assert!(log.contains("minutes ago are published again"), "{log}");
    assert!((metric(&url, "claimgate_offsets_read_again_total").await - 30.0).abs() < 0.1);
    fleet.stop_all().await;
}

/// A producer begins a transaction and hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_nobody_ends_is_reported() {
    let (more, url) = with_metrics();
    let Some(mut fleet) = Fleet::new("hanging", simulator(), PARTITIONS, &more).await else {
        return;
    };
    fleet.start(false);
    fleet.produce(12);
    fleet.decided().await;
    let mut settings = client(&fleet.lab.kafka);
    settings.set("transactional.id", format!("{}-hangs", fleet.lab.name));
    let hangs: BaseProducer = settings.create().expect("a producer");
    hangs.init_transactions(SOON).expect("started");
    hangs.begin_transaction().expect("begun");
    let (topic, event) = (fleet.lab.topic("claims"), claim("never", "user-never"));
    hangs.send(BaseRecord::<(), str>::to(&topic).partition(3).payload(&event)).expect("queued");
    hangs.flush(SOON).expect("sent");
    fleet.produce(12);
    let held_up = async || metric(&url, "claimgate_open_transaction_seconds").await;
    fleet.lab.wait("the gauge", SOON, async || held_up().await > 2.0).await;
    hangs.abort_transaction(SOON).expect("aborted");
    fleet.decided().await;
    fleet.lab.wait("all well again", SOON, async || held_up().await < 0.1).await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// Partitions are added to the retry topic and to the input topic, while two workers are at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_partitions_are_assigned() {
    let more = "[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = \"1000\"";
    let Some(mut fleet) = Fleet::new("growing", simulator(), 4, more).await else { return };
    fleet.start(false);
    fleet.start(false);
    fleet.fair("before", SOON).await;
    fleet.produce(40);
    for topic in ["retry", "claims"] {
        grow(&fleet.lab, topic, 8).await;
    }
    fleet.partitions = 8;
    fleet.fair("afterwards", SOON).await;
    send_anew(&mut fleet, 40);
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// The group does not rebalance by itself for these: it does not subscribe to the retry topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_added_to_the_retry_topic_alone_are_assigned() {
    let (more, url) = with_metrics();
    let Some(mut fleet) = Fleet::new("more-retry", simulator(), 4, &more).await else { return };
    fleet.start(false);
    let assigned = async |count: u8| {
        let now = metric(&url, "claimgate_assigned_partitions{topic=\"retry\"}").await;
        (now - f64::from(count)).abs() < 0.1
    };
    fleet.lab.wait("what there is", SOON, async || assigned(4).await).await;
    grow(&fleet.lab, "retry", 8).await;
    fleet.lab.wait("what was added", SOON, async || assigned(8).await).await;
    fleet.stop_all().await;
}

/// Gives a topic more partitions.
async fn grow(lab: &Lab, topic: &str, partitions: usize) {
    let name = lab.topic(topic);
    let grown = NewPartitions::new(&name, partitions);
    let results = lab.admin().create_partitions(&[grown], &AdminOptions::new()).await;
    for result in results.expect("an answer") {
        result.expect("they are made");
    }
}

/// Another application has the group's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_id_of_another_application_is_reported() {
    let (more, url) = with_metrics();
    let Some(mut fleet) = Fleet::new("strangers", simulator(), PARTITIONS, &more).await else {
        return;
    };
    let mut settings = client(&fleet.lab.kafka);
    settings.set("group.id", &fleet.lab.name).set("partition.assignment.strategy", "range");
    let stranger: BaseConsumer = settings.create().expect("a consumer");
    stranger.subscribe(&[&fleet.lab.topic("claims")]).expect("subscribed");
    let lab = std::sync::Arc::clone(&fleet.lab);
    lab.wait("the stranger in the group", SOON, async || {
        drop(stranger.poll(Duration::from_millis(50)));
        stranger.assignment().is_ok_and(|assigned| assigned.count() > 0)
    })
    .await;
    let worker = fleet.start(false);
    let sentence = "(kafka.group_id) has members that are not claimgate";
    lab.wait("the sentence", SOON, async || {
        drop(stranger.poll(Duration::from_millis(50)));
        let said = match reqwest::get(format!("{url}/readyz")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        said.contains(sentence)
    })
    .await;
    assert_eq!(fleet.log(&worker).matches(sentence).count(), 1, "once: {}", fleet.log(&worker));
    stranger.unsubscribe();
    drop(stranger);
    fleet.produce(12);
    fleet.decided().await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}

/// Of each partition of both topics, what the group has committed and where its log ends.
fn committed(lab: &Lab) -> Vec<(Option<i64>, i64)> {
    let group: BaseConsumer =
        client(&lab.kafka).set("group.id", &lab.name).create().expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    for topic in ["claims", "retry"] {
        partitions.add_partition_range(&lab.topic(topic), 0, PARTITIONS - 1);
    }
    let committed = group.committed_offsets(partitions, SOON).expect("the offsets");
    let of = |element: &TopicPartitionListElem<'_>| {
        let (_, end) = group
            .fetch_watermarks(element.topic(), element.partition(), SOON)
            .expect("the log's end");
        (element.offset().to_raw().filter(|offset| *offset >= 0), end)
    };
    committed.elements().iter().map(of).collect()
}

/// What the group has not committed of both topics.
fn lag(lab: &Lab) -> i64 {
    committed(lab).iter().map(|(offset, end)| end - offset.unwrap_or(0)).sum()
}

/// A restart while the first claims that a group ever deferred are not due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_deferred_claims_of_a_group_do_not_count_as_old() {
    let (http, url) = with_metrics();
    let more = format!(
        "{http}\n[retry]\nin_process_for = \"1ms\"\ndefer_interval = \"1m\"\n[breaker]\n\
        min_calls = 1000000"
    );
    let Some(mut fleet) = Fleet::new("first-deferred", simulator(), PARTITIONS, &more).await else {
        return;
    };
    let worker = fleet.start(false);
    let lab = std::sync::Arc::clone(&fleet.lab);
    let begun = async || committed(&lab).iter().all(|(offset, _)| offset.is_some());
    lab.wait("the begin of each partition committed", SOON, begun).await;
    fleet.produce_of(12, "-transient-1");
    let deferred = async || lab.read("retry").len() == 12;
    lab.wait("all claims deferred", SOON, deferred).await;
    fleet.stop(&worker).await;
    let worker = fleet.start(false);
    lab.wait("ready", SOON, async || {
        reqwest::get(format!("{url}/readyz")).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    assert!(
        !fleet.log(&worker).contains("has no committed offsets here"),
        "{}",
        fleet.log(&worker)
    );
    assert!(metric(&url, "claimgate_offsets_read_again_total").await < 0.1);
    fleet.stop_all().await;
}

/// Markers of transactions, the producer's own and this worker's in the retry topic, and what was
/// aborted, are no lag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_is_0_with_transactions() {
    the_lag_is_0_when_all_is_done("markers", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_is_0_without_transactions() {
    the_lag_is_0_when_all_is_done("markers-alo", "[kafka]\nguarantee = \"at_least_once\"\n").await;
}

async fn the_lag_is_0_when_all_is_done(name: &str, guarantee: &str) {
    let more = "[retry]\nin_process_for = \"1ms\"\ndefer_interval = \"1s\"\n[breaker]\n\
        min_calls = 1000000\n\
        [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0";
    let more = format!("{guarantee}{more}");
    let Some(mut fleet) = Fleet::new(name, simulator(), PARTITIONS, &more).await else { return };
    fleet.start(false);
    fleet.produce_of(12, "-transient-1");
    let mut settings = client(&fleet.lab.kafka);
    settings.set("transactional.id", format!("{}-upstream", fleet.lab.name));
    let upstream: BaseProducer = settings.create().expect("a producer");
    upstream.init_transactions(SOON).expect("started");
    let topic = fleet.lab.topic("claims");
    for (round, commits) in [true, false, true, false].into_iter().enumerate() {
        upstream.begin_transaction().expect("begun");
        for number in 0..PARTITIONS {
            let id = format!("txn-{round}-{number}");
            let event = claim(&id, &format!("user-{id}"));
            upstream
                .send(BaseRecord::<(), str>::to(&topic).partition(number).payload(&event))
                .expect("queued");
            if commits {
                fleet.expected.claims.insert(id);
            }
        }
        upstream.flush(SOON).expect("sent");
        if commits {
            upstream.commit_transaction(SOON).expect("committed")
        } else {
            upstream.abort_transaction(SOON).expect("aborted")
        }
    }
    fleet.decided().await;
    fleet.lab.wait("no lag", SOON, async || lag(&fleet.lab) == 0).await;
    // The next worker begins behind the markers and repeats nothing.
    fleet.stop_all().await;
    fleet.start(false);
    fleet.produce(12);
    fleet.decided().await;
    fleet.lab.wait("no lag again", SOON, async || lag(&fleet.lab) == 0).await;
    fleet.stop_all().await;
    fleet.expected.verify(&fleet.lab).await;
}
