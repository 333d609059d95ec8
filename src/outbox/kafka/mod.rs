//! The publisher: a thread of its own, for rdkafka's transaction calls block.
//!
//! The only module of the outbox that knows Kafka. Its order within a transaction is what keeps a torn one from losing anything: all
//! delivery reports first, then the offsets, then the commit. The invariant: after a commit whose end is uncertain, nothing is
//! published before it is known whether that commit took place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::message::{self, Message, Topic};
mod deliveries;
mod sending;
mod transactions;

use transactions::Transactions;

use super::{PublishError, Publisher, Recorded};
use crate::intake::Commit;
use crate::intake::kafka::SharedConsumer;
use crate::kafka::Settings;

/// How long the end of the thread is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The publisher's side that the worker holds.
#[derive(Debug)]
pub struct KafkaPublisher {
    /// `None` once the publisher is on its way out.
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
    republish_duplicates: bool,
    /// By topic, in the order of [`Topic::ALL`].
    max_bytes: Arc<[AtomicUsize; 3]>,
}

#[derive(Debug)]
struct Command {
    /// [`Recorded::number`].
    batch: u64,
    messages: Vec<Message>,
    commits: Vec<Commit>,
    reply: oneshot::Sender<Result<(), PublishError>>,
}

impl KafkaPublisher {
    /// Starts the publisher's thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        settings: Settings,
        consumer: SharedConsumer,
        republish_duplicates: bool,
    ) -> std::io::Result<Self> {
        // One flush is under way at a time.
        let (commands, received) = sync_channel(1);
        let max_bytes = Arc::new(Topic::ALL.map(|_| AtomicUsize::new(settings.max_message_bytes)));
        let member = settings.instance_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let transactional_id = settings.worker_id(&member);
        let transactions = Transactions {
            settings,
            consumer,
            transactional_id,
            producer: None,
            doubt: None,
            max_bytes: Arc::clone(&max_bytes),
        };
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || transactions.run(&received))?;
        Ok(Self { commands: Some(commands), thread: Some(thread), republish_duplicates, max_bytes })
    }
}

impl Drop for KafkaPublisher {
    /// Lets the thread let go of the consumer, so that whoever drops that last tells the group; waits for it, though not for a broker.
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
        let messages = batch.settled().iter().filter_map(|settled| {
            let max_bytes = &self.max_bytes[Topic::of(&settled.disposition) as usize];
            message::of(settled, self.republish_duplicates, max_bytes.load(Ordering::Relaxed))
        });
        let (reply, replied) = oneshot::channel();
        let command = Command { batch: batch.number(), messages: messages.collect(), commits, reply };
        let gone = || PublishError::Fatal("the publisher's thread has ended".to_owned());
        self.commands.as_ref().ok_or_else(gone)?.try_send(command).map_err(|_| gone())?;
        replied.await.map_err(|_| gone())?
    }
}
