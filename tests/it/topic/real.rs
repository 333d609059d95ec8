//! Apache Kafka.

use std::time::Duration;

use claimgate::intake::consumer::{KafkaIntake, Leave};
use claimgate::outbox::message::Topic;
use claimgate::outbox::producer::KafkaPublisher;

use super::Cluster;
use crate::lab::{Event, Lab};

pub(crate) async fn cluster(case: &str) -> Option<Lab> {
    // A database's name is no longer than 63 bytes.
    Lab::new(&format!("topic-{}", &case[..case.len().min(40)])).await
}

impl Cluster for Lab {
    type Intake = KafkaIntake;
    type Publisher = KafkaPublisher;

    async fn join(&self, name: &str) -> (KafkaIntake, KafkaPublisher) {
        let settings = self.settings(name);
        let (intake, consumer) =
            KafkaIntake::start(&settings, Duration::from_secs(10)).expect("the consumer starts");
        (intake, KafkaPublisher::start(settings, consumer, false).expect("the publisher starts"))
    }

    async fn leave(&self, intake: KafkaIntake, publisher: KafkaPublisher) {
        let leave = move || {
            drop(publisher);
            intake.stop(Leave::ForNow);
        };
        tokio::task::spawn_blocking(leave).await.expect("it leaves");
    }

    fn produce(&self, partition: i32, payload: &str) {
        Self::produce(self, &[Event::of(payload).on(partition)]);
    }

    fn visible(&self, topic: Topic) -> Vec<Vec<u8>> {
        let topic = match topic {
            Topic::Decisions => "decisions",
            Topic::DeadLetters => "dead",
            Topic::Retry => "retry",
        };
        self.read(topic).into_iter().filter_map(|seen| seen.payload).collect()
    }
}
