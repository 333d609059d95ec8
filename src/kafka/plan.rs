//! Which topics are to be created, and the finding for each. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use super::needs::{Need, differences, entries, needs};
use super::topics::Use;
use crate::findings::Finding;

/// The partitions of a new topic without `--partitions`; no more workers than that get work.
const PARTITIONS: i32 = 12;

/// How topics are to be created.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// How many partitions a new topic gets. The retry topic gets as many as the claims have.
    pub partitions: Option<i32>,
    /// The replicas of each partition.
    pub replicas: i32,
    /// Whether the broker only validates the request.
    pub dry_run: bool,
}

/// An existing topic.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) partitions: i32,
    pub(super) replicas: i32,
    /// Its configuration, or why it cannot be read; `None` if the broker does not know the request.
    pub(super) configuration: Option<Result<BTreeMap<String, String>, String>>,
}

impl Found {
    fn is_compacted(&self) -> bool {
        let configuration = self.configuration.as_ref().and_then(|read| read.as_ref().ok());
        let policy = configuration.and_then(|configuration| configuration.get("cleanup.policy"));
        policy.is_some_and(|policy| policy.contains("compact"))
    }
}

/// What a topic should be, and what it is.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) used_as: Use,
    pub(super) partitions: i32,
    pub(super) replicas: i32,
    needs: Vec<Need>,
    pub(super) found: Option<Found>,
}

/// One plan for each topic.
pub(super) fn plans(
    settings: &Settings,
    wish: Wish,
    give_up_after: Duration,
    topics: Vec<(Use, Option<Found>)>,
) -> Vec<Plan> {
    let found_as = |wanted: Use| {
        let found = topics.iter().find(|(used_as, _)| *used_as == wanted);
        found.and_then(|(_, found)| found.as_ref()).map(|found| found.partitions)
    };
    // Both topics have the same number: a claims topic that is created again gets as many as the
    // existing retry topic.
    let (claims, retry) = (found_as(Use::Input), found_as(Use::Retry));
    let plan = |(used_as, found): (Use, Option<Found>)| {
        let there = found.as_ref().map(|found| found.partitions);
        let partitions = match used_as {
            Use::Retry => claims.or(wish.partitions).or(there),
            Use::Input => wish.partitions.or(there).or(retry),
            Use::Output | Use::DeadLetters => wish.partitions.or(there),
        };
        // If it needed more in-sync replicas than it has, nothing could be written to it.
        let copies = found.as_ref().map_or(wish.replicas, |found| found.replicas);
        let needs = needs(settings, give_up_after, copies.min(wish.replicas), used_as);
        let partitions = partitions.unwrap_or(PARTITIONS);
        Plan { used_as, partitions, replicas: wish.replicas, needs, found }
    };
    topics.into_iter().map(plan).collect()
}

impl Plan {
    pub(super) fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// The settings that it is created with.
    pub(super) fn entries(&self) -> Vec<(&str, String)> {
        self.needs.iter().map(|need| (need.name, need.bound.to_string())).collect()
    }

    fn place(&self, settings: &Settings) -> String {
        format!("topic {} (kafka.{})", self.used_as.name(settings), self.used_as.key())
    }

    /// The finding for a new topic.
    pub(super) fn made(
        &self,
        settings: &Settings,
        dry_run: bool,
        result: Result<(), String>,
    ) -> Finding {
        let done = if dry_run { "would be created" } else { "was created" };
        let (partitions, replicas) = (self.partitions, self.replicas);
        let made = result.map(|()| {
            format!(
                "{done}: {partitions} partitions, replication factor {replicas}, {}",
                entries(&self.needs).replace(',', ", ")
            )
        });
        Finding::of(self.place(settings), made)
    }

    /// The findings for an existing topic.
    pub(super) fn left_alone(&self, settings: &Settings, found: &Found) -> Finding {
        let mut faults = self.configured(settings, found);
        faults.extend(self.divided(settings, found));
        faults.extend(self.copied(found));
        let (said, remedies): (Vec<String>, Vec<String>) = faults.into_iter().unzip();
        let left = "exists and is left unchanged";
        if said.is_empty() {
            let (partitions, replicas) = (found.partitions, found.replicas);
            let like = format!("{left}: {partitions} partitions, replication factor {replicas}");
            return Finding::ok(self.place(settings), like);
        }
        let sentence = format!("{left}: {}; {}", said.join(", "), remedies.join("; "));
        // As in `check`: no worker starts with a compacted topic.
        if found.is_compacted() && self.used_as != Use::Output {
            return Finding::wrong(self.place(settings), sentence);
        }
        Finding::warning(self.place(settings), sentence)
    }

    /// Where its settings are not good enough, and what fixes that.
    fn configured(&self, settings: &Settings, found: &Found) -> Vec<(String, String)> {
        let configuration = match &found.configuration {
            None => return Vec::new(),
            Some(Err(error)) => {
                let said = format!("its configuration cannot be read ({error})");
                return vec![(said, "grant DescribeConfigs on it".to_owned())];
            }
            Some(Ok(configuration)) => configuration,
        };
        let (said, mends) = differences(&self.needs, configuration);
        if said.is_empty() {
            return Vec::new();
        }
        let name = self.used_as.name(settings);
        let add = entries(mends);
        let arguments =
            format!("--alter --entity-type topics --entity-name {name} --add-config {add}");
        vec![(said.join(", "), command(settings, "kafka-configs.sh", &arguments))]
    }

    /// Whether it has too few partitions; the retry topic has to have as many as the claims.
    fn divided(&self, settings: &Settings, found: &Found) -> Option<(String, String)> {
        let (has, wanted, is_retry) =
            (found.partitions, self.partitions, self.used_as == Use::Retry);
        if has == wanted || (has > wanted && !is_retry) {
            return None;
        }
        let reason = if is_retry { ", as kafka.input_topic" } else { "" };
        let said = format!("it has {has} partitions and should have {wanted}{reason}");
        if has > wanted {
            let remedy = "give kafka.input_topic as many (keys move to other partitions then), or \
                          name another kafka.retry_topic";
            return Some((said, remedy.to_owned()));
        }
        let arguments =
            format!("--alter --topic {} --partitions {wanted}", self.used_as.name(settings));
        let moves = if is_retry { "" } else { " (keys move to other partitions then)" };
        Some((said, command(settings, "kafka-topics.sh", &arguments) + moves))
    }

    /// Whether it is on too few brokers.
    fn copied(&self, found: &Found) -> Option<(String, String)> {
        let (has, wanted) = (found.replicas, self.replicas);
        (has < wanted).then(|| {
            let said = format!("its replication factor is {has} and should be {wanted}");
            (said, "give it more with kafka-reassign-partitions.sh".to_owned())
        })
    }
}

/// A command of Kafka, as it is typed.
fn command(settings: &Settings, program: &str, arguments: &str) -> String {
    let login = if settings.properties.is_empty() { "" } else { " --command-config FILE" };
    format!("{program} --bootstrap-server {}{login} {arguments}", settings.bootstrap_servers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::findings::Severity;

    fn found(partitions: i32, configuration: &[(&str, &str)]) -> Option<Found> {
        let pairs =
            configuration.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Some(Found { partitions, replicas: 3, configuration: Some(Ok(pairs.collect())) })
    }

    fn planned(partitions: Option<i32>, topics: Vec<(Use, Option<Found>)>) -> Vec<Plan> {
        let config = Config::from_toml("").expect("the defaults");
        let wish = Wish { partitions, replicas: 3, dry_run: false };
        plans(&config.kafka, wish, config.retry.give_up_after, topics)
    }

    /// The finding for a topic with this number of partitions if the claims have another number.
    fn told(used_as: Use, claims: i32, found: Option<Found>) -> Finding {
        let settings = Config::from_toml("").expect("the defaults").kafka;
        let claims = self::found(claims, &[]);
        let plans = planned(Some(6), vec![(Use::Input, claims), (used_as, found.clone())]);
        plans[1].left_alone(&settings, &found.expect("it is there"))
    }

    #[test]
    fn the_retry_topic_gets_as_many_partitions_as_the_claims_have() {
        let numbers = |partitions, claims| {
            let topics = vec![(Use::Retry, None), (Use::Input, claims), (Use::Output, None)];
            planned(partitions, topics).iter().map(|plan| plan.partitions).collect::<Vec<_>>()
        };
        assert_eq!(numbers(None, None), [12, 12, 12]);
        assert_eq!(numbers(Some(6), None), [6, 6, 6]);
        assert_eq!(numbers(Some(6), found(24, &[])), [24, 6, 6]);
        assert_eq!(numbers(None, found(24, &[])), [24, 24, 12]);
    }

    #[test]
    fn a_new_claims_topic_gets_the_retry_topics_partitions() {
        let numbers = |partitions| {
            let topics = vec![(Use::Input, None), (Use::Retry, found(24, &[]))];
            planned(partitions, topics).iter().map(|plan| plan.partitions).collect::<Vec<_>>()
        };
        assert_eq!(numbers(None), [24, 24]);
        assert_eq!(numbers(Some(6)), [6, 6], "as somebody wishes");
    }

    #[test]
    fn a_topic_that_falls_short_is_told_with_what_mends_it() {
        for (used_as, partitions, said) in [
            (Use::Retry, 3, "should have 6, as kafka.input_topic; kafka-topics.sh"),
            (Use::Retry, 9, "should have 6, as kafka.input_topic; give kafka.input_topic"),
            (Use::Output, 3, "3 partitions and should have 6; kafka-topics.sh --bootstrap-server"),
        ] {
            let told = told(used_as, 6, found(partitions, &[]));
            assert_eq!(told.severity, Severity::Warning);
            assert!(told.sentence().contains(said), "{told}");
        }
        for (used_as, found) in [(Use::Retry, found(6, &[])), (Use::Output, found(9, &[]))] {
            assert_eq!(told(used_as, 6, found).severity, Severity::Ok);
        }
        let on_one =
            Found { replicas: 1, ..found(6, &[("min.insync.replicas", "1")]).expect("it") };
        let sentence = told(Use::Output, 6, Some(on_one)).sentence();
        let said = "its replication factor is 1 and should be 3; give it more";
        assert!(sentence.contains(said) && !sentence.contains("min.insync"), "{sentence}");
        let compacted = || found(6, &[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
        assert_eq!(told(Use::Output, 6, compacted()).severity, Severity::Warning);
        let told = told(Use::DeadLetters, 6, compacted());
        assert_eq!(told.severity, Severity::Wrong);
        let remedy = told.remedy.expect("a command");
        let change = "--alter --entity-type topics --entity-name reward.claims.dead-letter \
                      --add-config cleanup.policy=delete,retention.ms=1209600000";
        assert!(remedy.ends_with(change), "{remedy}");
    }
}
