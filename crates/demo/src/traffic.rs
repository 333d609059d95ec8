//! The producer of claims: sends the events at a steady rate, and remembers the place of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use time::OffsetDateTime;

use super::claims::Event;
use claimgate::decision::Source;
use claimgate::kafka::Settings;
use claimgate::trace::TRACEPARENT;

/// How long the sending takes, if the worker keeps up.
const SPREAD: Duration = Duration::from_secs(8);
/// Events are sent in chunks; this is the time between two of them.
const TICK: Duration = Duration::from_millis(25);

/// An event, and its place in the input topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sent {
    pub(super) event: Event,
    pub(super) source: Source,
    /// When Kafka acknowledged it, UNIX microseconds.
    pub(super) sent_at: i64,
}

/// Sends every event; `sent` counts them. At most `ahead` more are sent than the worker took on, by
/// `taken`: the mock broker keeps only five megabytes per partition.
pub(super) async fn send(
    settings: Settings,
    events: Vec<Event>,
    sent: Arc<AtomicUsize>,
    taken: impl Fn() -> usize,
    ahead: usize,
) -> Result<Vec<Sent>, String> {
    let fails = |error: &dyn std::fmt::Display| format!("an event could not be sent: {error}");
    let mut client = settings.client();
    let producer: FutureProducer = client
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .map_err(|error| fails(&error))?;
    let chunks = usize::try_from(SPREAD.as_millis() / TICK.as_millis()).unwrap_or(1);
    let mut tick = tokio::time::interval(TICK);
    let mut log = Vec::with_capacity(events.len());
    for chunk in events.chunks(events.len().div_ceil(chunks).max(1)) {
        tick.tick().await;
        while log.len() > taken() + ahead {
            tick.tick().await;
        }
        let deliveries: Result<Vec<_>, _> =
            chunk.iter().map(|event| enqueue(&producer, &settings.input_topic, event)).collect();
        for (event, delivery) in chunk.iter().zip(deliveries.map_err(|error| fails(&error))?) {
            let delivery = delivery
                .await
                .map_err(|error| fails(&error))?
                .map_err(|(error, _)| fails(&error))?;
            let source = Source {
                topic: settings.input_topic.clone(),
                partition: delivery.partition,
                offset: delivery.offset,
            };
            log.push(Sent { event: event.clone(), source, sent_at: now_micros() });
        }
        sent.store(log.len(), Ordering::Relaxed);
    }
    Ok(log)
}

/// UNIX microseconds.
pub(super) fn now_micros() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn enqueue(
    producer: &FutureProducer,
    topic: &str,
    event: &Event,
) -> Result<DeliveryFuture, rdkafka::error::KafkaError> {
    let mut headers =
        OwnedHeaders::new().insert(Header { key: "producer", value: Some("claimgate-demo") });
    if let Some(traceparent) = &event.traceparent {
        headers = headers.insert(Header { key: TRACEPARENT, value: Some(traceparent) });
    }
    let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
    record.key = event.key.as_deref().map(str::as_bytes);
    record.payload = event.payload.as_deref();
    producer.send_result(record).map_err(|(error, _)| error)
}
