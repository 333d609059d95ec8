//! The publisher: it has a thread of its own, because rdkafka's transaction calls block.
//!
//! The only module of the outbox that knows Kafka. The order within a transaction makes sure that
//! nothing is lost if it breaks off: all delivery reports first, then the offsets, then the commit.
//! The invariant: after a commit with an unknown result, nothing is published before it is known
//! whether that commit took place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};
use uuid::Uuid;

mod aborts;
mod bounds;
mod clients;
mod command;
mod commits;
mod deliveries;
mod doubt;
mod failure;
mod following;
mod judging;
mod offsets;
mod sending;
mod transactions;

use bounds::{Bounds, BoundsReader};
pub use clients::{check_producer, check_properties};
use command::{Command, NotPublished};
use commits::CommitQueue;
use doubt::Doubt;
use failure::Refused;
use transactions::Transactions;

use super::message::{Drafts, Lesson, Topic};
use super::{PublishError, Publisher, Recorded};
use crate::intake::Commit;
use crate::intake::consumer::SharedConsumer;
use crate::kafka::{Guarantee, Settings};
use crate::telemetry::meter;

/// How long to wait for the thread to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A flush makes fewer calls of the client than this, its second try included.
const MOST_CALLS: u32 = 20;

/// The worker's handle of the publisher.
#[derive(Debug)]
pub struct KafkaPublisher {
    /// `None` once the publisher is being closed.
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
    republish_duplicates: bool,
    bounds: Arc<Bounds>,
    /// No call of the client may take longer.
    longest_call: Duration,
}

impl KafkaPublisher {
    /// Starts the publisher's thread. Has to be called within a runtime.
    ///
    /// # Errors
    /// One sentence: no producer can be made of these settings, or the thread cannot be started.
    pub fn start(
        settings: Settings,
        consumer: SharedConsumer,
        republish_duplicates: bool,
    ) -> Result<Self, String> {
        check_producer(&settings)?;
        let threads =
            |error: std::io::Error| format!("the publisher's thread cannot be started: {error}");
        let runtime = Handle::current();
        // One flush is under way at a time.
        let (commands, received) = sync_channel(1);
        let bounds = Arc::new(Bounds::new(settings.max_message_bytes));
        let member = settings.instance_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let commits = match settings.guarantee {
            Guarantee::ExactlyOnce => None,
            Guarantee::AtLeastOnce => {
                let started =
                    CommitQueue::start(settings.clone(), Arc::clone(&consumer), runtime.clone());
                Some(started.map_err(threads)?)
            }
        };
        let longest_call = settings.transaction_timeout.saturating_add(settings.request_timeout);
        let transactions = Transactions {
            transactional_id: settings.worker_id(&member),
            batch_max_bytes: clients::batch_max_bytes(&settings),
            settings,
            consumer,
            producer: None,
            doubt: Doubt::default(),
            bounds: Arc::clone(&bounds),
            reader: BoundsReader::new(runtime),
            commits,
            committed: BTreeMap::new(),
            followed: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || transactions.run(&received))
            .map_err(threads)?;
        let (commands, thread) = (Some(commands), Some(thread));
        Ok(Self { commands, thread, republish_duplicates, bounds, longest_call })
    }

    /// Sends the drafts in their present form, as one flush. A call of the client that hangs in
    /// spite of its time limit ends the worker: only another process can go on.
    async fn flush(
        &self,
        batch: u64,
        drafts: &mut Drafts<'_>,
        commits: Vec<Commit>,
        refused: Option<RDKafkaErrorCode>,
    ) -> Result<(), NotPublished> {
        let gone = || {
            NotPublished::Failed(PublishError::Fatal("the publisher's thread has ended".to_owned()))
        };
        let (reply, mut replied) = oneshot::channel();
        let parcels = drafts.parcels(&self.bounds.limits());
        let decisions_refused = refused.filter(|_| drafts.leave_out_all());
        let command = Command { batch, parcels, commits, decisions_refused, reply };
        self.commands.as_ref().ok_or_else(gone)?.try_send(command).map_err(|_| gone())?;
        // In parts: a process that was paused for long has not waited for long.
        for _ in 0..MOST_CALLS {
            if let Ok(answer) = timeout(self.longest_call, &mut replied).await {
                return answer.map_err(|_| gone())?;
            }
        }
        let seconds = self.longest_call.as_secs();
        Err(NotPublished::Failed(PublishError::Fatal(format!(
            "Kafka's client has not answered for {MOST_CALLS} times {seconds} s, and none of its \
             calls may take longer than that once: it hangs, and the worker has to be restarted"
        ))))
    }

    fn learn(&self, lessons: Vec<Lesson>) {
        for (topic, weight) in lessons {
            if weight <= self.bounds.limit(topic) {
                warn!(
                    bytes = weight,
                    "a message of {weight} bytes is too large for its topic ({topic:?}); messages \
                     of this size are cut from now on"
                );
                self.bounds.learn(topic, weight);
            }
        }
    }
}

/// Logs which messages are in no topic: only Postgres has their rows.
fn tell_of_left_out(drafts: &Drafts<'_>, code: RDKafkaErrorCode) {
    for topic in Topic::ALL {
        for completed in drafts.left_out(topic) {
            meter::unpublishable(topic.label());
            error!(
                source = %completed.received.source,
                claim_id = completed.claim_id.as_deref(),
                "the topic of {} rejects the message about this record even when it is cut to its \
                 minimum ({code}); only its row in Postgres has the content",
                topic.label()
            );
        }
    }
}

impl Drop for KafkaPublisher {
    /// Waits until the thread has dropped the consumer, so that the last owner of the consumer
    /// leaves the group. Does not wait for a broker.
    fn drop(&mut self) {
        drop(self.commands.take());
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Publisher for KafkaPublisher {
    async fn publish(&self, batch: &Recorded, commits: Vec<Commit>) -> Result<(), PublishError> {
        let mut drafts = Drafts::new(batch.completed(), self.republish_duplicates);
        let mut refused = None;
        loop {
            match self.flush(batch.number(), &mut drafts, commits.clone(), refused).await {
                Ok(()) => {
                    if let Some(code) = refused {
                        tell_of_left_out(&drafts, code);
                    }
                    return Ok(());
                }
                Err(NotPublished::Refused(Refused { refusals, delivered, code })) => {
                    drafts.delivered(&delivered);
                    let lessons = drafts.refused(&refusals, &self.bounds.limits());
                    self.learn(lessons);
                    refused = Some(code);
                }
                Err(NotPublished::Failed(error)) => return Err(error),
            }
            if let Some(code) = refused.filter(|_| drafts.leave_out_too_many()) {
                return Err(PublishError::Aborted(format!(
                    "the topic of decisions rejects messages: {code}; see its max.message.bytes \
                     and policies"
                )));
            }
            let undeferrable = drafts.undeferrable(&self.bounds.limits());
            if !undeferrable.is_empty() {
                return Err(PublishError::Undeferrable(undeferrable));
            }
        }
    }

    fn deferred_max_bytes(&self) -> usize {
        self.bounds.limit(Topic::Retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before the fix the worker waited for ever, alive and without progress.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_hangs_ends_the_worker() {
        let (commands, _nobody_answers) = sync_channel(1);
        let publisher = KafkaPublisher {
            commands: Some(commands),
            thread: None,
            republish_duplicates: false,
            bounds: Arc::new(Bounds::new(1_000)),
            longest_call: Duration::from_secs(18),
        };
        let began = Instant::now();
        let flushed = publisher.flush(1, &mut Drafts::new(&[], false), Vec::new(), None).await;
        match flushed {
            Err(NotPublished::Failed(PublishError::Fatal(said))) => {
                assert!(said.contains("20 times 18 s"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() >= Duration::from_secs(360));
    }
}
