//! The oracle: what was promised, held against what was seen.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::world::World;
use crate::claim::Claim;
use crate::decision::{Assessment, Policy, Ruling};
use crate::intake::deferral::Deferral;
use crate::intake::offset_map::OffsetMap;
use crate::intake::{Commit, Input, Partition, Record, header};
use crate::outbox::message::{Message, Topic};
use crate::schema::Verdict;
use crate::testing::RowFault;

/// A record's first position, as decisions and dead letters name it.
type Position = String;

struct Oracle<'a> {
    world: &'a World,
    verdicts: BTreeMap<String, Verdict>,
    /// The event behind each verdict, by its claim id.
    firsts: BTreeMap<String, Claim>,
    faults: Vec<String>,
    /// Claims whose decision is visible.
    decided: HashSet<String>,
    /// Positions whose dead letter is visible.
    dead_lettered: HashSet<Position>,
    /// Positions whose claim stands in the retry topic.
    deferred: BTreeMap<Position, u32>,
}

/// Everything that was promised and not kept.
pub(super) fn faults(world: &World) -> Vec<String> {
    let mut oracle = Oracle {
        world,
        verdicts: world.store.verdicts().into_iter().collect(),
        firsts: world.store.events().iter().filter_map(|event| claim(&event.payload)).collect(),
        faults: std::mem::take(&mut world.journal.notes().faults),
        decided: HashSet::new(),
        dead_lettered: HashSet::new(),
        deferred: BTreeMap::new(),
    };
    oracle.follow_transactions();
    oracle.look_at_the_end();
    oracle.look_at_calls();
    oracle.look_at_policies();
    oracle.faults
}

impl Oracle<'_> {
    /// Each transaction, in order: nothing visible that is not recorded, nothing committed that is
    /// not visible.
    fn follow_transactions(&mut self) {
        for transaction in self.world.broker.transactions() {
            for message in &transaction.messages {
                match message.topic {
                    Topic::Decisions => self.see_decision(message, transaction.at),
                    Topic::DeadLetters => {
                        let position = text(message, "claimgate-source");
                        if !self.dead_lettered.insert(position.clone()) {
                            self.faults.push(format!("{position}: two dead letters"));
                        }
                    }
                    Topic::Retry => {
                        let times = text(message, "claimgate-deferred").parse().unwrap_or(0);
                        let position = text(message, "claimgate-source");
                        if self
                            .deferred
                            .insert(position.clone(), times)
                            .is_some_and(|before| before >= times)
                        {
                            self.faults
                                .push(format!("{position}: deferred for the {times}. time again"));
                        }
                    }
                }
            }
            for commit in &transaction.commits {
                if !transaction.held.contains(&commit.partition) {
                    self.faults.push(format!(
                        "{commit:?}: committed by member {}, whose it is not",
                        transaction.member
                    ));
                }
                self.see_commit(commit);
            }
        }
    }

    fn see_decision(&mut self, message: &Message, at: tokio::time::Instant) {
        let payload = message.payload.as_deref().unwrap_or_default();
        let decision: Value = serde_json::from_slice(payload).unwrap_or_default();
        let claim_id = decision["claim_id"].as_str().unwrap_or_default().to_owned();
        if self.world.journal.notes().recorded.get(&claim_id).is_none_or(|recorded| *recorded > at)
        {
            self.faults.push(format!(
                "{claim_id}: its decision was visible before its verdict was recorded"
            ));
        }
        let verdict = self.verdicts.get(&claim_id);
        if verdict.is_none_or(|verdict| decision["decision"] != verdict.decision.as_str()) {
            self.faults.push(format!("{claim_id}: {decision} was published, {verdict:?} recorded"));
        }
        if !self.decided.insert(claim_id.clone()) {
            self.faults.push(format!("{claim_id}: decided twice"));
        }
    }

    fn see_commit(&mut self, commit: &Commit) {
        let map = match OffsetMap::decode(commit.offset, &commit.metadata, i64::MAX) {
            Ok(map) => map,
            Err(error) => return self.faults.push(format!("{commit:?}: {error}")),
        };
        let (end, open) = (map.end(), map.into_open());
        for record in self.world.broker.log(commit.partition).into_iter().flatten() {
            if record.offset < end && !open.contains(&record.offset) && !self.is_done(&record) {
                self.faults.push(format!(
                    "{:?}: committed as done, and nothing of it is visible",
                    position(self.world, &record)
                ));
            }
        }
    }

    /// Whether what was to become of a record is visible.
    fn is_done(&self, record: &Record) -> bool {
        let position = position(self.world, record);
        let times = Deferral::parse(&record.headers).map_or(0, |deferral| deferral.times);
        if self.dead_lettered.contains(&position)
            || self.deferred.get(&position).is_some_and(|deferred| *deferred > times)
        {
            return true;
        }
        let Some((claim_id, claim)) = claim(&record.payload) else { return false };
        let Some(verdict) = self.verdicts.get(&claim_id) else { return false };
        // The decision is the first event's to publish; one like it may be done with as soon as
        // there is a verdict.
        if verdict.source.to_string() == position {
            self.decided.contains(&claim_id) || self.world.broker.rejects(&claim_id)
        } else {
            self.firsts.get(&claim_id) == Some(&claim)
        }
    }

    /// Whether an event that the tables take became a dead letter though it is the claim that was
    /// decided, or one like it.
    fn is_wrong_dead_letter(&self, record: &Record) -> bool {
        let Some((claim_id, claim)) = claim(&record.payload) else { return false };
        self.dead_lettered.contains(&position(self.world, record))
            && !is_refused(self.world, &claim_id)
            && self.firsts.get(&claim_id) == Some(&claim)
    }

    /// Every record has had its end, and nothing else has had one.
    fn look_at_the_end(&mut self) {
        let mut positions = BTreeSet::new();
        let mut claim_ids = BTreeSet::new();
        let partitions: Vec<Partition> = self.world.broker.partitions();
        for partition in partitions {
            for record in self.world.broker.log(partition).into_iter().flatten() {
                if !self.is_done(&record) {
                    self.faults.push(format!("{}: lost", position(self.world, &record)));
                }
                if self.is_wrong_dead_letter(&record) {
                    let position = position(self.world, &record);
                    self.faults
                        .push(format!("{position}: a dead letter, and nothing is wrong with it"));
                }
                if partition.input == Input::Claims {
                    positions.insert(position(self.world, &record));
                    claim_ids.extend(claim(&record.payload).map(|(claim_id, _)| claim_id));
                }
            }
        }
        for claim_id in &claim_ids {
            let has_none = is_refused(self.world, claim_id) || self.world.broker.rejects(claim_id);
            if !self.decided.contains(claim_id) && !has_none {
                self.faults.push(format!("{claim_id}: no decision"));
            }
        }
        let strangers = self.decided.iter().filter(|id| !claim_ids.contains(*id));
        self.faults.extend(strangers.map(|id| format!("{id}: decided, and nobody sent it")));
        let strangers = self.dead_lettered.iter().filter(|position| !positions.contains(*position));
        self.faults.extend(
            strangers.map(|position| format!("{position}: a dead letter without an event")),
        );
        // A decision that its topic rejects is in no topic.
        let recorded = self.verdicts.keys().filter(|id| !self.world.broker.rejects(id));
        let recorded: BTreeSet<&String> = recorded.collect();
        if recorded != self.decided.iter().collect() {
            self.faults.push(format!("recorded: {recorded:?}, decided: {:?}", self.decided));
        }
        let letters = self.world.store.dead_letters();
        let rows: BTreeSet<Position> =
            letters.iter().map(|letter| letter.received.source.to_string()).collect();
        // A conflict that was recorded, and whose record somebody else then found to be a repeat,
        // keeps its row.
        let without = self.dead_lettered.iter().filter(|position| !rows.contains(*position));
        self.faults
            .extend(without.map(|position| format!("{position}: a dead letter without a row")));
    }

    /// No attempt is recorded that was not made, and none twice.
    fn look_at_calls(&mut self) {
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        for call in &self.world.journal.notes().calls {
            *made.entry(call.claim_id.clone()).or_default() += 1;
        }
        for call in self.world.store.calls() {
            match made.get_mut(&call.claim_id) {
                Some(left) if *left > 0 => *left -= 1,
                _ => self
                    .faults
                    .push(format!("{}: an attempt is recorded that nobody made", call.claim_id)),
            }
        }
    }

    /// The policy in force decided, and what the one in shadow rules otherwise is kept.
    fn look_at_policies(&mut self) {
        let (_, in_force) = self.world.config.risk_apis().expect("the settings are right");
        let shadow = self.world.config.shadow(&in_force).expect("there is one");
        let mut kept = self.world.store.shadows();
        for (claim_id, verdict) in &self.verdicts {
            let [ruling, other] = [&in_force, &shadow].map(|policy| rule(policy, verdict));
            if (ruling.decision, &ruling.reasons) != (verdict.decision, &verdict.reasons) {
                self.faults.push(format!("{claim_id}: {verdict:?} is not by the policy in force"));
            }
            let kept = kept.remove(claim_id).map(|kept| kept.decision);
            if kept != Some(other.decision).filter(|other| *other != ruling.decision) {
                self.faults.push(format!("{claim_id}: {other:?} in shadow, {kept:?} kept"));
            }
        }
        self.faults.extend(kept.keys().map(|id| format!("{id}: ruled on in shadow alone")));
    }
}

/// What a policy rules on what a verdict rests on.
fn rule(policy: &Policy, verdict: &Verdict) -> Ruling {
    let reason = verdict.reasons.first();
    let name = reason.and_then(|reason| reason.name.as_deref()).unwrap_or_default();
    match (verdict.level.and_then(|level| u8::try_from(level).ok()), reason) {
        (Some(level), _) => {
            let risk_types = verdict.risk_types.clone();
            policy.rule(&verdict.api, &Assessment::Level { level, risk_types }, |_| None)
        }
        (None, Some(reason)) if reason.code == "unassessed" => {
            policy.unassessed(name, reason.value)
        }
        (None, _) => policy.unassessable(name, verdict.provider_code),
    }
}

/// Whether the store refuses rows of a claim.
fn is_refused(world: &World, claim_id: &str) -> bool {
    matches!(world.row_fault(claim_id), Some(RowFault::Verdict | RowFault::Attempts))
}

/// A claim and its id, where an event is one.
fn claim(payload: &Option<Vec<u8>>) -> Option<(String, Claim)> {
    let claim = Claim::parse(payload.as_deref(), usize::MAX).ok()?;
    Some((claim.claim_id.clone(), claim))
}

/// Where a record's event first stood.
fn position(world: &World, record: &Record) -> Position {
    match header(&record.headers, "claimgate-source") {
        Some(source) => String::from_utf8_lossy(source).into_owned(),
        None => {
            let topic = world.config.kafka.topic(record.partition.input);
            format!("{topic}/{}/{}", record.partition.number, record.offset)
        }
    }
}

fn text(message: &Message, name: &str) -> String {
    header(&message.headers, name)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default()
}
