//! A Kafka in memory: logs, a consumer group and transactions, as far as the worker's guarantees
//! depend on them.
//!
//! It behaves like the real one in these points (`tests/it/topic` tests both): a transaction is
//! visible completely or not at all; offsets are committed with their metadata, in the transaction;
//! a worker that is no longer a member of the group, or whose producer was replaced by a newer one
//! with the same name, commits nothing; committed offsets are read only when no transaction that
//! would change them is open.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use tokio::time::Instant;

use super::FaultProfile;
use super::signal::Signal;
use crate::intake::{Commit, Headers, Partition, Record};
use crate::outbox::message::Message;

mod group;
mod state;

use state::{Open, State, end};

/// A broker. Clones share it.
#[derive(Debug, Clone)]
pub struct FakeBroker {
    state: Arc<Mutex<State>>,
    changed: Signal,
}

/// A committed transaction.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// When it was committed.
    pub at: Instant,
    /// The producer's name.
    pub member: u64,
    /// The partitions that its member had when it began.
    pub held: BTreeSet<Partition>,
    /// The messages that it published.
    pub messages: Vec<Message>,
    /// The offsets that it committed.
    pub commits: Vec<Commit>,
}

/// Why a transaction cannot go on.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The member is not in the group any more.
    NoMember,
    /// A newer producer has the name.
    Fenced,
    /// It has already ended.
    Over,
}

/// What the new owner of a partition reads: the committed offset and metadata, and the end of the
/// log.
pub(super) type Acquired = (Partition, Option<(i64, String)>, i64);

impl FakeBroker {
    /// A broker with this many partitions of claims and of deferred claims, all empty.
    pub fn new(claims: i32, retry: i32, random: Rng) -> Self {
        let partitions = (0..claims).map(Partition::claims).chain((0..retry).map(Partition::retry));
        let state = State::new(partitions.collect(), random);
        Self { state: Arc::new(Mutex::new(state)), changed: Signal::default() }
    }

    /// Adds an event to a log; its offset.
    pub fn produce(
        &self,
        partition: Partition,
        key: Option<Vec<u8>>,
        headers: Headers,
        payload: Option<Vec<u8>>,
    ) -> i64 {
        self.change(|state| state.append(partition, key, headers, payload))
    }

    /// Adds an offset that no record has: a transaction's marker, or what compaction left.
    pub fn skip(&self, partition: Partition) {
        self.change(|state| state.log(partition).push(None));
    }

    /// From now on the broker shows these faults.
    pub fn set_faults(&self, faults: FaultProfile) {
        self.change(|state| state.faults = faults);
    }

    /// From now on the retry topic takes no message that is larger.
    pub fn set_deferred_max_bytes(&self, max_bytes: usize) {
        self.change(|state| state.deferred_max_bytes = max_bytes);
    }

    /// From now on their topic rejects decisions about this claim, however short they are.
    pub fn reject_decision(&self, claim_id: &str) {
        self.change(|state| state.rejected.insert(claim_id.to_owned()));
    }

    /// Whether decisions about this claim are rejected.
    pub fn rejects(&self, claim_id: &str) -> bool {
        self.state().rejected.contains(claim_id)
    }

    /// Assigns the partitions again.
    pub fn rebalance(&self) {
        self.change(|state| state.group.deal());
    }

    /// Removes the member with this name from the group, as the end of its session does.
    pub fn expel(&self, name: &str) {
        self.change(|state| state.group.expel(name));
    }

    /// All committed transactions, in order.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.state().transactions.clone()
    }

    /// The records of a partition by offset; `None` if an offset has no record.
    pub fn log(&self, partition: Partition) -> Vec<Option<Record>> {
        self.state().logs.get(&partition).cloned().unwrap_or_default()
    }

    /// The partitions.
    pub fn partitions(&self) -> Vec<Partition> {
        self.state().logs.keys().copied().collect()
    }

    /// The committed offset and metadata of a partition.
    pub fn committed(&self, partition: Partition) -> Option<(i64, String)> {
        self.state().committed.get(&partition).cloned()
    }

    /// Whether every record is below its partition's committed offset.
    pub fn has_no_lag(&self) -> bool {
        let state = self.state();
        let records = |partition: &Partition| {
            let last = state.logs[partition].iter().rposition(Option::is_some);
            last.map_or(0, |last| last + 1)
        };
        state.logs.keys().all(|partition| {
            let committed = state.committed.get(partition).map_or(0, |(offset, _)| *offset);
            usize::try_from(committed).is_ok_and(|committed| committed >= records(partition))
        })
    }

    /// Waits until a condition holds.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        self.changed.until(|| holds(self)).await;
    }

    /// Wakes all waiters, so that they check again.
    pub(super) fn touch(&self) {
        self.changed.raise();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.raise();
        result
    }

    pub(super) fn deferred_max_bytes(&self) -> usize {
        self.state().deferred_max_bytes
    }

    pub(super) fn faults(&self) -> FaultProfile {
        self.state().faults.clone()
    }

    /// A new member; its number.
    pub(super) fn join(&self, name: &str) -> u64 {
        self.change(|state| {
            let member = state.id();
            state.group.join(member, name);
            member
        })
    }

    pub(super) fn leave(&self, member: u64) {
        self.change(|state| state.group.leave(member));
    }

    pub(super) fn is_member(&self, member: u64) -> bool {
        self.state().group.is_member(member)
    }

    pub(super) fn is_replaced(&self, member: u64) -> bool {
        self.state().group.is_replaced(member)
    }

    /// Which of these partitions the member is to give back.
    pub(super) fn to_give_back(
        &self,
        member: u64,
        held: impl Iterator<Item = Partition>,
    ) -> Vec<Partition> {
        let state = self.state();
        held.filter(|partition| !state.group.is_meant_for(*partition, member)).collect()
    }

    pub(super) fn give_back(&self, member: u64, partitions: &[Partition]) {
        self.change(|state| state.group.give_back(member, partitions));
    }

    pub(super) fn has_free(&self, member: u64) -> bool {
        !self.state().free_for(member).is_empty()
    }

    /// The offset after the last.
    pub(super) fn end(&self, partition: Partition) -> i64 {
        end(&self.state().logs[&partition])
    }

    /// Takes the free partitions that the member is to have, if no open transaction would still
    /// change what is committed for them.
    pub(super) fn acquire(&self, member: u64) -> Vec<Acquired> {
        self.change(|state| {
            let free = state.free_for(member);
            let take = |partition| {
                state.group.take(partition, member);
                (partition, state.committed.get(&partition).cloned(), end(&state.logs[&partition]))
            };
            free.into_iter().map(take).collect()
        })
    }

    /// Records from an offset on, at most this many, and the offset after them.
    pub(super) fn read(&self, partition: Partition, from: i64, most: usize) -> (Vec<Record>, i64) {
        let state = self.state();
        let (mut records, mut next) = (Vec::new(), from);
        for entry in state.logs[&partition].iter().skip(usize::try_from(from).unwrap_or(0)) {
            if records.len() == most {
                break;
            }
            records.extend(entry.clone());
            next += 1;
        }
        (records, next)
    }

    /// A new producer of this name: the open transaction of an older one is aborted, and what it
    /// still sends is refused. Returns its epoch.
    pub(super) fn make_producer(&self, name: &str) -> u32 {
        self.change(|state| {
            state.open.retain(|_, open| open.producer.0 != name);
            let epoch = state.producers.entry(name.to_owned()).or_default();
            *epoch += 1;
            *epoch
        })
    }

    /// Begins a transaction with all its content. It becomes visible when the transaction is
    /// committed.
    pub(super) fn begin(
        &self,
        member: u64,
        producer: (String, u32),
        messages: Vec<Message>,
        commits: Vec<Commit>,
    ) -> Result<u64, Rejected> {
        self.change(|state| {
            state.admits(member, &producer)?;
            let id = state.id();
            let held = state.group.held_by(member);
            state.open.insert(id, Open { member, held, producer, messages, commits });
            Ok(id)
        })
    }

    /// Ends a transaction.
    pub(super) fn finish(&self, id: u64, commit: bool) -> Result<(), Rejected> {
        self.change(|state| {
            let open = state.open.remove(&id).ok_or(Rejected::Over)?;
            if commit { state.commit(open) } else { Ok(()) }
        })
    }
}
