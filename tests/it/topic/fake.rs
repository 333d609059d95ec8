//! The fake.

use std::time::Duration;

use claimgate::intake::Partition;
use claimgate::outbox::message::Topic;
use claimgate::testing::{FakeBroker, FakeIntake, FakePublisher, Process};
use fastrand::Rng;

use super::Cluster;

pub(crate) fn cluster() -> FakeBroker {
    FakeBroker::new(2, 1, Rng::with_seed(7))
}

impl Cluster for FakeBroker {
    type Intake = FakeIntake;
    type Publisher = FakePublisher;

    async fn join(&self, name: &str) -> (FakeIntake, FakePublisher) {
        let process = Process::default();
        let drain_timeout = Duration::from_secs(10);
        let (intake, membership) =
            FakeIntake::join(self, name, process.clone(), drain_timeout, Rng::with_seed(1));
        (intake, FakePublisher::new(self, name, membership, process, Rng::with_seed(2)))
    }

    async fn leave(&self, intake: FakeIntake, _: FakePublisher) {
        intake.leave();
    }

    fn produce(&self, partition: i32, payload: &str) {
        Self::produce(self, Partition::claims(partition), None, Vec::new(), Some(payload.into()));
    }

    fn visible(&self, topic: Topic) -> Vec<Vec<u8>> {
        let messages = self.transactions().into_iter().flat_map(|transaction| transaction.messages);
        messages
            .filter(|message| message.topic == topic)
            .filter_map(|message| message.payload)
            .collect()
    }
}
