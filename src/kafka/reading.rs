//! Reads a topic from some time on until its end. Commands use it, the worker does not.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Quiet, Settings, is_outage};

/// The pause before it checks again how far a topic is committed.
const LOOK: Duration = Duration::from_millis(200);
/// Brokers end an open transaction after a minute by default.
const OPEN_TRANSACTION: Duration = Duration::from_secs(90);
/// The most records that are handed over at once.
const AT_ONCE: usize = 1_000;

/// A topic that is read on another thread.
pub(crate) struct Reading<T> {
    some: mpsc::Receiver<Vec<T>>,
    task: JoinHandle<Result<(), String>>,
}

impl<T: Send + 'static> Reading<T> {
    /// Begins to read a topic, named by its key in `[kafka]`, from `since` on if that is given. The
    /// receiver gets what `of` makes of the records.
    pub(crate) fn start(
        settings: &Settings,
        (key, topic): (&'static str, &str),
        since: Option<OffsetDateTime>,
        of: impl Fn(&BorrowedMessage<'_>) -> Option<T> + Send + 'static,
    ) -> Self {
        let (sender, some) = mpsc::channel(2);
        let (settings, topic) = (settings.clone(), topic.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let consumer = settings.quiet_consumer("read_committed")?;
            let partitions = settings.check_topic(&consumer, key, &topic)?;
            let mut some = Vec::with_capacity(AT_ONCE);
            let read = read_to_end(&settings, &consumer, (&topic, partitions), since, |message| {
                some.extend(of(message));
                if some.len() >= AT_ONCE {
                    // If the receiver is gone, it has failed and reports that itself.
                    sender.blocking_send(std::mem::take(&mut some)).ok();
                }
            });
            let said = |error| format!("topic {topic:?} (kafka.{key}) cannot be read: {error}");
            read.map_err(said)?;
            sender.blocking_send(some).ok();
            Ok(())
        });
        Self { some, task }
    }

    /// The next items; `None` at the end.
    ///
    /// # Errors
    /// One sentence that names the topic and its key.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<T>>, String> {
        if let Some(some) = self.some.recv().await {
            return Ok(Some(some));
        }
        (&mut self.task).await.map_err(|error| error.to_string())??;
        Ok(None)
    }
}

/// Waits until all records that are now in the topic, named by its key in `[kafka]`, can be read by
/// `committed`: an open transaction of another producer hides the records behind it.
///
/// # Errors
/// One sentence: the transaction lasts too long, or the topic cannot be read.
pub(crate) fn wait_for_open_transactions(
    settings: &Settings,
    committed: &BaseConsumer<Quiet>,
    (key, topic): (&str, &str),
    partitions: i32,
) -> Result<(), String> {
    let everything = settings.quiet_consumer("read_uncommitted")?;
    let deadline = Instant::now() + OPEN_TRANSACTION;
    let end = |consumer: &BaseConsumer<Quiet>, partition| {
        let ends = consumer.fetch_watermarks(topic, partition, settings.request_timeout);
        let said =
            |error| format!("the end of topic {topic:?} (kafka.{key}) cannot be read: {error}");
        ends.map(|(_, end)| end).map_err(said)
    };
    for partition in 0..partitions {
        let written = end(&everything, partition)?;
        while end(committed, partition)? < written {
            if Instant::now() > deadline {
                return Err(format!(
                    "a producer's transaction has long been open in {topic}/{partition}: what \
                     earlier commands sent is not known until it ends; run the command again then"
                ));
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// Passes every record of a topic to `each`, from `since` on if that is given, until the end of
/// each partition. Blocks.
///
/// # Errors
/// The client's error: the topic could not be read.
pub(crate) fn read_to_end(
    settings: &Settings,
    consumer: &BaseConsumer<Quiet>,
    (topic, partitions): (&str, i32),
    since: Option<OffsetDateTime>,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), KafkaError> {
    let milliseconds = |time: OffsetDateTime| time.unix_timestamp().saturating_mul(1_000).max(0);
    let from = since.map_or(Offset::Beginning, |since| Offset::Offset(milliseconds(since)));
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, from)?;
    }
    if since.is_some() {
        assignment = consumer.offsets_for_times(assignment, settings.request_timeout)?;
    }
    consumer.assign(&assignment)?;
    let mut ended = HashSet::new();
    while ended.len() < assignment.count() {
        match read_next(consumer, settings.request_timeout) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::Canceled),
        }
    }
    Ok(())
}

/// The record that the consumer reads within `timeout`. An unreachable broker is reported only when
/// the time is up: until then the client tries the others.
pub(super) fn read_next(
    consumer: &BaseConsumer<Quiet>,
    timeout: Duration,
) -> Option<KafkaResult<BorrowedMessage<'_>>> {
    past_outages(timeout, |left| consumer.poll(left))
}

fn past_outages<T>(
    timeout: Duration,
    mut poll: impl FnMut(Duration) -> Option<KafkaResult<T>>,
) -> Option<KafkaResult<T>> {
    let deadline = Instant::now() + timeout;
    let mut outage = None;
    loop {
        match poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Err(error)) if is_outage(&error) => outage = Some(error),
            Some(other) => return Some(other),
            None => return outage.map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode::{
        self, BrokerTransportFailure, Resolve, TopicAuthorizationFailed,
    };

    use super::*;

    /// The result if the client reports these one after the other, and then nothing.
    fn read(polled: &[Result<i64, RDKafkaErrorCode>]) -> Option<Result<i64, RDKafkaErrorCode>> {
        let mut polled = polled.iter().map(|polled| polled.map_err(KafkaError::Global));
        let read = past_outages(Duration::from_secs(5), |_| polled.next())?;
        Some(read.map_err(|error| error.rdkafka_error_code().expect("a code of the client's")))
    }

    #[test]
    fn a_broker_that_is_away_keeps_nothing_from_being_read() {
        let (away, unknown) = (Err(BrokerTransportFailure), Err(Resolve));
        assert_eq!(read(&[away, unknown, Ok(7)]), Some(Ok(7)));
        assert_eq!(read(&[away, unknown]), Some(unknown), "none answered in time");
        let denied = Err(TopicAuthorizationFailed);
        assert_eq!(read(&[away, denied, Ok(7)]), Some(denied));
        assert_eq!(read(&[]), None);
    }
}
