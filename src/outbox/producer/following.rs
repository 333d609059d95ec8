//! Commits without a batch: the committed offset follows the consumer over offsets without a
//! record, and is committed again before the broker forgets it.
//!
//! The offsets of transaction markers and of aborted records belong to no batch. Without these
//! commits a group that has read everything would show a lag for ever. And a broker forgets the
//! offsets of a topic that its group does not subscribe to, such as the retry topic, when none was
//! committed for `offsets.retention.minutes`.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;

use super::aborts::abort;
use super::command::Command;
use super::doubt::Doubt;
use super::failure::Failure;
use super::transactions::{IDLE, Transactions};
use crate::intake::Commit;

/// Offsets that were committed so long ago are committed again. Brokers keep them for seven days
/// unless told otherwise.
const REFRESH: Duration = Duration::from_secs(3_600);

impl Transactions {
    /// Notes what was committed.
    pub(super) fn note(&mut self, commits: &[Commit]) {
        let now = Instant::now();
        self.committed
            .extend(commits.iter().map(|commit| (commit.partition, (commit.clone(), now))));
    }

    /// Commits what is to be committed without a batch.
    pub(super) fn follow(&mut self) {
        if self.followed.elapsed() < IDLE {
            return;
        }
        self.followed = Instant::now();
        if self.doubt.is_open() && !self.ends_void_doubt() {
            return;
        }
        let commits = self.consumer.context().following(&self.committed, REFRESH);
        match &self.commits {
            _ if commits.is_empty() => {}
            Some(queue) => {
                queue.hand_over(&commits);
                self.note(&commits);
            }
            None => self.follow_in_transaction(commits),
        }
    }

    /// Ends the doubt about a batch whose partitions are gone. Returns whether it did. The
    /// transaction may still be open, and readers of the topics wait until it ends. The start of a
    /// producer ends it, and only a batch or this function starts one.
    fn ends_void_doubt(&mut self) -> bool {
        let rebalances = self.consumer.context();
        let holds = |commit: &Commit| rebalances.holds(std::slice::from_ref(commit));
        if !self.doubt.is_void(holds) {
            return false;
        }
        let Ok(producer) = self.take_producer() else { return false };
        (self.producer, self.doubt) = (Some(producer), Doubt::default());
        true
    }

    /// Commits these offsets in a transaction of their own. If it fails, the next look tries again.
    fn follow_in_transaction(&mut self, commits: Vec<Commit>) {
        let Ok(producer) = self.take_producer() else { return };
        let (reply, _) = oneshot::channel();
        let command =
            Command { batch: 0, parcels: Vec::new(), commits, decisions_refused: None, reply };
        match self.transaction(&producer, &command) {
            Ok(()) => {
                self.producer = Some(producer);
                self.note(&command.commits);
            }
            Err(failure) => {
                // Whether it took place does not matter; the next producer finds out.
                if !matches!(failure, Failure::Uncertain(_)) {
                    abort(&producer);
                }
                debug!("offsets without a batch were not committed; they are tried again");
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use tokio::runtime::Runtime;

    use super::super::bounds::{Bounds, BoundsReader};
    use super::super::doubt::Doubt;
    use super::*;
    use crate::config::Config;
    use crate::intake::Partition;
    use crate::intake::consumer::alone;
    use crate::kafka::Settings;

    const MAX_BYTES: usize = 1 << 20;

    /// A broker within this process, and what asks the publisher's questions.
    pub(in crate::outbox::producer) fn services()
    -> (MockCluster<'static, DefaultProducerContext>, Runtime) {
        (MockCluster::new(1).expect("a broker"), Runtime::new().expect("a runtime"))
    }

    /// An idle publisher without a producer, whose worker has a retry partition.
    pub(in crate::outbox::producer) fn idle(
        broker: &MockCluster<'static, DefaultProducerContext>,
        runtime: &Runtime,
    ) -> Transactions {
        let settings = Settings {
            bootstrap_servers: broker.bootstrap_servers(),
            ..Config::from_toml("").expect("the defaults").kafka
        };
        broker.create_topic(&settings.retry_topic, 1, 1).expect("it is made");
        Transactions {
            transactional_id: settings.worker_id("w1"),
            consumer: alone(&settings, &[(Partition::retry(0), 1)]),
            settings,
            producer: None,
            doubt: Doubt::default(),
            bounds: Arc::new(Bounds::new(MAX_BYTES)),
            batch_max_bytes: MAX_BYTES,
            reader: BoundsReader::new(runtime.handle().clone()),
            commits: None,
            committed: BTreeMap::new(),
            followed: Instant::now(),
        }
    }

    fn commit(epoch: u32) -> Commit {
        Commit { partition: Partition::retry(0), epoch, offset: 7, metadata: String::new() }
    }

    fn committed(transactions: &Transactions) -> Vec<Commit> {
        transactions.committed.values().map(|(commit, _)| commit.clone()).collect()
    }

    /// Offsets of the retry topic were not said again, and the broker could forget them.
    #[test]
    fn offsets_are_committed_where_no_producer_could_be_made_at_the_start() {
        let (broker, runtime) = services();
        let mut transactions = idle(&broker, &runtime);
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        broker.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
        assert!(transactions.make_producer().is_err(), "the broker refuses it");
        transactions.follow_in_transaction(vec![commit(1)]);
        assert_eq!(committed(&transactions), [commit(1)]);
        assert!(transactions.producer.is_some(), "it is kept for the next");
    }

    #[test]
    fn offsets_are_committed_where_the_last_producer_was_given_up() {
        let (broker, runtime) = services();
        let mut transactions = idle(&broker, &runtime);
        transactions.producer = transactions.make_producer().ok();
        assert!(transactions.producer.is_some(), "the broker is well");
        // The partition was lost and is this worker's again.
        transactions.follow_in_transaction(vec![commit(0)]);
        assert!(transactions.producer.is_none(), "the transaction failed");
        assert_eq!(committed(&transactions), []);
        transactions.follow_in_transaction(vec![commit(1)]);
        assert_eq!(committed(&transactions), [commit(1)]);
        assert!(transactions.producer.is_some(), "it is kept for the next");
    }
}
