//! Where a partition's new owner starts to read. It asks the broker before it takes the partition
//! on.
//!
//! The invariant: an assignment's committed offset and its metadata are read once, and reading
//! starts from that very offset.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::warn;

use super::Rebalances;
use super::assignments::labels;
use super::pairs::Counts;
use crate::intake::{Assigned, Event, Input, Partition};
use crate::kafka::metadata;

/// The pause before the broker is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);
/// The least time that a partition's leader gets for its answer, even if less is left for all.
const ENDS_MIN: Duration = Duration::from_millis(100);

impl Rebalances {
    /// Reads the committed offsets of these partitions once, and starts from those: two reads could
    /// differ.
    pub(super) fn starts(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
    ) -> Result<(TopicPartitionList, Vec<Assigned>), String> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let mut list = self.list(partitions);
        if partitions.is_empty() {
            // The group may have no partition for this member; then there is nothing to ask.
            return Ok((list, Vec::new()));
        }
        let committed = self.committed(consumer, &list)?;
        let mut assigned = Vec::new();
        // One time limit for all: a partition without a leader answers only when it has one, and
        // the others must not wait for that.
        let deadline = Instant::now() + self.request_timeout;
        for element in committed.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let start = offset.map_or(Offset::Invalid, Offset::Offset);
            list.set_partition_offset(element.topic(), element.partition(), start).map_err(
                |error| {
                    format!("cannot start partition {} at {start:?}: {error}", element.partition())
                },
            )?;
            let metadata = metadata(&element);
            let partition = self.partition(element.topic(), element.partition());
            // If the end of the log is not known, the metadata is trusted: a clean leader election
            // makes no log shorter.
            let log_end = if metadata.is_empty() {
                i64::MAX
            } else {
                self.ends(consumer, partition, deadline)?.map_or(i64::MAX, |(_, end)| end)
            };
            assigned.push(Assigned { partition, epoch, offset, metadata, log_end });
        }
        self.tell_anew(consumer, &assigned, deadline)?;
        Ok((list, assigned))
    }

    /// Logs which partitions are read from their start, because they have records but no committed
    /// offset.
    fn tell_anew(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &[Assigned],
        deadline: Instant,
    ) -> Result<(), String> {
        let (mut partitions, mut records) = (Vec::new(), 0);
        for assigned in assigned.iter().filter(|assigned| assigned.offset.is_none()) {
            let partition = assigned.partition;
            if let Some((start, end)) = self.ends(consumer, partition, deadline)?
                && end > start
            {
                partitions.push(partition);
                records += end - start;
                self.meter.read_again(partition.input, end - start);
            }
        }
        if !partitions.is_empty() {
            warn!(
                partitions = %labels(partitions.into_iter()),
                offsets = records,
                "the group {:?} has no committed offsets here: {records} offsets are read from the \
                 start. The group's name is new, or its offsets expired or were deleted. Decisions \
                 that were published before are published again",
                self.group_id
            );
        }
        Ok(())
    }

    /// Asks the broker until it answers: an outage during a rebalance is handled like any other.
    fn ask<T>(&self, what: &str, question: impl Fn() -> KafkaResult<T>) -> Result<T, String> {
        let mut told = false;
        loop {
            let error = match question() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // The worker has ended: it needs no answer.
            if self.events.is_closed() || error.rdkafka_error_code().is_some_and(is_refusal) {
                return Err(format!("{what} cannot be read: {error}"));
            }
            if !told {
                warn!(
                    error.message = %error,
                    "{what} cannot be read; asking again until Kafka answers"
                );
                // The consumer's thread is busy here, so it reports the failure itself.
                let said = Err(format!("{what} cannot be read: {error}"));
                drop(self.events.blocking_send(Event::Brokers(said)));
                told = true;
            }
            std::thread::sleep(ASK_PAUSE);
        }
    }

    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<TopicPartitionList, String> {
        self.ask(&format!("the committed offsets of {}", self.topics.join(" and ")), || {
            let committed = consumer.committed_offsets(partitions.clone(), self.request_timeout)?;
            committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(committed)
        })
    }

    /// A topic that is unavailable for now has as many partitions as before.
    pub(super) fn count_partitions(&self, consumer: &BaseConsumer<Self>) -> Result<Counts, String> {
        let before = *self.counts();
        let count = |input: Input, before: i32| {
            let topic = &self.topics[input as usize];
            self.ask(&format!("how many partitions {topic} has"), || {
                let metadata = consumer.fetch_metadata(Some(topic), self.request_timeout)?;
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                match found.map_or(0, |found| found.partitions().len()) {
                    0 if before == 0 => {
                        Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
                    }
                    0 => Ok(before),
                    count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
                }
            })
        };
        Ok(Counts {
            claims: count(Input::Claims, before.claims)?,
            retry: count(Input::Retry, before.retry)?,
        })
    }

    /// Where a partition's log begins and ends; `None` if its leader does not answer in time.
    fn ends(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: Partition,
        deadline: Instant,
    ) -> Result<Option<(i64, i64)>, String> {
        let (topic, number) = (self.topic(partition), partition.number);
        let left = deadline.saturating_duration_since(Instant::now()).max(ENDS_MIN);
        match consumer.fetch_watermarks(topic, number, left) {
            Ok(ends) => Ok(Some(ends)),
            Err(error) if error.rdkafka_error_code().is_some_and(is_refusal) => {
                Err(format!("the ends of {topic}/{number} cannot be read: {error}"))
            }
            Err(error) => {
                warn!(error.message = %error, "the ends of {topic}/{number} cannot be read; \
                     the partition is assigned anyway, and read once it has a leader");
                Ok(None)
            }
        }
    }
}

/// Whether an error denies access: waiting does not help.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    let refusals = [
        RDKafkaErrorCode::GroupAuthorizationFailed,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ];
    refusals.contains(&code)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::sync::mpsc;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;
    use crate::config::Config;

    fn rebalances() -> (Rebalances, mpsc::Receiver<Event>) {
        let settings = Config::from_toml("").expect("the defaults").kafka;
        let (events, received) = mpsc::channel(1);
        (Rebalances::new(&settings, Duration::from_secs(1), events), received)
    }

    fn answer<T>(code: RDKafkaErrorCode) -> KafkaResult<T> {
        Err(KafkaError::MetadataFetch(code))
    }

    /// A member that waited for its committed offsets went on being ready.
    #[test]
    fn a_broker_that_does_not_answer_an_assignment_is_told_of_before_it_is_asked_again() {
        let (rebalances, events) = rebalances();
        let (asked, told, events) = (Cell::new(0), Cell::new(None), RefCell::new(events));
        let answered = rebalances.ask("the offsets", || {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 => answer(RDKafkaErrorCode::OperationTimedOut),
                2 => {
                    told.set(events.borrow_mut().try_recv().ok());
                    answer(RDKafkaErrorCode::OperationTimedOut)
                }
                _ => Ok(7),
            }
        });
        assert_eq!((answered, asked.get()), (Ok(7), 3));
        let Some(Event::Brokers(Err(said))) = told.into_inner() else {
            panic!("the worker was not told before the second question")
        };
        assert!(said.starts_with("the offsets cannot be read: "), "{said}");
        let again = events.borrow_mut().try_recv();
        assert!(matches!(again, Err(TryRecvError::Empty)), "it is told once: {again:?}");
    }

    #[test]
    fn a_question_that_the_broker_forbids_or_nobody_waits_for_is_not_asked_again() {
        let (rebalances, mut events) = rebalances();
        let forbidden = || answer::<()>(RDKafkaErrorCode::GroupAuthorizationFailed);
        rebalances.ask("the offsets", forbidden).expect_err("no waiting mends it");
        assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)), "the end says it");
        drop(events);
        let silent = || answer::<()>(RDKafkaErrorCode::OperationTimedOut);
        rebalances.ask("the offsets", silent).expect_err("nobody waits for it");
    }
}
