//! Reads the output topics, like the settlement pipeline, and the retry topic; and finds out
//! whether the worker is done with the input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::observer::{Messages, Observer, Partitions};
use claimgate::kafka::Settings;

/// The number of messages that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) decisions: usize,
    pub(super) dead_letters: usize,
}

/// A consumer of both output topics, from their beginning, on a thread of its own.
pub(super) struct Watch {
    observer: Arc<Observer>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch.
    pub(super) fn start(settings: &Settings, partitions: Partitions) -> Result<Self, String> {
        let fails = |error: rdkafka::error::KafkaError| {
            format!("the output topics cannot be read: {error}")
        };
        // The worker's group id lets this consumer ask what the worker has committed; it joins
        // nothing and commits nothing.
        let consumer: BaseConsumer = settings
            .client()
            .set("group.id", &settings.group_id)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "5")
            .create()
            .map_err(fails)?;
        let mut assignment = TopicPartitionList::new();
        let Partitions { input, output } = partitions;
        let topics = [
            (&settings.output_topic, output),
            (&settings.dead_letter_topic, output),
            (&settings.retry_topic, input),
        ];
        for (topic, partitions) in topics {
            for partition in 0..partitions {
                assignment
                    .add_partition_offset(topic, partition, Offset::Beginning)
                    .map_err(fails)?;
            }
        }
        consumer.assign(&assignment).map_err(fails)?;
        let observer = Observer {
            consumer,
            settings: settings.clone(),
            partitions,
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let observer = Arc::new(observer);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn({
            let observer = Arc::clone(&observer);
            move || observer.look()
        });
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { observer, thread: Some(thread) })
    }

    /// The number of messages that were seen so far.
    pub(super) fn counts(&self) -> Counts {
        let seen = self.observer.seen();
        let Messages { decisions, dead_letters, .. } = &seen.messages;
        Counts { decisions: decisions.len(), dead_letters: dead_letters.len() }
    }

    /// The messages seen.
    pub(super) fn messages(&self) -> Messages {
        self.observer.seen().messages.clone()
    }

    /// A function for any thread: whether the worker has committed everything, and all its output
    /// was seen. It blocks.
    pub(super) fn is_complete(&self) -> impl FnOnce() -> Result<bool, String> + Send + 'static {
        let observer = Arc::clone(&self.observer);
        move || {
            observer
                .is_complete()
                .map_err(|error| format!("the mock Kafka broker does not answer: {error}"))
        }
    }

    /// Ends the thread.
    pub(super) fn stop(mut self) {
        self.observer.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the thread that watches the output topics panicked");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.stop.store(true, Ordering::Relaxed);
    }
}
