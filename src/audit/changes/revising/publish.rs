//! Publishes a revision to Kafka exactly once: before it sends anything, it looks for what an
//! earlier command may have published.

use rdkafka::message::{BorrowedMessage, Message as _};
use time::OffsetDateTime;

use crate::decision::Source;
use crate::intake::consumer::headers;
use crate::intake::header;
use crate::kafka::{Settings, read_to_end, wait_for_open_transactions};
use crate::outbox::commands::{CommandProducer, NOTHING_TWICE, Outgoing, Purpose, SendError};
use crate::outbox::message::{DECISION_ID, Message, REVISION};

const OVERRIDES: Purpose = Purpose {
    word: "override",
    topic_key: "output_topic",
    page: "docs/audit.md",
    again: NOTHING_TWICE,
};

/// Clocks differ: the topic is read from this long before the announcement.
const CLOCK_SKEW: time::Duration = time::Duration::minutes(10);

/// Publishes a revision in the first of these forms that the topic accepts, and returns its place.
/// It was announced at `announced_at`: another command may have published it since.
///
/// # Errors
/// One sentence.
pub(super) async fn publish(
    settings: &Settings,
    forms: [Message; 2],
    announced_at: OffsetDateTime,
) -> Result<Source, String> {
    for message in forms {
        // From here on, a message of another command is in the topic or never will be.
        let producer = CommandProducer::start(settings, OVERRIDES, &settings.output_topic).await?;
        let (clone, wanted) = (settings.clone(), message.clone());
        let found = tokio::task::spawn_blocking(move || find(&clone, &wanted, announced_at));
        if let Some(place) = found.await.map_err(|error| error.to_string())?? {
            return Ok(place);
        }
        match producer.send(&[Outgoing::of(&message)]).await {
            Ok((_, places)) => {
                let place = places.into_iter().next();
                return place.ok_or_else(|| "Kafka named no place".to_owned());
            }
            Err(SendError::TooLarge(_)) => {}
            Err(SendError::Ended(error)) => return Err(error),
        }
    }
    Err("topic kafka.output_topic rejects the decision: it is too large even when cut".to_owned())
}

/// Looks for the same revision of the same claim in the topic. Blocks.
fn find(
    settings: &Settings,
    wanted: &Message,
    since: OffsetDateTime,
) -> Result<Option<Source>, String> {
    let topic = settings.output_topic.as_str();
    let consumer = settings.quiet_consumer("read_committed")?;
    let partitions = settings.check_topic(&consumer, "output_topic", topic)?;
    wait_for_open_transactions(settings, &consumer, ("output_topic", topic), partitions)?;
    let mut found = None;
    let since = Some(since - CLOCK_SKEW);
    let read = read_to_end(settings, &consumer, (topic, partitions), since, |message| {
        if is_same(message, wanted) {
            let (topic, partition) = (topic.to_owned(), message.partition());
            found = Some(Source { topic, partition, offset: message.offset() });
        }
    });
    read.map_err(|error| {
        format!(
            "topic {topic:?} (kafka.output_topic) cannot be read, so whether an earlier override \
             was published is not known: {error}"
        )
    })?;
    Ok(found)
}

/// Whether both have the same revision and decision id.
fn is_same(message: &BorrowedMessage<'_>, wanted: &Message) -> bool {
    let headers = headers(message);
    [REVISION, DECISION_ID].iter().all(|name| {
        let there = header(&headers, name);
        there.is_some() && there == header(&wanted.headers, name)
    })
}
