//! The topics and their consumer group: one contract suite for Apache Kafka and for the fake.

mod contract;
mod fake;
mod member;
mod real;

use claimgate::intake::Intake;
use claimgate::outbox::Publisher;
use claimgate::outbox::message::Topic;
pub(crate) use member::Member;

/// A cluster of the suite's own, with empty topics.
pub(crate) trait Cluster {
    type Intake: Intake;
    type Publisher: Publisher;
    /// A worker's two sides join the group under a name.
    async fn join(&self, name: &str) -> (Self::Intake, Self::Publisher);
    /// They leave in good order.
    async fn leave(&self, intake: Self::Intake, publisher: Self::Publisher);
    /// Adds an event to a partition of the input topic.
    fn produce(&self, partition: i32, payload: &str);
    /// The payloads that a `read_committed` consumer sees.
    fn visible(&self, topic: Topic) -> Vec<Vec<u8>>;
}

/// Makes two tests of each case: one over the fake, one over Apache Kafka.
macro_rules! over_every_cluster {
    ($($case:ident)*) => {
        mod on_the_fake {
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    super::contract::$case(super::fake::cluster()).await;
                }
            )*
        }
        mod on_kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(cluster) = super::real::cluster(stringify!($case)).await {
                        super::contract::$case(cluster).await;
                    }
                }
            )*
        }
    };
}

over_every_cluster! {
    a_batch_is_visible_whole_and_its_offsets_with_it
    what_is_done_beyond_the_watermark_comes_back_with_the_partition
    a_deferred_claim_comes_back_through_the_retry_topic
    whoever_takes_over_a_name_fences_the_one_who_had_it
    a_partition_is_given_back_only_when_it_was_let_go
    nothing_is_committed_for_an_assignment_that_has_ended
}
