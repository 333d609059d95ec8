//! Settling: after the last fault the group's lag returns to 0 without help.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::super::lab::{Lab, PARTITIONS};
use super::World;
use super::observer::Observer;

/// It has to happen within this time, if the run has the machine to itself…
const WITHIN: Duration = Duration::from_secs(60);
/// …or within this time, if other tests run beside it…
const WITHIN_BESIDE_OTHERS: Duration = Duration::from_secs(150);
/// …and the test waits a while longer, to distinguish a slow group from a stuck one.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(500);
const ASK: Duration = Duration::from_secs(10);

/// How the group recovered.
#[derive(Debug, Default, Clone)]
pub(super) struct Settled {
    /// How long it took.
    pub(super) after: Option<Duration>,
    pub(super) wrong: Vec<String>,
}

/// Waits until the group has done everything, in the claims and in the retry topic.
pub(super) async fn settle(world: &Arc<World>, observer: &Observer, sent: usize) -> Settled {
    let within = if world.settings.asked_for { WITHIN } else { WITHIN_BESIDE_OTHERS };
    let began = Instant::now();
    let mut said = Instant::now();
    loop {
        let asking = Arc::clone(world);
        let left =
            tokio::task::spawn_blocking(move || lag(&asking.lab)).await.expect("the question ends");
        let elapsed = began.elapsed();
        match left {
            Ok(0) => {
                world.journal.say(&format!("the lag is 0 after {elapsed:.1?}"));
                let late = (elapsed > within).then(|| {
                    format!("the lag was 0 after {elapsed:.1?}, and not within {within:?}")
                });
                return Settled { after: Some(elapsed), wrong: late.into_iter().collect() };
            }
            left if elapsed > PATIENCE => {
                let wrong = format!(
                    "the lag is {left:?} {elapsed:.0?} after the last fault, with {} of {sent} \
                     decided",
                    observer.decided()
                );
                return Settled { after: None, wrong: vec![wrong] };
            }
            left if said.elapsed() > Duration::from_secs(5) => {
                said = Instant::now();
                world
                    .journal
                    .say(&format!("lag {left:?}, {} of {sent} decided", observer.decided()));
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Records that the group has not committed. They are counted one by one, because transaction
/// markers have offsets, too.
fn lag(lab: &Lab) -> KafkaResult<usize> {
    let consumer = lab.consumer(&lab.name);
    let mut partitions = TopicPartitionList::new();
    for topic in ["claims", "retry"] {
        for partition in 0..PARTITIONS {
            partitions.add_partition(&lab.topic(topic), partition);
        }
    }
    let committed = consumer.committed_offsets(partitions, ASK)?;
    let mut open = TopicPartitionList::new();
    for element in committed.elements() {
        element.error()?;
        let (begin, end) = consumer.fetch_watermarks(element.topic(), element.partition(), ASK)?;
        let from = element.offset().to_raw().filter(|offset| *offset >= 0).unwrap_or(begin);
        if from < end {
            open.add_partition_offset(element.topic(), element.partition(), Offset::Offset(from))?;
        }
    }
    let (mut records, mut ended) = (0, 0);
    consumer.assign(&open)?;
    while ended < open.count() {
        match consumer.poll(ASK) {
            Some(Ok(_)) => records += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::Canceled),
        }
    }
    Ok(records)
}
