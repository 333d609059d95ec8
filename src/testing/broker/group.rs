//! The consumer group of a [`FakeBroker`](super::FakeBroker): its members, which partition each is
//! to have, and which it has.
//!
//! The partitions of the input topic are assigned; those of the retry topic follow them.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use crate::intake::{Input, Partition};

/// A group. Pure: the broker owns it.
#[derive(Debug)]
pub(super) struct Group {
    /// Of the input topic.
    partitions: Vec<Partition>,
    /// Of the retry topic.
    retry: Vec<Partition>,
    /// Each member's name.
    members: BTreeMap<u64, String>,
    /// Members that were replaced by another one with the same name.
    replaced: BTreeSet<u64>,
    /// Which member is to have which partition…
    target: BTreeMap<Partition, u64>,
    /// …and which one has it.
    owners: BTreeMap<Partition, u64>,
    random: Rng,
}

impl Group {
    pub(super) fn new(partitions: Vec<Partition>, random: Rng) -> Self {
        let (partitions, retry) =
            partitions.into_iter().partition(|partition| partition.input == Input::Claims);
        Self {
            partitions,
            retry,
            members: BTreeMap::new(),
            replaced: BTreeSet::new(),
            target: BTreeMap::new(),
            owners: BTreeMap::new(),
            random,
        }
    }

    /// A new member. One that has its name already is replaced by it, and its partitions are free
    /// at once (static membership).
    pub(super) fn join(&mut self, member: u64, name: &str) {
        let namesakes = self.members.iter().filter(|(_, other)| *other == name);
        self.replaced.extend(namesakes.map(|(member, _)| *member));
        self.expel(name);
        self.members.insert(member, name.to_owned());
        self.deal();
    }

    pub(super) fn leave(&mut self, member: u64) {
        if let Some(name) = self.members.get(&member).cloned() {
            self.expel(&name);
        }
    }

    /// Removes the member with this name.
    pub(super) fn expel(&mut self, name: &str) {
        let gone: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, other)| *other == name)
            .map(|(member, _)| *member)
            .collect();
        if gone.is_empty() {
            return;
        }
        self.members.retain(|member, _| !gone.contains(member));
        self.owners.retain(|_, owner| !gone.contains(owner));
        self.deal();
    }

    pub(super) fn is_member(&self, member: u64) -> bool {
        self.members.contains_key(&member)
    }

    pub(super) fn is_replaced(&self, member: u64) -> bool {
        self.replaced.contains(&member)
    }

    /// Whether a partition is to be this member's.
    pub(super) fn is_meant_for(&self, partition: Partition, member: u64) -> bool {
        self.target.get(&partition) == Some(&member)
    }

    /// The partitions that the member is to have and that no member has.
    pub(super) fn free_for(&self, member: u64) -> impl Iterator<Item = Partition> {
        let mine = self.target.iter().filter(move |(_, target)| **target == member);
        mine.map(|(partition, _)| *partition)
            .filter(|partition| !self.owners.contains_key(partition))
    }

    pub(super) fn take(&mut self, partition: Partition, member: u64) {
        self.owners.insert(partition, member);
    }

    pub(super) fn give_back(&mut self, member: u64, partitions: &[Partition]) {
        self.owners.retain(|partition, owner| *owner != member || !partitions.contains(partition));
    }

    /// The partitions that the member has.
    pub(super) fn held_by(&self, member: u64) -> BTreeSet<Partition> {
        let held = self.owners.iter().filter(|(_, owner)| **owner == member);
        held.map(|(partition, _)| *partition).collect()
    }

    /// The partition of the input topic that goes with this one.
    pub(super) fn beside(&self, partition: Partition) -> Partition {
        let claims = i32::try_from(self.partitions.len()).unwrap_or(i32::MAX);
        Partition::claims(partition.number.checked_rem(claims).unwrap_or(0))
    }

    /// Assigns the partitions: each member gets a fair share, and most partitions stay where they
    /// are.
    pub(super) fn deal(&mut self) {
        self.deal_claims();
        for retry in &self.retry {
            if let Some(member) = self.target.get(&self.beside(*retry)).copied() {
                self.target.insert(*retry, member);
            }
        }
    }

    fn deal_claims(&mut self) {
        let share = self.partitions.len().div_ceil(self.members.len().max(1));
        self.random.shuffle(&mut self.partitions);
        let before = std::mem::take(&mut self.target);
        let mut dealt: BTreeMap<u64, usize> =
            self.members.keys().map(|member| (*member, 0)).collect();
        let mut free = Vec::new();
        for partition in &self.partitions {
            let count = before.get(partition).and_then(|member| dealt.get_mut(member));
            match count.filter(|count| **count < share) {
                Some(count) if self.random.u8(..) < 200 => {
                    *count += 1;
                    self.target.insert(*partition, before[partition]);
                }
                _ => free.push(*partition),
            }
        }
        for partition in free {
            let fewest = dealt.values().min().copied().unwrap_or(0);
            let poorest = dealt.iter_mut().filter(|(_, count)| **count == fewest);
            let Some((member, count)) = self.random.choice(poorest.collect::<Vec<_>>()) else {
                return;
            };
            *count += 1;
            self.target.insert(partition, *member);
        }
    }
}
