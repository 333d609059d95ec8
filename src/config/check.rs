//! What the types do not say: bounds of single values, and values that cannot work together.
//!
//! Pure. Each refusal is one sentence that names the key. The invariant: a configuration that
//! passed holds no value with which the worker would stand still, spin or overflow.

use std::time::Duration;

use super::{Config, ConfigError};
use crate::risk::Registry;

/// Longer than anybody means, and short enough to be added to any point in time.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// A worker that is killed loses the answers of this time at most.
const LONGEST_LINGER: Duration = Duration::from_secs(1);
/// librdkafka's bounds.
const SESSION_MAX: Duration = Duration::from_secs(3_600);
const TRANSACTION_MIN: Duration = Duration::from_secs(1);
/// Below this, not even a decision without its reasons would fit.
const MESSAGE_MIN_BYTES: usize = 4_096;

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            self.kafka.check(),
            self.check_kafka(),
            self.check_counts(),
            self.check_durations(),
            self.check_retry(),
            self.check_breaker(),
            self.dead_letters.check(),
            self.egress.check(),
        ];
        rules.into_iter().collect::<Result<(), String>>().map_err(ConfigError)
    }

    /// Checks what the risk APIs and the worker demand of each other.
    pub(super) fn check_together(&self, registry: &Registry) -> Result<(), ConfigError> {
        let drain = self.worker.drain_timeout;
        match registry.iter().find(|(_, route)| route.timeout > drain) {
            Some((_, route)) => Err(ConfigError(format!(
                "risk.{}.timeout ({}) is longer than worker.drain_timeout ({}): a stop would cut calls off and make them \
                 again; shorten the one or lengthen the other",
                route.api.name(),
                humantime::format_duration(route.timeout),
                humantime::format_duration(drain)
            ))),
            None => Ok(()),
        }
    }

    fn check_kafka(&self) -> Result<(), String> {
        let kafka = &self.kafka;
        let topics = [
            ("input_topic", kafka.input_topic.trim()),
            ("output_topic", kafka.output_topic.trim()),
            ("retry_topic", kafka.retry_topic.trim()),
            ("dead_letter_topic", kafka.dead_letter_topic.trim()),
        ];
        for (index, (key, topic)) in topics.iter().enumerate() {
            if let Some((earlier, _)) = topics[..index].iter().find(|(_, earlier)| earlier == topic)
            {
                return Err(format!(
                    "kafka.{key} and kafka.{earlier} are both {topic:?}; each needs a topic of its own"
                ));
            }
        }
        // A blank at the end of a group's name is another group.
        let names =
            [("group_id", Some(&kafka.group_id)), ("instance_id", kafka.instance_id.as_ref())];
        let topics = topics.iter().map(|(key, _)| *key).zip([
            Some(&kafka.input_topic),
            Some(&kafka.output_topic),
            Some(&kafka.retry_topic),
            Some(&kafka.dead_letter_topic),
        ]);
        let has_blanks = |name: &Option<&String>| {
            name.is_some_and(|name| !name.trim().is_empty() && name.contains(char::is_whitespace))
        };
        if let Some((key, _)) = names.into_iter().chain(topics).find(|(_, name)| has_blanks(name)) {
            return Err(format!(
                "kafka.{key} holds white space, which no such name has; remove it"
            ));
        }
        if kafka.instance_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return Err(
                "kafka.instance_id is empty; give each worker its own name, or leave the key out"
                    .to_owned(),
            );
        }
        if kafka.session_timeout > SESSION_MAX {
            return Err("kafka.session_timeout: must be no more than 1h".to_owned());
        }
        if kafka.transaction_timeout < TRANSACTION_MIN {
            return Err("kafka.transaction_timeout: must be at least 1s".to_owned());
        }
        if kafka.max_message_bytes < MESSAGE_MIN_BYTES {
            return Err(format!("kafka.max_message_bytes: must be at least {MESSAGE_MIN_BYTES}"));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), String> {
        let counts = [
            ("worker.threads", self.worker.threads),
            ("worker.max_in_flight", self.worker.max_in_flight),
            ("worker.max_in_flight_bytes", self.worker.max_in_flight_bytes),
            ("worker.max_batch", self.worker.max_batch),
            ("kafka.max_event_bytes", self.kafka.max_event_bytes),
            ("retry.max_waiting", self.retry.max_waiting),
            ("breaker.min_calls", self.breaker.min_calls as usize),
            ("breaker.probes", self.breaker.probes as usize),
            ("postgres.max_connections", self.postgres.max_connections as usize),
        ];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((key, _)) => Err(format!("{key}: must be at least 1")),
            None => Ok(()),
        }
    }

    fn check_durations(&self) -> Result<(), String> {
        let (kafka, retry, breaker) = (&self.kafka, &self.retry, &self.breaker);
        // Whether each may be 0.
        let durations = [
            ("kafka.session_timeout", kafka.session_timeout, false),
            ("kafka.transaction_timeout", kafka.transaction_timeout, false),
            ("kafka.request_timeout", kafka.request_timeout, false),
            ("postgres.connect_timeout", self.postgres.connect_timeout, false),
            ("postgres.statement_timeout", self.postgres.statement_timeout, false),
            ("worker.max_linger", self.worker.max_linger, true),
            ("worker.drain_timeout", self.worker.drain_timeout, false),
            ("retry.initial_interval", retry.initial_interval, false),
            ("retry.max_interval", retry.max_interval, false),
            ("retry.in_process_for", retry.in_process_for, true),
            ("retry.defer_interval", retry.defer_interval, false),
            ("retry.defer_max_interval", retry.defer_max_interval, false),
            ("retry.give_up_after", retry.give_up_after, false),
            ("retry.retry_after_max", retry.retry_after_max, true),
            ("breaker.window", breaker.window, false),
            ("breaker.open_for", breaker.open_for, false),
            ("breaker.open_max", breaker.open_max, false),
            ("breaker.access_denied_for", breaker.access_denied_for, false),
            ("dead_letters.window", self.dead_letters.window, false),
            ("dead_letters.probe_every", self.dead_letters.probe_every, false),
        ];
        for (key, duration, may_be_zero) in durations {
            if duration < Duration::from_millis(1) && !(may_be_zero && duration.is_zero()) {
                return Err(format!("{key}: must be at least 1ms"));
            }
            if duration > LONGEST {
                return Err(format!("{key}: must be no more than ten years"));
            }
        }
        if self.worker.max_linger > LONGEST_LINGER {
            return Err("worker.max_linger: must be no more than 1s".to_owned());
        }
        Ok(())
    }

    fn check_retry(&self) -> Result<(), String> {
        let retry = &self.retry;
        if !(retry.multiplier >= 1.0 && retry.multiplier.is_finite()) {
            return Err("retry.multiplier: must be at least 1".to_owned());
        }
        if retry.initial_interval > retry.max_interval {
            return Err(
                "retry.initial_interval: must be no more than retry.max_interval".to_owned()
            );
        }
        if retry.defer_interval > retry.defer_max_interval {
            return Err(
                "retry.defer_interval: must be no more than retry.defer_max_interval".to_owned()
            );
        }
        ratio("retry.budget.ratio", retry.budget.ratio)?;
        // With less, a retry could wait for ever.
        let budget = [
            ("retry.budget.per_second", retry.budget.per_second, f64::MIN_POSITIVE),
            ("retry.budget.reserve", retry.budget.reserve, 1.0),
        ];
        match budget.iter().find(|(_, value, least)| !(*value >= *least && value.is_finite())) {
            Some((key, ..)) if *key == "retry.budget.reserve" => {
                Err(format!("{key}: must be at least 1"))
            }
            Some((key, ..)) => Err(format!("{key}: must be more than 0")),
            None => Ok(()),
        }
    }

    fn check_breaker(&self) -> Result<(), String> {
        let breaker = &self.breaker;
        ratio("breaker.failure_ratio", breaker.failure_ratio)?;
        // At 0 a window of good calls would open it.
        if breaker.failure_ratio <= 0.0 {
            return Err("breaker.failure_ratio: must be more than 0".to_owned());
        }
        if breaker.open_for > breaker.open_max {
            return Err("breaker.open_for: must be no more than breaker.open_max".to_owned());
        }
        Ok(())
    }
}

fn ratio(key: &str, value: f64) -> Result<(), String> {
    match value {
        0.0..=1.0 => Ok(()),
        _ => Err(format!("{key}: must be between 0 and 1")),
    }
}
