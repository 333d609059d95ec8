//! The producer of replayed events.

use super::DeadLetterError;
use super::event::Event;
use crate::decision::Source;
use crate::kafka::Settings;
use crate::outbox::commands::{CommandProducer, NOTHING_TWICE, Outgoing, Purpose, SendError};

const REPLAYS: Purpose = Purpose {
    word: "replay",
    topic_key: "input_topic",
    page: "docs/dead-letters.md",
    again: NOTHING_TWICE,
};

/// A producer of replays. There is one at a time: a newer one fences it.
pub(super) struct ReplayProducer {
    producer: CommandProducer,
    input_topic: String,
}

impl ReplayProducer {
    /// Connects, and fences the producer of any earlier command, so that it can send nothing more.
    ///
    /// # Errors
    /// One sentence that names the address or the topic, and the key.
    pub(super) async fn start(settings: &Settings) -> Result<Self, DeadLetterError> {
        let input_topic = settings.input_topic.clone();
        let producer = CommandProducer::start(settings, REPLAYS, &input_topic).await;
        Ok(Self { producer: producer.map_err(DeadLetterError::Kafka)?, input_topic })
    }

    /// Sends these events, all or none. Returns the place of each.
    ///
    /// # Errors
    /// [`SendError`].
    pub(super) async fn send(self, events: &[Event]) -> Result<(Self, Vec<Source>), SendError> {
        let Self { producer, input_topic } = self;
        let messages: Vec<_> = events.iter().map(|event| outgoing(event, &input_topic)).collect();
        let (producer, places) = producer.send(&messages).await?;
        Ok((Self { producer, input_topic }, places))
    }
}

/// To the partition that the event came from, if it came from this topic: the claims with its key
/// are there.
fn outgoing<'a>(event: &'a Event, input_topic: &str) -> Outgoing<'a> {
    let source = &event.letter.source;
    Outgoing {
        partition: (source.topic == input_topic).then_some(source.partition),
        key: event.key.as_deref(),
        payload: event.payload.as_deref(),
        headers: &event.headers,
    }
}
