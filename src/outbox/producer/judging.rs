//! What a failed flush means for the worker: to be tried again, or the end.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::command::NotPublished;
use super::failure::Failure;
use super::transactions::Transactions;
use crate::kafka::client_error;
use crate::outbox::PublishError;

impl Transactions {
    pub(super) fn not_published(&self, failure: Failure) -> NotPublished {
        let error = match failure {
            Failure::Refused(refused) => return NotPublished::Refused(refused),
            Failure::Aborted(error) | Failure::Uncertain(error) => self.judge(&error),
            Failure::Unread(error) => PublishError::Aborted(format!(
                "whether the last commit took place cannot be read: {}",
                client_error(&error)
            )),
            Failure::Topic(topic, code) => match self.judge(&KafkaError::MessageProduction(code)) {
                PublishError::Aborted(_) => PublishError::Aborted(format!(
                    "topic {:?} rejects messages: {code}",
                    self.settings.output(topic)
                )),
                other => other,
            },
        };
        NotPublished::Failed(match error {
            PublishError::Aborted(reason) if self.doubt.is_open() => {
                PublishError::Uncertain(reason)
            }
            error => error,
        })
    }

    fn judge(&self, error: &KafkaError) -> PublishError {
        if let Some(id) = &self.settings.instance_id
            && self.has_lost_its_name(error)
        {
            return PublishError::Fatal(format!(
                "another worker took over kafka.instance_id {id:?}: give each worker its own ({})",
                client_error(error)
            ));
        }
        let authorization = [
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::GroupAuthorizationFailed,
            RDKafkaErrorCode::ClusterAuthorizationFailed,
        ];
        if error.rdkafka_error_code().is_some_and(|code| authorization.contains(&code)) {
            return PublishError::Fatal(format!(
                "Kafka refuses the worker's principal: {}",
                client_error(error)
            ));
        }
        PublishError::Aborted(client_error(error))
    }

    /// Whether the group says that another member has this worker's name. That a producer was
    /// fenced says less: the broker does that to a transaction that outlived its time, too.
    pub(super) fn has_lost_its_name(&self, error: &KafkaError) -> bool {
        let fatal = self.consumer.client().fatal_error();
        let codes = [fatal.map(|(code, _)| code), error.rdkafka_error_code()];
        codes.contains(&Some(RDKafkaErrorCode::FencedInstanceId))
    }
}
