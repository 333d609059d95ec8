//! The producer's configuration, and the names of producers.
//!
//! What the promises rest on is set here and cannot be overridden; what is a matter of speed can.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::BaseProducer;

use super::deliveries::Deliveries;
use crate::kafka::{Guarantee, Settings, client_error};

/// The largest batch that the producer makes: librdkafka's own bound.
const BATCH_MAX_BYTES: usize = 1_000_000;
/// `send_offsets_to_transaction` keeps no time (librdkafka #5456): where the group's coordinator
/// has died it asks for the new one only when some connection comes or goes, and may wait for that
/// for ever (#5511). An idle connection is closed after this time.
const IDLE_MAX_MS: &str = "5000";

/// A producer that has not met a broker yet.
pub(super) fn producer(
    settings: &Settings,
    transactional_id: &str,
) -> KafkaResult<BaseProducer<Deliveries>> {
    config(settings, transactional_id).create_with_context(Deliveries::default())
}

/// Whether librdkafka knows these properties and takes their values. No client is made.
///
/// # Errors
/// One sentence that names the key.
pub fn check_properties(settings: &Settings) -> Result<(), String> {
    let known = config(settings, &settings.worker_id("check")).create_native_config();
    known
        .map(drop)
        .map_err(|error| format!("{}; correct or remove the property", client_error(&error)))
}

/// Whether a producer can be made of these settings. No broker is asked.
///
/// # Errors
/// One sentence that names the key.
pub fn check_producer(settings: &Settings) -> Result<(), String> {
    let producer = producer(settings, &settings.worker_id("check"));
    producer.map(drop).map_err(|error| {
        format!(
            "no producer can be made of kafka.properties: {}; correct or remove the property",
            client_error(&error)
        )
    })
}

/// The largest batch that the producer makes.
pub(super) fn batch_max_bytes(settings: &Settings) -> usize {
    let set = config(settings, "").get("batch.size").and_then(|bytes| bytes.parse().ok());
    set.unwrap_or(BATCH_MAX_BYTES)
}

fn config(settings: &Settings, transactional_id: &str) -> ClientConfig {
    let timeout = settings.transaction_timeout.as_millis().to_string();
    let mut config = settings.client();
    for (key, value) in [
        ("linger.ms", "1".to_owned()),
        ("batch.size", settings.max_message_bytes.clamp(1, BATCH_MAX_BYTES).to_string()),
        ("queue.buffering.max.messages", "100000".to_owned()),
        ("connections.max.idle.ms", IDLE_MAX_MS.to_owned()),
    ] {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    config
        .set("enable.idempotence", "true")
        .set(
            "message.max.bytes",
            settings.max_message_bytes.clamp(1_000, 1_000_000_000).to_string(),
        )
        .set("delivery.timeout.ms", &timeout);
    if settings.guarantee == Guarantee::ExactlyOnce {
        config.set("transactional.id", transactional_id).set("transaction.timeout.ms", &timeout);
    }
    config
}
