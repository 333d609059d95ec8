//! What a [`FakeBroker`](super::FakeBroker) keeps: logs, committed offsets, transactions.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tokio::time::Instant;

use super::group::Group;
use super::{Rejected, Transaction};
use crate::intake::{Commit, Headers, Input, Partition, Record};
use crate::outbox::message::{Message, Topic};
use crate::testing::FaultProfile;

/// A transaction that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) member: u64,
    pub(super) held: BTreeSet<Partition>,
    pub(super) producer: (String, u32),
    pub(super) messages: Vec<Message>,
    pub(super) commits: Vec<Commit>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) logs: BTreeMap<Partition, Vec<Option<Record>>>,
    pub(super) committed: BTreeMap<Partition, (i64, String)>,
    pub(super) open: BTreeMap<u64, Open>,
    pub(super) transactions: Vec<Transaction>,
    /// The newest epoch of each producer's name.
    pub(super) producers: BTreeMap<String, u32>,
    pub(super) group: Group,
    pub(super) next_id: u64,
    pub(super) faults: FaultProfile,
    /// The largest message that the retry topic takes.
    pub(super) deferred_max_bytes: usize,
    /// Claims whose decisions their topic rejects.
    pub(super) rejected: BTreeSet<String>,
}

/// The offset after the last.
pub(super) fn end(log: &[Option<Record>]) -> i64 {
    i64::try_from(log.len()).unwrap_or(i64::MAX)
}

impl State {
    pub(super) fn new(partitions: Vec<Partition>, random: Rng) -> Self {
        Self {
            logs: partitions.iter().map(|partition| (*partition, Vec::new())).collect(),
            committed: BTreeMap::new(),
            open: BTreeMap::new(),
            transactions: Vec::new(),
            producers: BTreeMap::new(),
            group: Group::new(partitions, random),
            next_id: 0,
            faults: FaultProfile::none(),
            deferred_max_bytes: usize::MAX,
            rejected: BTreeSet::new(),
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn log(&mut self, partition: Partition) -> &mut Vec<Option<Record>> {
        self.logs.entry(partition).or_default()
    }

    pub(super) fn append(
        &mut self,
        partition: Partition,
        key: Option<Vec<u8>>,
        headers: Headers,
        payload: Option<Vec<u8>>,
    ) -> i64 {
        let log = self.log(partition);
        let offset = end(log);
        let record = Record { partition, offset, epoch: 0, key, headers, payload, written_at: 0 };
        log.push(Some(record));
        offset
    }

    /// The partitions that the member is to have and can take: no open transaction would still
    /// change what is committed for them or for their retry partitions.
    pub(super) fn free_for(&self, member: u64) -> Vec<Partition> {
        let is_open = |partition: &Partition| {
            let mut commits = self.open.values().flat_map(|open| &open.commits);
            commits
                .any(|commit| self.group.beside(commit.partition) == self.group.beside(*partition))
        };
        self.group.free_for(member).filter(|partition| !is_open(partition)).collect()
    }

    pub(super) fn admits(&self, member: u64, producer: &(String, u32)) -> Result<(), Rejected> {
        if self.producers.get(&producer.0) != Some(&producer.1) {
            return Err(Rejected::Fenced);
        }
        if self.group.is_member(member) { Ok(()) } else { Err(Rejected::NoMember) }
    }

    pub(super) fn commit(&mut self, open: Open) -> Result<(), Rejected> {
        // The group was checked when the offsets were sent; from then on only the coordinator ends
        // the transaction.
        if self.producers.get(&open.producer.0) != Some(&open.producer.1) {
            return Err(Rejected::Fenced);
        }
        for commit in &open.commits {
            self.committed.insert(commit.partition, (commit.offset, commit.metadata.clone()));
        }
        for deferred in open.messages.iter().filter(|message| message.topic == Topic::Retry) {
            let count =
                self.logs.keys().filter(|partition| partition.input == Input::Retry).count();
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            let Some(number) = deferred.partition.and_then(|number| number.checked_rem(count))
            else {
                continue;
            };
            self.append(
                Partition::retry(number),
                deferred.key.clone(),
                deferred.headers.clone(),
                deferred.payload.clone(),
            );
        }
        let Open { member, held, messages, commits, .. } = open;
        self.transactions.push(Transaction { at: Instant::now(), member, held, messages, commits });
        Ok(())
    }
}
