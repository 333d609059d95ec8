//! The claims, and how they are sent to the topic: all at once, or at a rate.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::Outcome;
use crate::event::event;

const PATIENCE: Duration = Duration::from_secs(30);

/// The id of a claim by its number.
pub(crate) fn claim_id(phase: &str, number: usize) -> String {
    format!("clm-{phase}-{number:07}")
}

/// Sends claims.
pub(crate) struct Producer {
    producer: BaseProducer,
    topic: String,
    /// Claims whose number is a multiple of this belong to one account; every other claim has an
    /// account of its own.
    pub(crate) hot_every: Option<usize>,
}

impl Producer {
    /// A producer whose claims are visible as they are sent.
    pub(crate) fn plain(kafka: &str, topic: String) -> Outcome<Self> {
        Ok(Self { producer: config(kafka).create()?, topic, hot_every: None })
    }

    /// A producer whose claims all become visible when [`Producer::show`] is called.
    pub(crate) fn hiding(kafka: &str, topic: String) -> Outcome<Self> {
        let producer: BaseProducer = config(kafka).set("transactional.id", &topic).create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        Ok(Self { producer, topic, hot_every: None })
    }

    /// Hands one claim to the client.
    pub(crate) fn send(&self, phase: &str, number: usize) -> Outcome<()> {
        let claim_id = claim_id(phase, number);
        let is_hot = self.hot_every.is_some_and(|every| number.is_multiple_of(every));
        let payload = event(&claim_id, number, if is_hot { 0 } else { number });
        let mut record = BaseRecord::to(&self.topic).key(&claim_id).payload(&payload);
        while let Err((error, back)) = self.producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            self.producer.poll(Duration::from_millis(10));
            record = back;
        }
        Ok(())
    }

    /// Polls the client.
    pub(crate) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the broker has everything.
    pub(crate) fn flush(&self) -> Outcome<()> {
        Ok(self.producer.flush(PATIENCE)?)
    }

    /// Makes everything that was sent visible.
    pub(crate) fn show(&self) -> Outcome<()> {
        Ok(self.producer.commit_transaction(PATIENCE)?)
    }
}

fn config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "500000");
    config
}
