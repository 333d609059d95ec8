//! The producer: every event that a test hands over gets to Kafka, even if a broker dies.
//!
//! Kafka's client does not guarantee that. It reports lost events as delivered when a partition's
//! leader was just elected (see `claimgate::kafka`), and was seen to send nothing any more after a
//! broker's return. So an event without a known place in the topic is kept and sent again. It may
//! be there twice then, as with any user's producer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::time::Instant;

use super::client;

/// A client that has sent nothing for this long is replaced.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// An event to be produced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) payload: Option<Vec<u8>>,
}

impl Event {
    /// An event with this payload, on the partition its key leads to.
    pub(crate) fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: Some(payload.into()), ..Self::default() }
    }

    pub(crate) fn on(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// Sends events to one topic.
pub(super) struct Producer {
    kafka: String,
    topic: String,
    client: Mutex<ThreadedProducer<Unacknowledged>>,
    unacknowledged: Unacknowledged,
    next: AtomicUsize,
    resent: AtomicUsize,
}

/// What Kafka has not acknowledged, by number.
#[derive(Clone, Default)]
struct Unacknowledged(Arc<Mutex<BTreeMap<usize, Event>>>);

impl Unacknowledged {
    fn events(&self) -> MutexGuard<'_, BTreeMap<usize, Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Unacknowledged {}

impl ProducerContext for Unacknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(message) if message.offset() >= 0 => drop(self.events().remove(&number)),
            Ok(message) | Err((_, message)) => {
                println!("the lab: event {number} is nowhere in partition {}", message.partition());
            }
        }
    }
}

impl Producer {
    pub(super) fn new(kafka: String, topic: String) -> Self {
        let unacknowledged = Unacknowledged::default();
        let client = Mutex::new(connect(&kafka, &unacknowledged));
        Self {
            kafka,
            topic,
            client,
            unacknowledged,
            next: AtomicUsize::new(0),
            resent: AtomicUsize::new(0),
        }
    }

    /// Hands an event over, to be sent in its own time.
    pub(super) fn enqueue(&self, event: &Event) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.unacknowledged.events().insert(number, event.clone());
        self.send(&self.client(), number, event);
    }

    /// Waits until Kafka has every event.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let mut client = self.client();
            let left = deadline.saturating_duration_since(Instant::now());
            let flushed = client.flush(left.min(STUCK_AFTER));
            let open = self.unacknowledged.events().clone();
            if open.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "Kafka did not take {} events: {flushed:?}",
                open.len()
            );
            println!("the lab: {} events are sent again ({flushed:?})", open.len());
            self.resent.fetch_add(open.len(), Ordering::Relaxed);
            *client = connect(&self.kafka, &self.unacknowledged);
            open.iter().for_each(|(number, event)| self.send(&client, *number, event));
        }
    }

    /// The number of events that may be there twice.
    pub(super) fn resent(&self) -> usize {
        self.resent.load(Ordering::Relaxed)
    }

    fn client(&self) -> MutexGuard<'_, ThreadedProducer<Unacknowledged>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, client: &ThreadedProducer<Unacknowledged>, number: usize, event: &Event) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &event.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, number).headers(headers);
        record.partition = event.partition;
        record.key = event.key.as_deref();
        record.payload = event.payload.as_deref();
        while let Err((error, back)) = client.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull)
            );
            std::thread::sleep(Duration::from_millis(10));
            record = back;
        }
    }
}

fn connect(kafka: &str, unacknowledged: &Unacknowledged) -> ThreadedProducer<Unacknowledged> {
    let mut settings = client(kafka);
    settings
        .set("linger.ms", "5")
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "1100000");
    settings.create_with_context(unacknowledged.clone()).expect("a producer")
}
