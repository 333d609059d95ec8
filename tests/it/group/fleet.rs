//! Several workers of one group, on topics of eight partitions. The partitions of each are read
//! from its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use claimgate_simulator::SimulatorOptions;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use crate::lab::{Event, Lab, PARTITIONS, Worker, claim, services};
use crate::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(60);

/// Workers, by their instance's name.
pub(crate) struct Fleet {
    pub(crate) lab: Arc<Lab>,
    pub(crate) workers: BTreeMap<String, Worker>,
    pub(crate) expected: Expected,
    more: String,
    /// Partitions of the input topic and of the retry topic.
    pub(crate) partitions: i32,
    started: usize,
    produced: usize,
}

impl Fleet {
    /// No worker yet. `more` is TOML that each will have.
    pub(crate) async fn new(
        name: &str,
        options: SimulatorOptions,
        partitions: i32,
        more: &str,
    ) -> Option<Self> {
        let (kafka, postgres) = services()?;
        let lab = Lab::without_topics(name, options, kafka, postgres).await;
        for (topic, count) in [
            ("claims", partitions),
            ("retry", partitions),
            ("decisions", PARTITIONS),
            ("dead", PARTITIONS),
        ] {
            create_topic(&lab, topic, count).await;
        }
        let (workers, expected) = (BTreeMap::new(), Expected::default());
        let lab = Arc::new(lab);
        Some(Self {
            lab,
            workers,
            expected,
            more: more.to_owned(),
            partitions,
            started: 0,
            produced: 0,
        })
    }

    /// Starts one more worker, which has a name in its group or not.
    pub(crate) fn start(&mut self, named: bool) -> String {
        self.started += 1;
        let instance = format!("{}-{}", if named { "named" } else { "dynamic" }, self.started);
        self.start_as(&instance);
        instance
    }

    pub(crate) fn start_as(&mut self, instance: &str) {
        self.workers.insert(instance.to_owned(), self.lab.worker(instance, &self.more));
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(&mut self, instance: &str) {
        let mut worker = self.workers.remove(instance).expect("it runs");
        assert_eq!(worker.stop().await, Some(0), "{}", self.log(instance));
    }

    pub(crate) async fn stop_all(&mut self) {
        for instance in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.stop(&instance).await;
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, instance: &str) {
        self.workers.remove(instance).expect("it runs").kill();
    }

    pub(crate) fn log(&self, instance: &str) -> String {
        std::fs::read_to_string(self.lab.log(instance)).unwrap_or_default()
    }

    /// Sends this many claims, each of an account of its own, over all partitions in turn.
    pub(crate) fn produce(&mut self, count: usize) {
        self.produce_of(count, "");
    }

    /// The same with accounts that tell the simulator what to answer.
    pub(crate) fn produce_of(&mut self, count: usize, words: &str) {
        for _ in 0..count {
            self.enqueue(i32::try_from(self.produced).expect("few") % self.partitions, words);
        }
        self.lab.flush(LONG);
    }

    /// Sends one claim, over one partition.
    pub(crate) fn produce_on(&mut self, partition: i32) {
        self.enqueue(partition, "");
        self.lab.flush(LONG);
    }

    fn enqueue(&mut self, partition: i32, words: &str) {
        let (number, id) = (self.produced, format!("clm-{:06}", self.produced));
        let event = Event::of(claim(&id, &format!("user-{number}{words}"))).on(partition);
        self.lab.enqueue(&event);
        self.expected.claims.insert(id);
        self.produced += 1;
    }

    pub(crate) async fn decided(&self) {
        let all = async || self.expected.is_complete(&outcome(&self.lab));
        self.lab.wait("every claim decided", LONG, all).await;
    }

    /// The partitions that a worker has, as its log says: `claims/3`.
    pub(crate) fn has(&self, instance: &str) -> BTreeSet<String> {
        let log = self.log(instance);
        // The partitions of an earlier process with this name do not matter.
        let log = log.rsplit_once("kafka.bootstrap_servers").map_or(&*log, |(_, latest)| latest);
        let mut has = BTreeSet::new();
        for line in log.lines() {
            let named = line.split([' ', '=']).filter(|word| {
                word.strip_prefix("claims/")
                    .or_else(|| word.strip_prefix("retry/"))
                    .is_some_and(|number| number.parse::<i32>().is_ok())
            });
            if line.contains("partitions assigned") {
                has.extend(named.map(str::to_owned));
            } else if line.contains("partitions revoked") {
                has.retain(|partition: &String| !named.clone().any(|named| named == partition));
            }
        }
        has
    }

    /// The fault in how the partitions are spread over the workers; `None` if every partition has
    /// one owner, no worker has two more of the input topic's than another, and each has the retry
    /// partitions with the same numbers.
    pub(crate) fn unfair(&self) -> Option<String> {
        let each: BTreeMap<&str, BTreeSet<String>> =
            self.workers.keys().map(|instance| (instance.as_str(), self.has(instance))).collect();
        let of = |has: &BTreeSet<String>, topic: &str| -> BTreeSet<String> {
            has.iter()
                .filter_map(|partition| partition.strip_prefix(topic))
                .map(str::to_owned)
                .collect()
        };
        let claims: Vec<BTreeSet<String>> = each.values().map(|has| of(has, "claims/")).collect();
        let retry: Vec<BTreeSet<String>> = each.values().map(|has| of(has, "retry/")).collect();
        let owned: usize = claims.iter().map(BTreeSet::len).sum();
        let all: BTreeSet<&String> = claims.iter().flatten().collect();
        let sizes = claims.iter().map(BTreeSet::len);
        let (most, least) = (sizes.clone().max().unwrap_or(0), sizes.min().unwrap_or(0));
        let whole = usize::try_from(self.partitions).expect("few");
        let fair = owned == whole && all.len() == whole && most - least <= 1 && claims == retry;
        (!fair).then(|| format!("{each:?}"))
    }

    /// Waits until the partitions are spread evenly, and stay so.
    pub(crate) async fn fair(&self, when: &str, within: Duration) {
        let began = tokio::time::Instant::now();
        let mut since = None;
        loop {
            match self.unfair() {
                None if since.is_some_and(|since: tokio::time::Instant| {
                    since.elapsed() > Duration::from_millis(1_500)
                }) =>
                {
                    println!(
                        "{when}: {} workers, even after {} ms",
                        self.workers.len(),
                        began.elapsed().as_millis()
                    );
                    return;
                }
                None => _ = since.get_or_insert_with(tokio::time::Instant::now),
                Some(what) => {
                    since = None;
                    assert!(began.elapsed() < within, "{when}: after {within:?} {what}");
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(crate) async fn create_topic(lab: &Lab, topic: &str, partitions: i32) {
    let admin = lab.admin();
    let name = lab.topic(topic);
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers")
    {
        result.expect("the topic is new");
    }
}
