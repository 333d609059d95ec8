//! A lab with a worker under load, and the measurements of an outage.

use std::collections::BTreeSet;
use std::time::Duration;

use claimgate_simulator::{ApiFaults, Faults, Latency, SimulatorOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::recovery_max;
use crate::lab::{Event, Lab, PARTITIONS, Worker, claim, client};
use crate::oracle::{Expected, outcome};
use crate::tail::Tail;

const LONG: Duration = Duration::from_secs(120);
/// How often the whole topic is read while waiting for decisions.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A lab with one worker.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) worker: Worker,
    pub(crate) tail: Tail,
    expected: Expected,
    produced: usize,
}

impl World {
    /// A lab on these services whose worker is at work.
    pub(crate) async fn at(
        name: &str,
        kafka: String,
        postgres: String,
        more: impl Fn(&Lab) -> String,
    ) -> Self {
        let all = ApiFaults { latency: Latency::Uniform(5.0, 40.0), ..ApiFaults::default() };
        let options = SimulatorOptions {
            faults: Faults { all, ..Faults::default() },
            ..SimulatorOptions::default()
        };
        let lab = Lab::at(name, options, kafka, postgres).await;
        let (worker, tail) = (lab.worker("w1", &more(&lab)), Tail::of(&lab));
        let mut world = Self { lab, worker, tail, expected: Expected::default(), produced: 0 };
        world.produce(300);
        let decided = async || world.tail.count() >= 300;
        world.lab.wait("the first decisions", LONG, decided).await;
        world
    }

    /// Sends this many more claims. Returns the number of the first.
    pub(crate) fn produce(&mut self, count: usize) -> usize {
        let first = self.produced;
        self.produced += count;
        let id = |number| format!("clm-{number}");
        self.expected.claims.extend((first..self.produced).map(id));
        let partition = |number: usize| number as i32 % PARTITIONS;
        let event =
            |number| Event::of(claim(&id(number), &format!("user-{number}"))).on(partition(number));
        self.lab.produce(&(first..self.produced).map(event).collect::<Vec<_>>());
        first
    }

    /// How many calls were made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.lab.simulator.calls().len()
    }

    /// Waits for the first decision after `back`, of the claims from number `from` on. Returns how
    /// long it took.
    pub(crate) async fn recovery(&self, what: &str, back: Instant, from: usize) -> Duration {
        let counts = |id: &str| id[4..].parse::<usize>().expect("a number") >= from;
        self.lab.wait(what, LONG, async || self.tail.first_after(back, counts).is_some()).await;
        let took = self.tail.first_after(back, counts).expect("it came").duration_since(back);
        println!("{}: {what} after {} ms", self.lab.name, took.as_millis());
        if took > recovery_max() {
            println!("{}", std::fs::read_to_string(self.lab.log("w1")).unwrap_or_default());
        }
        took
    }

    /// The same; it has to come soon. If the service itself took longer to start, the worker may,
    /// too: the machine is busy.
    pub(crate) async fn recovers(&self, back: Instant, start: Duration) {
        let took = self.recovery("the first new decision", back, 0).await;
        assert!(
            took <= recovery_max().max(start),
            "the first new decision came after {took:?}, the start took {start:?}"
        );
    }

    /// Waits until every claim is decided.
    pub(crate) async fn has_decided(&self) {
        let Self { lab, tail, expected, .. } = self;
        let decided =
            || tail.seen().into_iter().map(|seen| seen.claim_id).collect::<BTreeSet<_>>().len();
        // The tail's client may see nothing any more after a broker's return: a new one looks, too.
        let mut looked = Instant::now();
        let all = async || {
            if looked.elapsed() > LOOK_AGAIN {
                looked = Instant::now();
                let fresh = outcome(lab);
                println!(
                    "{}: {} decided, of which the tail saw {}, of {}",
                    lab.name,
                    fresh.decisions.len(),
                    decided(),
                    expected.claims.len()
                );
                return expected.is_complete(&fresh);
            }
            decided() >= expected.claims.len()
        };
        lab.wait("every claim decided", LONG, all).await;
    }

    /// Nothing lost, nothing twice, no lag left, and a worker that ends as it should.
    pub(crate) async fn finish(mut self) {
        self.has_decided().await;
        let Self { lab, expected, .. } = &self;
        lab.wait("the group to have no lag", Duration::from_secs(20), async || lag(lab) == 0).await;
        assert!(expected.is_complete(&outcome(lab)));
        assert!(!self.worker.has_ended(), "the worker ended");
        assert_eq!(self.worker.stop().await, Some(0));
        self.expected.verify(&self.lab).await;
        let asked = self.lab.simulator.calls().counts();
        let again = asked.values().filter(|calls| **calls > 1).count();
        println!("{}: {} claims, {again} of them asked about again", self.lab.name, asked.len());
    }

    /// Nothing lost, every decision of a claim the same one, and a worker that ends as it should.
    pub(crate) async fn finish_at_least_once(mut self) {
        self.has_decided().await;
        let outcome = outcome(&self.lab);
        assert!(self.expected.is_complete(&outcome));
        for (id, decisions) in &outcome.decisions {
            let first = &decisions[0]["decision_id"];
            assert!(
                decisions.iter().all(|decision| decision["decision_id"] == *first),
                "{id}: {decisions:?}"
            );
        }
        assert_eq!(self.worker.stop().await, Some(0));
    }
}

/// Claims that the group has not committed yet.
pub(crate) fn lag(lab: &Lab) -> i64 {
    let group: BaseConsumer =
        client(&lab.kafka).set("group.id", &lab.name).create().expect("a consumer");
    let (topic, timeout) = (lab.topic("claims"), Duration::from_secs(10));
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(&topic, 0, PARTITIONS - 1);
    // A broker that has just come back may know no coordinator yet: ask again.
    let Ok(committed) = group.committed_offsets(partitions, timeout) else { return i64::MAX };
    let behind = |partition| {
        let (_, end) = group.fetch_watermarks(&topic, partition, timeout).ok()?;
        let found = committed.find_partition(&topic, partition).expect("it was asked for");
        Some(end - if let Offset::Offset(offset) = found.offset() { offset } else { 0 })
    };
    (0..PARTITIONS).map(behind).sum::<Option<i64>>().unwrap_or(i64::MAX)
}
