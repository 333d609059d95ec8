//! Asks the group's coordinator which member has which partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use tracing::debug;

use super::Rebalances;
use super::pairs::Counts;
use crate::intake::{Input, Partition};

/// The time limit of a request to the group's coordinator.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The same where intake waits for the answer, which all brokers have to give.
const DEALT_OUT_TIMEOUT: Duration = Duration::from_millis(500);

/// The group as its coordinator describes it.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// The partitions without an owner.
    pub(super) orphans: BTreeSet<i32>,
    /// Whether this member is the one that sends the visitor.
    pub(super) is_ours: bool,
    /// Whether partitions were added to a topic that this member has not counted.
    pub(super) has_more: bool,
}

/// Which partitions have no owner, and whether a topic has grown. Nothing of it while the group
/// rebalances.
pub(super) fn dealt(consumer: &BaseConsumer<Rebalances>) -> KafkaResult<Dealt> {
    let rebalances = consumer.context();
    let Some(members) = members(consumer, ASK_TIMEOUT)? else { return Ok(Dealt::default()) };
    let count = |input: Input| -> KafkaResult<i32> {
        if rebalances.events.is_closed() {
            // The worker has ended, and the thread that leaves the group waits for this one.
            return Err(KafkaError::Canceled);
        }
        count_of(consumer, &rebalances.topics[input as usize], ASK_TIMEOUT)
    };
    let found = Counts { claims: count(Input::Claims)?, retry: count(Input::Retry)? };
    let is_free = |number: &i32| !members.iter().any(|assigned| assigned.contains(number));
    // The client does not report its own member id, but its assignment distinguishes it from all
    // other members.
    let first = members.iter().find(|assigned| !assigned.is_empty());
    let held = rebalances.held_numbers(Input::Claims);
    Ok(Dealt {
        orphans: (0..found.claims).filter(is_free).collect(),
        is_ours: first.is_none_or(|first| *first == held),
        has_more: found.exceeds(*rebalances.counts()),
    })
}

/// How many partitions a topic has, by a broker's metadata; 0 while it is unavailable.
pub(super) fn count_of(
    consumer: &BaseConsumer<Rebalances>,
    topic: &str,
    limit: Duration,
) -> KafkaResult<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), limit)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let count = found.map_or(0, |found| found.partitions().len());
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// How many partitions the input topic has at least, by the assignments of the group's members.
/// Unlike metadata, which a broker may have from before partitions were added, these are the same
/// for all members of a generation. 0 while the group rebalances, or if it cannot be asked.
pub(super) fn dealt_out(consumer: &BaseConsumer<Rebalances>) -> i32 {
    let members = members(consumer, DEALT_OUT_TIMEOUT).unwrap_or_else(|error| {
        debug!(error.message = %error, "the group could not be asked who has which partition");
        None
    });
    members
        .into_iter()
        .flatten()
        .filter_map(|assigned| Some(assigned.last()? + 1))
        .max()
        .unwrap_or(0)
}

/// The partitions of the input topic that each member has, in the order of the members' ids. `None`
/// while the group rebalances.
fn members(
    consumer: &BaseConsumer<Rebalances>,
    limit: Duration,
) -> KafkaResult<Option<Vec<BTreeSet<i32>>>> {
    let rebalances = consumer.context();
    let topic = rebalances.topic(Partition::claims(0));
    let groups = consumer.fetch_group_list(Some(&rebalances.group_id), limit)?;
    let Some(group) = groups.groups().iter().find(|group| group.state() == "Stable") else {
        return Ok(None);
    };
    let mut members = BTreeMap::new();
    for member in group.members() {
        // An assignment that cannot be parsed may hold any partition.
        let Some(assigned) = member.assignment().and_then(|bytes| assigned(bytes, topic)) else {
            return Ok(None);
        };
        members.insert(member.id().to_owned(), assigned);
    }
    Ok(Some(members.into_values().collect()))
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
