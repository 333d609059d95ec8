//! Partitions that belong to nobody, and how they are found an owner.
//!
//! In a cooperative rebalance a partition moves in two rounds: its old owner gives it back, then asks for the second round in which
//! the new one gets it. A static member that is killed between the two and is back before its session ends never asks, and the group, which
//! does not rebalance when a static member returns, leaves the partition without an owner for as long as nobody comes or goes. So whoever
//! has just got an assignment looks whether the group has dealt out every partition. If it has not, twice in a row, a member without a
//! name joins and leaves again: that makes the group rebalance.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Rebalances;

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks after each assignment: for longer than a rebalance takes.
const LOOKS: u32 = 8;
/// How long a question to the group's coordinator may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the member without a name stays, at most.
const STAY: Duration = Duration::from_secs(5);

/// A topic and the number of one of its partitions.
type Named = (String, i32);

/// Looks after orphans until it is told to stop, or the consumer is gone.
pub(super) struct Watch {
    pub(super) consumer: Weak<BaseConsumer<Rebalances>>,
    /// How to join the group as a member without a name.
    pub(super) visitor: ClientConfig,
    pub(super) group_id: String,
    /// `kafka.input_topic`: the retry topic's partitions go with its own.
    pub(super) topic: String,
    pub(super) stop: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn run(self) {
        let (mut epoch, mut looks, mut before) = (0, LOOKS, BTreeSet::new());
        while self.sleep() {
            let Some(consumer) = self.consumer.upgrade() else { return };
            let now = consumer.context().epoch.load(Ordering::Relaxed);
            if now != epoch {
                (epoch, looks) = (now, LOOKS);
            }
            if looks == 0 {
                continue;
            }
            looks -= 1;
            let orphans = self.orphans(&consumer).unwrap_or_else(|error| {
                debug!(error.message = %error, "the group could not be asked who has which partition");
                BTreeSet::new()
            });
            drop(consumer);
            let stay: Vec<String> =
                orphans.intersection(&before).map(|(topic, number)| format!("{topic}/{number}")).collect();
            if !stay.is_empty() {
                warn!(partitions = %stay.join(" "), "nobody in the group has these partitions; it is made to deal them out anew");
                self.visit();
                looks = LOOKS;
            }
            before = orphans;
        }
    }

    /// Waits for the next look; says whether there is to be one.
    fn sleep(&self) -> bool {
        let until = Instant::now() + LOOK_EVERY;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    }

    /// What the group has dealt out to nobody. Nothing while it rebalances.
    fn orphans(&self, consumer: &BaseConsumer<Rebalances>) -> KafkaResult<BTreeSet<Named>> {
        let groups = consumer.fetch_group_list(Some(&self.group_id), ASK_TIMEOUT)?;
        let Some(group) = groups.groups().iter().find(|group| group.state() == "Stable") else {
            return Ok(BTreeSet::new());
        };
        let metadata = consumer.fetch_metadata(Some(&self.topic), ASK_TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut orphans: BTreeSet<Named> =
            partitions.map(|partition| (self.topic.clone(), partition.id())).collect();
        for member in group.members() {
            match member.assignment().and_then(assigned) {
                Some(assigned) => orphans.retain(|partition| !assigned.contains(partition)),
                // What cannot be read may be anything.
                None => return Ok(BTreeSet::new()),
            }
        }
        Ok(orphans)
    }

    /// Joins the group without a name, and leaves it again.
    fn visit(&self) {
        let visitor: KafkaResult<BaseConsumer> = self.visitor.create();
        match visitor.and_then(|visitor| visitor.subscribe(&[&self.topic]).map(|()| visitor)) {
            Ok(visitor) => {
                let until = Instant::now() + STAY;
                while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
                    // What it reads it commits nothing of: whoever has the partition next reads it again.
                    drop(visitor.poll(Duration::from_millis(100)));
                }
            }
            Err(error) => warn!(error.message = %error, "the group could not be made to rebalance"),
        }
    }
}

/// The partitions in a member's assignment, as Kafka's consumers write it (`ConsumerProtocolAssignment`): a version, then each topic with its
/// partitions, big-endian.
fn assigned(mut bytes: &[u8]) -> Option<BTreeSet<Named>> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    }
    fn number(bytes: &mut &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
    }
    let mut partitions = BTreeSet::new();
    if bytes.is_empty() {
        return Some(partitions);
    }
    take(&mut bytes, 2)?;
    for _ in 0..number(&mut bytes)? {
        let length = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        let topic = std::str::from_utf8(take(&mut bytes, usize::from(length))?).ok()?;
        for _ in 0..number(&mut bytes)? {
            partitions.insert((topic.to_owned(), number(&mut bytes)?));
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_assignment_is_read_as_kafka_writes_it() {
        let bytes = b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x02bc\x00\x00\x00\x01\x00\x00\x00\x07\xff\xff\xff\xff";
        let expected = [("a", 0), ("a", 3), ("bc", 7)].map(|(topic, number)| (topic.to_owned(), number));
        assert_eq!(assigned(bytes), Some(BTreeSet::from(expected)));
        assert_eq!(assigned(b""), Some(BTreeSet::new()), "a member that has nothing");
        assert_eq!(assigned(&bytes[..20]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _: Option<BTreeSet<Named>> = assigned(&bytes);
        }
    }
}
