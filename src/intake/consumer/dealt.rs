//! Asks the group's coordinator which member has which partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::Rebalances;
use crate::intake::{Input, Partition};

/// The time limit of a request to the group's coordinator.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The group as its coordinator describes it.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// The partitions without an owner.
    pub(super) orphans: BTreeSet<i32>,
    /// Whether this member is the one that sends the visitor.
    pub(super) is_ours: bool,
}

/// Which member has which partitions. `None` while the group rebalances.
pub(super) fn dealt(consumer: &BaseConsumer<Rebalances>) -> KafkaResult<Dealt> {
    let rebalances = consumer.context();
    let topic = rebalances.topic(Partition::claims(0));
    let groups = consumer.fetch_group_list(Some(&rebalances.group_id), ASK_TIMEOUT)?;
    let Some(group) = groups.groups().iter().find(|group| group.state() == "Stable") else {
        return Ok(Dealt::default());
    };
    let metadata = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut orphans: BTreeSet<i32> = partitions.map(|partition| partition.id()).collect();
    let mut members = BTreeMap::new();
    for member in group.members() {
        // An assignment that cannot be parsed may hold any partition.
        let Some(assigned) = member.assignment().and_then(|bytes| assigned(bytes, topic)) else {
            return Ok(Dealt::default());
        };
        orphans.retain(|number| !assigned.contains(number));
        members.insert(member.id().to_owned(), assigned);
    }
    // The client does not report its own member id, but its assignment distinguishes it from all
    // other members.
    let first = members.values().find(|assigned| !assigned.is_empty());
    let held = rebalances.held_numbers(Input::Claims);
    Ok(Dealt { orphans, is_ours: first.is_none_or(|first| *first == held) })
}

/// The topic's partitions in a member's assignment, as Kafka's consumers write it
/// (`ConsumerProtocolAssignment`): a version, then each topic with its partitions, big-endian.
fn assigned(mut bytes: &[u8], wanted: &str) -> Option<BTreeSet<i32>> {
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
            let number = number(&mut bytes)?;
            if topic == wanted {
                partitions.insert(number);
            }
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
        assert_eq!(assigned(bytes, "a"), Some([0, 3].into()));
        assert_eq!(assigned(bytes, "bc"), Some([7].into()));
        assert_eq!(assigned(b"", "a"), Some([].into()), "a member that has nothing");
        assert_eq!(assigned(&bytes[..20], "a"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _: Option<BTreeSet<i32>> = assigned(&bytes, "a");
        }
    }
}
