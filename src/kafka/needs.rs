//! The settings that the four topics are created with, and the check of existing topics against
//! them. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use super::topics::Use;

/// The retention: how long all workers, or all readers, may be stopped without losing a record.
const LONGEST_STOP: Duration = Duration::from_hours(14 * 24);
/// The brokers' default of `message.max.bytes`.
const LARGEST_BY_DEFAULT: usize = 1_048_588;
/// With fewer in-sync replicas nothing is acknowledged: an acknowledged record is on two brokers.
const IN_SYNC: i32 = 2;

/// Which values of a setting are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// Only this one.
    Is(&'static str),
    /// This number or a larger one; also -1, which is no bound.
    AtLeast(u64),
}

impl Bound {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => value == *wanted,
            Self::AtLeast(least) => {
                value == "-1" || value.parse::<u64>().is_ok_and(|value| value >= *least)
            }
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(value) => f.write_str(value),
            Self::AtLeast(least) => write!(f, "{least}"),
        }
    }
}

/// A setting that a topic is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) name: &'static str,
    pub(super) bound: Bound,
}

impl Need {
    /// Its form for `kafka-configs.sh --add-config`.
    fn entry(&self) -> String {
        format!("{}={}", self.name, self.bound)
    }

    /// What is wrong with another value.
    fn difference(&self, value: &str) -> String {
        let least = if matches!(self.bound, Bound::AtLeast(_)) { " or more" } else { "" };
        format!("{} is {value} and should be {}{least}", self.name, self.bound)
    }
}

/// The settings of a topic: docs/deployment.md and docs/settlement.md say why.
pub(super) fn needs(
    settings: &Settings,
    give_up_after: Duration,
    replicas: i32,
    used_as: Use,
) -> Vec<Need> {
    let retention = match used_as {
        // A claim that was deferred just before the workers stopped.
        Use::Retry => LONGEST_STOP.saturating_add(give_up_after),
        Use::Input | Use::Output | Use::DeadLetters => LONGEST_STOP,
    };
    let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    // A claim has to fit into the retry topic, too.
    let largest = LARGEST_BY_DEFAULT.max(settings.max_message_bytes).max(settings.max_event_bytes);
    let in_sync = u64::try_from(replicas.clamp(1, IN_SYNC)).unwrap_or(1);
    let need = |name, bound| Need { name, bound };
    vec![
        need("cleanup.policy", Bound::Is("delete")),
        need("retention.ms", Bound::AtLeast(retention.min(i64::MAX.unsigned_abs()))),
        need("retention.bytes", Bound::Is("-1")),
        need("max.message.bytes", Bound::AtLeast(u64::try_from(largest).unwrap_or(u64::MAX))),
        need("min.insync.replicas", Bound::AtLeast(in_sync)),
        need("unclean.leader.election.enable", Bound::Is("false")),
    ]
}

/// The settings in one line.
pub(super) fn entries<'a>(needs: impl IntoIterator<Item = &'a Need>) -> String {
    needs.into_iter().map(Need::entry).collect::<Vec<_>>().join(",")
}

/// Where the configuration of a topic is not good enough: what is wrong, and what fixes it.
pub(super) fn differences<'a>(
    needs: &'a [Need],
    configuration: &BTreeMap<String, String>,
) -> (Vec<String>, Vec<&'a Need>) {
    let differs = |need: &'a Need| {
        let value = configuration.get(need.name)?;
        (!need.bound.holds(value)).then(|| (need.difference(value), need))
    };
    needs.iter().filter_map(differs).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn needed(toml: &str, replicas: i32, used_as: Use) -> String {
        let config = Config::from_toml(toml).expect("settings");
        entries(&needs(&config.kafka, config.retry.give_up_after, replicas, used_as))
    }

    #[test]
    fn a_topic_is_made_with_what_nothing_is_lost_with() {
        assert_eq!(
            needed("", 3, Use::Output),
            "cleanup.policy=delete,retention.ms=1209600000,retention.bytes=-1,\
             max.message.bytes=1048588,min.insync.replicas=2,unclean.leader.election.enable=false"
        );
        assert!(needed("", 1, Use::Output).contains("min.insync.replicas=1,"));
        let retry = needed("[retry]\ngive_up_after = '30days'", 3, Use::Retry);
        assert!(retry.contains("retention.ms=3801600000,"), "44 days: {retry}");
        for key in ["max_event_bytes", "max_message_bytes"] {
            for used_as in Use::ALL {
                let large = needed(&format!("[kafka]\n{key} = 5000000"), 3, used_as);
                assert!(large.contains("max.message.bytes=5000000,"), "{key}: {large}");
            }
        }
    }

    #[test]
    fn a_larger_number_suffices_and_another_word_does_not() {
        let config = Config::from_toml("").expect("the defaults");
        let needs = needs(&config.kafka, config.retry.give_up_after, 3, Use::Input);
        let told = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let (said, remedies) = differences(&needs, &entries.collect());
            assert_eq!(said.len(), remedies.len());
            said.join(", ")
        };
        let well = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "2000000"),
            ("min.insync.replicas", "3"),
            ("compression.type", "zstd"),
        ];
        assert_eq!(told(&well), "");
        for (key, value, said) in [
            ("cleanup.policy", "compact,delete", "should be delete"),
            ("retention.ms", "604800000", "is 604800000 and should be 1209600000 or more"),
            ("retention.bytes", "1000", "should be -1"),
            ("max.message.bytes", "1048000", "should be 1048588 or more"),
            ("min.insync.replicas", "1", "should be 2 or more"),
            ("unclean.leader.election.enable", "true", "should be false"),
        ] {
            let told = told(&[(key, value)]);
            assert!(told.starts_with(key) && told.ends_with(said), "{told}");
        }
    }
}
