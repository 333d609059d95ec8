//! Errors that stop the reader, logged once and with what to do.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use super::reader::Reader;
use crate::intake::Event;
use crate::kafka::is_outage;

/// What stops the consumer although brokers answer, in a sentence each.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    /// The group does not admit it.
    pub(super) group: Option<String>,
    /// It may not read a topic.
    pub(super) fetch: Option<String>,
}

impl Reader {
    pub(super) fn report(&self, error: &KafkaError) {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            let failed = Event::Failed(match code {
                RDKafkaErrorCode::FencedInstanceId => {
                    format!(
                        "another worker took over kafka.instance_id: give each worker its own \
                         ({reason})"
                    )
                }
                _ => format!("the consumer cannot go on: {reason} ({code})"),
            });
            // A worker that is gone needs no telling.
            drop(self.events.blocking_send(failed));
        } else if self.is_trouble(error) {
            // Logged once; repeated to the worker with the statistics while it lasts.
        } else if !is_outage(error) {
            // The statistics report an outage, once.
            warn!(error.message = %error, "the consumer reported an error and goes on");
        }
    }

    /// Whether an error stops the consumer until somebody fixes the cause. Logs it once.
    fn is_trouble(&self, error: &KafkaError) -> bool {
        let rebalances = self.consumer.context();
        let (group, [input, retry]) = (&rebalances.group_id, &rebalances.topics);
        let mut troubles = rebalances.troubles();
        let (trouble, sentence) = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InconsistentGroupProtocol) => (
                &mut troubles.group,
                format!(
                    "the group {group:?} (kafka.group_id) has members that are not claimgate: \
                     they use another assignment protocol; give claimgate its own group"
                ),
            ),
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => (
                &mut troubles.group,
                format!(
                    "Kafka does not let this principal into the group {group:?} (kafka.group_id): \
                     grant it READ on the group"
                ),
            ),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => (
                &mut troubles.fetch,
                format!(
                    "Kafka does not let this principal read {input:?} or {retry:?}: grant it READ \
                     on both"
                ),
            ),
            _ => return false,
        };
        if trouble.as_ref() != Some(&sentence) {
            warn!("{sentence}");
            *trouble = Some(sentence);
        }
        true
    }
}
