//! Checks the configuration of the four topics. Pure.
//!
//! A compacted topic keeps one record per key: of several claims, deferred claims or dead letters
//! with the same key, all but the last are silently removed. So a compacted topic is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use crate::findings::Finding;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Input,
    Output,
    Retry,
    DeadLetters,
}

impl Use {
    pub(super) const ALL: [Self; 4] = [Self::Input, Self::Output, Self::Retry, Self::DeadLetters];

    /// The key that names it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Input => "input_topic",
            Self::Output => "output_topic",
            Self::Retry => "retry_topic",
            Self::DeadLetters => "dead_letter_topic",
        }
    }

    pub(super) fn name(self, settings: &Settings) -> &str {
        match self {
            Self::Input => &settings.input_topic,
            Self::Output => &settings.output_topic,
            Self::Retry => &settings.retry_topic,
            Self::DeadLetters => &settings.dead_letter_topic,
        }
    }
}

/// A topic, as the broker describes it.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) used_as: Use,
    pub(super) partitions: i32,
    /// Its configuration, or why it cannot be read; `None` if the broker does not know the request.
    pub(super) configuration: Option<Result<BTreeMap<String, String>, String>>,
}

/// One finding for each topic, and one for each doubt about it.
pub(super) fn judge(
    settings: &Settings,
    give_up_after: Duration,
    topics: &[Topic],
) -> Vec<Finding> {
    let partitions = |used_as| {
        topics.iter().find(|topic| topic.used_as == used_as).map(|topic| topic.partitions)
    };
    let mut findings = Vec::new();
    for topic in topics {
        let what =
            format!("topic {} (kafka.{})", topic.used_as.name(settings), topic.used_as.key());
        let doubts = match &topic.configuration {
            None => Ok(Vec::new()),
            Some(Err(error)) => Ok(vec![format!(
                "its configuration cannot be read ({error}), so it is not known whether it is \
                 compacted; grant DescribeConfigs"
            )]),
            Some(Ok(configuration)) => {
                doubts(settings, give_up_after, topic.used_as, configuration)
            }
        };
        match doubts {
            Err(wrong) => findings.push(Finding::wrong(what, wrong)),
            Ok(doubts) if doubts.is_empty() => {
                findings.push(Finding::ok(what, format!("{} partitions", topic.partitions)));
            }
            Ok(doubts) => {
                findings.extend(doubts.into_iter().map(|doubt| Finding::warning(&what, doubt)))
            }
        }
    }
    if let (Some(input), Some(retry)) = (partitions(Use::Input), partitions(Use::Retry))
        && input != retry
    {
        findings.push(Finding::warning(
            "Kafka",
            format!(
                "kafka.retry_topic has {retry} partitions and kafka.input_topic {input}; give both \
                 the same number, or deferred claims are spread unevenly over the workers"
            ),
        ));
    }
    findings
}

/// What is doubtful about a topic.
///
/// # Errors
/// What is wrong.
fn doubts(
    settings: &Settings,
    give_up_after: Duration,
    used_as: Use,
    configuration: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let value = |name: &str| configuration.get(name).map(String::as_str);
    let number = |name: &str| {
        value(name).and_then(|value| value.parse::<i64>().ok()).filter(|value| *value >= 0)
    };
    let mut doubts = Vec::new();
    if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        doubts.push(compacted(used_as)?);
    }
    if used_as == Use::Retry {
        let retention = number("retention.ms").map(|ms| Duration::from_millis(ms.unsigned_abs()));
        if let Some(retention) = retention.filter(|retention| *retention < give_up_after) {
            doubts.push(format!(
                "retention.ms is {}, less than retry.give_up_after ({}): a deferred claim may be \
                 removed before it is decided",
                humantime::format_duration(retention),
                humantime::format_duration(give_up_after)
            ));
        }
        if number("retention.bytes").is_some() {
            doubts.push(
                "retention.bytes is set: deferred claims may be removed before they are decided; \
                 set it to -1"
                    .to_owned(),
            );
        }
    }
    let largest = number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok());
    let bound = settings.max_message_bytes;
    if let Some(largest) = largest.filter(|largest| used_as != Use::Input && *largest < bound) {
        doubts.push(format!(
            "max.message.bytes is {largest}, less than kafka.max_message_bytes ({bound}): larger \
             messages are refused and cut; raise the one or lower the other"
        ));
    }
    Ok(doubts)
}

/// What compaction does to a topic: here it removes decisions that late readers need.
///
/// # Errors
/// Here it removes records that were not processed yet.
fn compacted(used_as: Use) -> Result<String, String> {
    match used_as {
        Use::Output => Ok("cleanup.policy is compact: of the decisions of one key a late reader \
                           finds the last one only; set it to delete"
            .to_owned()),
        Use::Input | Use::Retry | Use::DeadLetters => Err("cleanup.policy is compact, so that of \
                the records of one key all but the last are removed; set it to delete"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::findings::Severity;

    fn topic(used_as: Use, partitions: i32, configuration: &[(&str, &str)]) -> Topic {
        let pairs =
            configuration.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Topic { used_as, partitions, configuration: Some(Ok(pairs.collect())) }
    }

    fn judged(topics: &[Topic]) -> Vec<Finding> {
        let settings = Config::from_toml("").expect("the defaults").kafka;
        judge(&settings, Duration::from_secs(86_400), topics)
    }

    #[test]
    fn compaction_is_an_error_where_one_key_has_several_records() {
        for (used_as, severity) in [
            (Use::Input, Severity::Wrong),
            (Use::Retry, Severity::Wrong),
            (Use::DeadLetters, Severity::Wrong),
            (Use::Output, Severity::Warning),
        ] {
            for policy in ["compact", "compact,delete"] {
                let findings = judged(&[topic(used_as, 8, &[("cleanup.policy", policy)])]);
                assert_eq!(findings[0].severity, severity, "{findings:?}");
                assert!(findings[0].place.contains(used_as.key()), "{findings:?}");
            }
            let findings = judged(&[topic(used_as, 8, &[("cleanup.policy", "delete")])]);
            assert_eq!(findings[0].severity, Severity::Ok, "{findings:?}");
        }
    }

    #[test]
    fn a_setting_that_may_lose_records_is_a_warning() {
        for (used_as, key, value, words) in [
            (Use::Retry, "retention.ms", "3600000", "retry.give_up_after"),
            (Use::Retry, "retention.bytes", "1000000", "retention.bytes"),
            (Use::Retry, "max.message.bytes", "1000", "kafka.max_message_bytes"),
            (Use::Output, "max.message.bytes", "1000", "kafka.max_message_bytes"),
            (Use::DeadLetters, "max.message.bytes", "1000", "kafka.max_message_bytes"),
        ] {
            let findings = judged(&[topic(used_as, 8, &[(key, value)])]);
            assert!(
                findings[0].severity == Severity::Warning && findings[0].sentence().contains(words),
                "{findings:?}"
            );
        }
        for (key, value) in
            [("retention.ms", "-1"), ("retention.bytes", "-1"), ("max.message.bytes", "1048588")]
        {
            assert_eq!(
                judged(&[topic(Use::Retry, 8, &[(key, value)])])[0].severity,
                Severity::Ok,
                "{key}"
            );
        }
        let findings = judged(&[topic(Use::Input, 8, &[]), topic(Use::Retry, 6, &[])]);
        assert_eq!(findings.last().map(|finding| finding.severity), Some(Severity::Warning));
    }

    #[test]
    fn a_configuration_that_may_not_be_read_is_no_fault() {
        let denied =
            Topic { configuration: Some(Err("denied".to_owned())), ..topic(Use::Input, 8, &[]) };
        assert_eq!(judged(&[denied])[0].severity, Severity::Warning);
        let unknown = Topic { configuration: None, ..topic(Use::Input, 8, &[]) };
        assert_eq!(judged(&[unknown])[0].severity, Severity::Ok);
    }
}
