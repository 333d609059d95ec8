//! Bounds: the largest message that each of the output topics takes.
//!
//! What the topic itself says (`max.message.bytes`) counts, where the worker may read it. Where it
//! may not, a refusal teaches. Neither is for ever: both are looked at again after a while, so that
//! a topic that was raised gets whole messages again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::error::KafkaResult;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::kafka::{Quiet, Settings};
use crate::outbox::message::{Limits, Topic};

/// How soon a cause that holds messages back is checked again.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How long a topic's configuration is waited for; without it messages are sent as they are.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// The bounds, shared by the publisher's two sides.
#[derive(Debug)]
pub(super) struct Bounds {
    /// `kafka.max_message_bytes`.
    configured: usize,
    /// What the topics say, in the order of [`Topic::ALL`].
    stated: [AtomicUsize; 3],
    /// What refusals taught, in the same order.
    learned: [AtomicUsize; 3],
}

impl Bounds {
    pub(super) fn new(configured: usize) -> Self {
        let unbounded = || Topic::ALL.map(|_| AtomicUsize::new(usize::MAX));
        Self { configured, stated: unbounded(), learned: unbounded() }
    }

    /// The largest message that each topic takes, as far as is known.
    pub(super) fn limits(&self) -> Limits {
        Topic::ALL.map(|topic| self.limit(topic))
    }

    /// The largest message that this topic takes, as far as is known.
    pub(super) fn limit(&self, topic: Topic) -> usize {
        let stated = self.stated[topic as usize].load(Ordering::Relaxed);
        let learned = self.learned[topic as usize].load(Ordering::Relaxed);
        self.configured.min(stated).min(learned)
    }

    /// The topic does not take a message of this weight.
    pub(super) fn learn(&self, topic: Topic, weight: usize) {
        self.learned[topic as usize].fetch_min(weight.saturating_sub(1), Ordering::Relaxed);
    }

    fn is_holding_back(&self) -> bool {
        self.limits().iter().any(|limit| *limit < self.configured)
    }

    fn forget_lessons(&self) {
        self.learned.iter().for_each(|learned| learned.store(usize::MAX, Ordering::Relaxed));
    }
}

/// Reads what the topics say of themselves.
#[derive(Debug)]
pub(super) struct BoundsReader {
    /// Runs the question to the broker.
    runtime: Handle,
    /// When they were last asked.
    asked: Option<Instant>,
}

impl BoundsReader {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, asked: None }
    }

    /// Looks again at what holds messages back, if that is long ago.
    pub(super) fn look_again(&mut self, bounds: &Bounds, settings: &Settings) {
        if self.asked.is_some_and(|asked| asked.elapsed() >= LOOK_AGAIN) && bounds.is_holding_back()
        {
            bounds.forget_lessons();
            self.read(bounds, settings);
        }
    }

    /// Asks the topics. One that does not answer keeps its bound.
    pub(super) fn read(&mut self, bounds: &Bounds, settings: &Settings) {
        self.asked = Some(Instant::now());
        let answers = match self.runtime.block_on(describe(settings)) {
            Ok(answers) => answers,
            Err(error) => return debug!("the bounds of the output topics cannot be read: {error}"),
        };
        for answer in answers {
            match answer {
                Ok(resource) => take(bounds, settings, &resource),
                Err(code) => debug!("the bound of an output topic cannot be read: {code}"),
            }
        }
    }
}

type Answers = Vec<Result<ConfigResource, rdkafka::error::RDKafkaErrorCode>>;

async fn describe(settings: &Settings) -> KafkaResult<Answers> {
    let admin: AdminClient<Quiet> = settings.client().create_with_context(Quiet::default())?;
    let topics = Topic::ALL.map(|topic| ResourceSpecifier::Topic(settings.output(topic)));
    let timeout = settings.request_timeout.min(READ_TIMEOUT);
    admin.describe_configs(&topics, &AdminOptions::new().request_timeout(Some(timeout))).await
}

fn take(bounds: &Bounds, settings: &Settings, resource: &ConfigResource) {
    let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { return };
    let value = resource.get("max.message.bytes").and_then(|entry| entry.value.as_deref());
    let Some(stated) = value.and_then(|value| value.parse::<usize>().ok()) else { return };
    for topic in Topic::ALL.into_iter().filter(|topic| settings.output(*topic) == name) {
        let before = bounds.stated[topic as usize].swap(stated, Ordering::Relaxed);
        if stated < bounds.configured && stated != before {
            warn!(
                kafka.topic = name,
                max_bytes = stated,
                "{name} takes messages of at most {stated} bytes (max.message.bytes), less than \
                 kafka.max_message_bytes; larger ones are cut"
            );
        } else if before < bounds.configured && stated > before {
            info!(kafka.topic = name, max_bytes = stated, "{name} takes larger messages again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_is_only_about_its_topic_and_is_forgotten() {
        let bounds = Bounds::new(1_000);
        bounds.learn(Topic::Retry, 700);
        bounds.learn(Topic::Retry, 900);
        assert_eq!(bounds.limits(), [1_000, 1_000, 699]);
        assert!(bounds.is_holding_back());
        bounds.forget_lessons();
        assert_eq!(bounds.limits(), [1_000; 3]);
        assert!(!bounds.is_holding_back());
    }
}
