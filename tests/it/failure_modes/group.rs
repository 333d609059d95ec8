//! The consumer and its group.

use std::time::Duration;

use claimgate::intake::offset_map::OffsetMap;
use claimgate_simulator::{Api, ApiFaults, Faults};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::exactly_once::{assert_asked_once, simulator};
use crate::lab::{Event, Lab, Worker, claim, client, services};
use crate::oracle::{Expected, outcome};
use crate::outages::World;
use crate::service::Service;

const LONG: Duration = Duration::from_secs(120);

/// Workers without a name: each start and stop causes a rebalance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_and_leaving_members_repeat_no_call() {
    let Some(lab) = Lab::with("scaling", simulator()).await else { return };
    let mut expected = Expected::default();
    let mut workers: Vec<Worker> = Vec::new();
    for (round, size) in [1_usize, 3, 4, 2, 1].into_iter().enumerate() {
        while workers.len() > size {
            assert_eq!(workers.remove(0).stop().await, Some(0));
        }
        while workers.len() < size {
            workers.push(lab.worker(&format!("dynamic-{round}-{}", workers.len()), ""));
        }
        for half in 0..4 {
            expected.produce(&lab, (0..150).map(|number| format!("clm-{round}-{half}-{number}")));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    for worker in &mut workers {
        assert_eq!(worker.stop().await, Some(0));
    }
    expected.verify(&lab).await;
    assert_asked_once(&lab);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_open_claim_before_50_000_done_ones_stalls_nothing() {
    let Some(lab) = Lab::new("stuck").await else { return };
    // The API call of the first claim never ends; it may take an hour.
    let more = "[worker]\ndrain_timeout = \"2h\"\n[risk.intelligent_qr_code]\ntimeout = \"1h\"";
    let mut events = vec![Event::of(claim("stuck", "user-hang")).on(0)];
    let mut expected = Expected::default();
    for number in 0..500 {
        let id = format!("clm-{number}");
        events.push(Event::of(claim(&id, &format!("user-{number}"))).on(0));
        expected.claims.insert(id);
    }
    // Records that are done without a call: duplicates, which are skipped.
    let duplicate = || Event::of(claim("clm-0", "user-0")).on(0);
    events.extend(std::iter::repeat_with(duplicate).take(50_000));
    lab.produce(&events);
    let mut worker = lab.worker("w1", more);
    let end = i64::try_from(events.len()).expect("few enough");
    lab.wait("all but the stuck one done", LONG, async || {
        let (offset, metadata) = committed(&lab);
        let map = OffsetMap::decode(offset, &metadata, end).expect("a map of the worker's own");
        assert!(offset == 0 && metadata.len() <= 4_096, "{offset} {metadata}");
        map.end() == end && map.into_open().len() == 1
    })
    .await;
    assert!(expected.is_complete(&outcome(&lab)));
    worker.kill();
    let before = lab.simulator.calls().counts();
    let mut worker = lab.worker("w1", more);
    let asked_again = async || {
        lab.simulator.calls().all().iter().filter(|call| &*call.account == "user-hang").count() == 2
    };
    lab.wait("the stuck claim asked about again", LONG, asked_again).await;
    lab.produce(&[Event::of(claim("last", "user-last")).on(0)]);
    expected.claims.insert("last".to_owned());
    lab.wait("the last one decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    worker.kill();
    for ((api, account), calls) in lab.simulator.calls().counts() {
        let earlier = before.get(&(api, account.clone())).copied().unwrap_or(0);
        let more = calls - earlier;
        let may = u64::from(account == "user-hang" || account == "user-last");
        assert_eq!(more, may, "{account} was asked about {more} times more");
    }
    expected.verify(&lab).await;
}

/// What the group has committed for partition 0 of the claims: the offset and the offset map.
fn committed(lab: &Lab) -> (i64, String) {
    let group: BaseConsumer =
        client(&lab.kafka).set("group.id", &lab.name).create().expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(&lab.topic("claims"), 0);
    let committed =
        group.committed_offsets(partitions, Duration::from_secs(10)).expect("the offset");
    let element = committed.find_partition(&lab.topic("claims"), 0).expect("it was asked for");
    let Offset::Offset(offset) = element.offset() else { return (0, String::new()) };
    (offset, element.metadata().to_owned())
}

/// A worker that was frozen for longer than its session must not publish decisions that another
/// worker has published meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_session_publishes_nothing_stale() {
    let Some(lab) = Lab::with("zombie", simulator()).await else { return };
    let mut expected = Expected::default();
    let mut sleeper = lab.worker("dynamic-1", "");
    let mut produce = |from: usize| {
        expected.produce(&lab, (from..from + 400).map(|number| format!("clm-{number}")));
    };
    produce(0);
    lab.wait("the first decisions", LONG, async || !outcome(&lab).decisions.is_empty()).await;
    produce(400);
    sleeper.signal("-STOP");
    let mut successor = lab.worker("dynamic-2", "");
    tokio::time::sleep(Duration::from_secs(10)).await;
    produce(800);
    sleeper.signal("-CONT");
    produce(1_200);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    expected.verify(&lab).await;
    assert_eq!(
        (sleeper.stop().await, successor.stop().await),
        (Some(0), Some(0)),
        "it goes on as before"
    );
}

/// An API that hangs for longer than Kafka lets a consumer be silent: the consumer is not silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_api_causes_no_rebalance() {
    let Some(lab) = Lab::new("hangs").await else { return };
    let hang = ApiFaults { hang: 1.0, ..ApiFaults::default() };
    let faults = Faults { apis: [(Api::IntelligentQrCode, hang)].into(), ..Faults::default() };
    lab.simulator.set_faults(faults).expect("faults");
    let more = "[retry]\ndefer_interval = \"1s\"\n\
        [kafka.properties]\n\"max.poll.interval.ms\" = \"6000\"\n[worker]\nmax_in_flight = 100\n\
        [risk.intelligent_qr_code]\ntimeout = \"9s\"";
    let mut expected = Expected::default();
    expected.claims.extend((0..400).map(|number| format!("clm-{number}")));
    let event = |id: &String| Event::of(claim(id, &format!("user-{id}")));
    lab.produce(&expected.claims.iter().map(event).collect::<Vec<_>>());
    let mut worker = lab.worker("w1", more);
    let called = async || lab.simulator.calls().len() >= 64;
    lab.wait("calls that hang", LONG, called).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert_eq!(log.matches("partitions assigned").count(), 1, "{log}");
    assert_eq!(log.matches("partitions revoked").count(), 0, "{log}");
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}

/// SIGTERM while no broker answers, with claims in flight: the worker ends in time, and its
/// successor finishes what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stops_in_time_without_a_broker() {
    let Some((_, postgres)) = services() else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let more = "[worker]\ndrain_timeout = \"3s\"";
    let mut world = World::at("sigterm", bootstrap, postgres, |_| more.to_owned()).await;
    for wait in [Duration::from_millis(300), Duration::from_secs(8)] {
        world.produce(1_000);
        tokio::time::sleep(Duration::from_millis(300)).await;
        kafka.run("kill");
        // At once, and after the session has ended.
        tokio::time::sleep(wait).await;
        let told = Instant::now();
        // 1 if something was left to publish.
        let code = world.worker.stop().await;
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        let took = told.elapsed();
        println!("the worker ended after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(3 + 15), "the worker ended after {took:?}");
        kafka.run("start");
        world.worker = world.lab.worker("w1", more);
    }
    world.finish().await;
}
