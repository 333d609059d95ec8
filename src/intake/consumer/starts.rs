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
use super::dealt::{count_of, dealt_out};
use super::pairs::Counts;
use crate::intake::{Assigned, Event, Input, Partition};
use crate::kafka::metadata;

/// The pause before the broker is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);
/// The least time that a partition's leader gets for its answer, even if less is left for all.
const ENDS_MIN: Duration = Duration::from_millis(100);

impl Rebalances {
    /// Reads the committed offsets of these partitions once, and starts from those: two reads could
    /// differ. A partition without one, or whose log begins later, starts where its log does.
    ///
    /// So the client never has to look a start up. A rebalance meanwhile would make it look up
    /// again 500 ms later, and read from there once more, whatever had been read by then
    /// (librdkafka 2.12, `rd_kafka_toppar_handle_Offset`).
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
        let (mut assigned, mut from_start) = (Vec::new(), Vec::new());
        // One time limit for all: a partition without a leader answers only when it has one, and
        // the others must not wait for that.
        let deadline = Instant::now() + self.request_timeout;
        for element in committed.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let metadata = metadata(&element);
            let partition = self.partition(element.topic(), element.partition());
            let ends = self.ends(consumer, partition, deadline)?;
            let start = offset.unwrap_or(0).max(ends.map_or(0, |(start, _)| start));
            list.set_partition_offset(element.topic(), element.partition(), Offset::Offset(start))
                .map_err(|error| {
                    format!("cannot start partition {} at {start}: {error}", element.partition())
                })?;
            if offset.is_none()
                && let Some((start, end)) = ends
                && end > start
            {
                from_start.push((partition, end - start));
            }
            // If the end of the log is not known, the metadata is trusted: a clean leader election
            // makes no log shorter.
            let log_end = ends.map_or(i64::MAX, |(_, end)| end);
            assigned.push(Assigned { partition, epoch, offset, metadata, log_end });
        }
        self.tell_from_start(&from_start);
        Ok((list, assigned))
    }

    /// Logs and counts what is read from the start of its log: partitions that have records but no
    /// committed offset, each with the number of its offsets.
    fn tell_from_start(&self, partitions: &[(Partition, i64)]) {
        if partitions.is_empty() {
            return;
        }
        for (partition, offsets) in partitions {
            self.meter.read_again(partition.input, *offsets);
        }
        let offsets: i64 = partitions.iter().map(|(_, offsets)| offsets).sum();
        warn!(
            partitions = %labels(partitions.iter().map(|(partition, _)| *partition)),
            offsets,
            "the group {:?} has no committed offsets here: {offsets} offsets are read from the \
             start. The group's name is new, or its offsets expired or were deleted. Decisions \
             that were published before are published again",
            self.group_id
        );
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

    /// How many partitions each topic has: never fewer than before, because a topic may be
    /// unavailable for a while. The members of a generation have to agree on the number of input
    /// partitions; otherwise two of them could read one retry partition.
    pub(super) fn count_partitions(&self, consumer: &BaseConsumer<Self>) -> Result<Counts, String> {
        let before = *self.counts();
        let count = |input: Input, before: i32| {
            let topic = &self.topics[input as usize];
            self.ask(&format!("how many partitions {topic} has"), || {
                match count_of(consumer, topic, self.request_timeout)?.max(before) {
                    0 => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)),
                    count => Ok(count),
                }
            })
        };
        Ok(Counts {
            claims: count(Input::Claims, before.claims)?.max(dealt_out(consumer)),
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

    use rdkafka::consumer::CommitMode;
    use rdkafka::message::Message as _;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
    use tokio::sync::mpsc;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;
    use crate::config::Config;
    use crate::kafka::Settings;

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

    /// A client that looks a partition's start up itself looks once more 500 ms later if a rebalance
    /// came between, and reads from there again. A rebalance pauses and resumes what is assigned;
    /// here each consumer does so at another moment of its look-up, and when it has read something.
    #[test]
    fn a_rebalance_while_a_partition_starts_repeats_no_record() {
        let (broker, mut settings) = broker();
        let consumers = (1..=30).map(|number: u32| {
            settings.group_id = format!("group-{number}");
            let (events, _received) = mpsc::channel(8);
            let rebalances = Rebalances::new(&settings, Duration::from_secs(1), events);
            let consumer = super::super::config::consumer(&settings, Duration::from_secs(1));
            let consumer: BaseConsumer<Rebalances> =
                consumer.create_with_context(rebalances).expect("a consumer");
            let claims = [Partition::claims(0)];
            let (list, _) = consumer.context().starts(&consumer, &claims).expect("its start");
            (consumer, list, Duration::from_millis(100) * number)
        });
        let consumers: Vec<_> = consumers.collect();
        broker.broker_round_trip_time(1, Duration::from_millis(300)).expect("slow");
        let read: Vec<_> = std::thread::scope(|scope| {
            let reading: Vec<_> = consumers
                .iter()
                .map(|(consumer, list, rebalance)| scope.spawn(|| read(consumer, list, *rebalance)))
                .collect();
            reading.into_iter().map(|read| read.join().expect("no panic")).collect()
        });
        // Ending them is not what is tested, and the client may hang in it.
        std::mem::forget(consumers);
        assert_eq!(read, [[1; RECORDS]; 30]);
    }

    /// From an offset before its log the client would look the start up itself.
    #[test]
    fn where_a_log_begins_and_ends_is_known_whatever_was_committed() {
        let (_broker, settings) = broker();
        let consumer = super::super::alone(&settings, &[]);
        let claims = [Partition::claims(0)];
        let mut committed = consumer.context().list(&claims);
        let name = consumer.context().topic(claims[0]).to_owned();
        committed.set_partition_offset(&name, 0, Offset::Offset(5)).expect("it is there");
        consumer.commit(&committed, CommitMode::Sync).expect("committed");
        let (list, assigned) = consumer.context().starts(&consumer, &claims).expect("its start");
        assert_eq!(list.elements()[0].offset(), Offset::Offset(5));
        assert_eq!((assigned[0].offset, assigned[0].log_end), (Some(5), 20));
    }

    /// A broker with [`RECORDS`] records of the input topic, and how to reach it.
    fn broker() -> (MockCluster<'static, DefaultProducerContext>, Settings) {
        let broker = MockCluster::new(1).expect("a broker");
        let mut settings = Config::from_toml("").expect("the defaults").kafka;
        settings.bootstrap_servers = broker.bootstrap_servers();
        for topic in [&settings.input_topic, &settings.retry_topic] {
            broker.create_topic(topic, 1, 1).expect("it is made");
        }
        let producer: BaseProducer = settings.consumer().create().expect("a producer");
        for _ in 0..RECORDS {
            let record = BaseRecord::<[u8], [u8]>::to(&settings.input_topic).payload(&b"1"[..]);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.flush(Duration::from_secs(10)).expect("taken");
        (broker, settings)
    }

    const RECORDS: usize = 20;
    /// The client looked again, and read again, within two seconds.
    const WATCHED: Duration = Duration::from_secs(5);
    const LONG: Duration = Duration::from_secs(60);

    /// How often each record is read in [`WATCHED`], or until all are.
    fn read(
        consumer: &BaseConsumer<Rebalances>,
        list: &TopicPartitionList,
        rebalance: Duration,
    ) -> [u32; RECORDS] {
        let pause = || {
            consumer.pause(list).expect("paused");
            consumer.resume(list).expect("resumed");
        };
        consumer.assign(list).expect("assigned");
        let (mut read, began, mut rebalance) = ([0; RECORDS], Instant::now(), Some(rebalance));
        let is_open = |read: &[u32], so_long| so_long < LONG && read.contains(&0);
        while began.elapsed() < WATCHED || is_open(&read, began.elapsed()) {
            if rebalance.take_if(|at| began.elapsed() > *at).is_some() {
                pause();
            }
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(10)) {
                if read == [0; RECORDS] {
                    pause();
                }
                read[usize::try_from(message.offset()).expect("an offset")] += 1;
            }
        }
        read
    }
}
