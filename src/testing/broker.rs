//! A Kafka in memory: logs, a consumer group and transactions, as far as the worker's promises rest on them.
//!
//! What it keeps of the real one's behaviour (`tests/it/topic` holds both to it): a transaction is visible whole or not at all; offsets are
//! committed with their metadata, in the transaction; who is no member of the group any more, or whose producer was replaced by a newer one
//! of the same name, commits nothing; committed offsets are read only when no transaction that would change them is open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use tokio::time::Instant;

use super::Weather;
use super::signal::Signal;
use crate::intake::{Commit, Headers, Input, Partition, Record};
use crate::outbox::message::{Message, Topic};

/// A broker. Clones are the same one.
#[derive(Debug, Clone)]
pub struct FakeBroker {
    state: Arc<Mutex<State>>,
    changed: Signal,
}

/// A transaction that took place.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// When.
    pub at: Instant,
    /// Who did it.
    pub member: u64,
    /// The partitions that were its own when it began.
    pub held: BTreeSet<Partition>,
    /// What became visible by it.
    pub messages: Vec<Message>,
    /// What was committed by it.
    pub commits: Vec<Commit>,
}

/// A transaction that is open.
#[derive(Debug)]
struct Open {
    member: u64,
    held: BTreeSet<Partition>,
    producer: (String, u32),
    messages: Vec<Message>,
    commits: Vec<Commit>,
}

/// Why a transaction cannot go on.
#[derive(Debug)]
pub(super) enum Rejected {
    /// The member is not in the group any more.
    NoMember,
    /// A newer producer has the name.
    Fenced,
    /// It ended already.
    Over,
}

#[derive(Debug)]
struct State {
    logs: BTreeMap<Partition, Vec<Option<Record>>>,
    committed: BTreeMap<Partition, (i64, String)>,
    open: BTreeMap<u64, Open>,
    transactions: Vec<Transaction>,
    /// The newest epoch of each producer's name.
    producers: BTreeMap<String, u32>,
    /// Each member's name.
    members: BTreeMap<u64, String>,
    /// Those whose name somebody else joined under.
    replaced: BTreeSet<u64>,
    /// Who is to have which partition…
    target: BTreeMap<Partition, u64>,
    /// …and who has it.
    owners: BTreeMap<Partition, u64>,
    next_id: u64,
    weather: Weather,
    random: Rng,
}

/// What a partition's new owner reads: its committed offset and metadata, and the end of its log.
pub(super) type Acquired = (Partition, Option<(i64, String)>, i64);

impl FakeBroker {
    /// A broker with so many partitions of claims and of parked claims, all empty.
    pub fn new(claims: i32, retry: i32, random: Rng) -> Self {
        let partitions = (0..claims).map(Partition::claims).chain((0..retry).map(Partition::retry));
        let state = State {
            logs: partitions.map(|partition| (partition, Vec::new())).collect(),
            committed: BTreeMap::new(),
            open: BTreeMap::new(),
            transactions: Vec::new(),
            producers: BTreeMap::new(),
            members: BTreeMap::new(),
            replaced: BTreeSet::new(),
            target: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_id: 0,
            weather: Weather::fair(),
            random,
        };
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

    /// From now on the broker does so well.
    pub fn set_weather(&self, weather: Weather) {
        self.change(|state| state.weather = weather);
    }

    /// Deals the partitions out anew.
    pub fn rebalance(&self) {
        self.change(State::deal);
    }

    /// Throws whoever has this name out of the group, as a session's end does.
    pub fn expel(&self, name: &str) {
        self.change(|state| state.expel(name));
    }

    /// Every transaction that took place, in order.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.state().transactions.clone()
    }

    /// A partition's records, by offset; `None` where an offset has no record.
    pub fn log(&self, partition: Partition) -> Vec<Option<Record>> {
        self.state().logs.get(&partition).cloned().unwrap_or_default()
    }

    /// The partitions.
    pub fn partitions(&self) -> Vec<Partition> {
        self.state().logs.keys().copied().collect()
    }

    /// What is committed for a partition.
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

    /// Lets everybody who waits look again.
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

    pub(super) fn weather(&self) -> Weather {
        self.state().weather.clone()
    }

    /// A new member. One that has its name already is replaced by it, and its partitions are free at once (static membership).
    pub(super) fn join(&self, name: &str) -> u64 {
        self.change(|state| {
            let namesakes = state.members.iter().filter(|(_, other)| *other == name);
            state.replaced.extend(namesakes.map(|(member, _)| *member));
            state.expel(name);
            let member = state.id();
            state.members.insert(member, name.to_owned());
            state.deal();
            member
        })
    }

    /// A member leaves.
    pub(super) fn leave(&self, member: u64) {
        self.change(|state| {
            if let Some(name) = state.members.get(&member).cloned() {
                state.expel(&name);
            }
        });
    }

    pub(super) fn is_replaced(&self, member: u64) -> bool {
        self.state().replaced.contains(&member)
    }

    pub(super) fn is_member(&self, member: u64) -> bool {
        self.state().members.contains_key(&member)
    }

    /// Which of these partitions the member is to give back.
    pub(super) fn to_release(&self, member: u64, held: impl Iterator<Item = Partition>) -> Vec<Partition> {
        let state = self.state();
        held.filter(|partition| state.target.get(partition) != Some(&member)).collect()
    }

    pub(super) fn release(&self, member: u64, partitions: &[Partition]) {
        self.change(|state| {
            state.owners.retain(|partition, owner| *owner != member || !partitions.contains(partition));
        });
    }

    pub(super) fn has_free(&self, member: u64) -> bool {
        !self.state().free_for(member).is_empty()
    }

    /// The offset after the last.
    pub(super) fn end(&self, partition: Partition) -> i64 {
        i64::try_from(self.state().logs[&partition].len()).unwrap_or(i64::MAX)
    }

    /// Takes what is the member's to take: free, and with no open transaction that would still change what is committed.
    pub(super) fn acquire(&self, member: u64) -> Vec<Acquired> {
        self.change(|state| {
            let free = state.free_for(member);
            let take = |partition| {
                state.owners.insert(partition, member);
                let end = i64::try_from(state.logs[&partition].len()).unwrap_or(i64::MAX);
                (partition, state.committed.get(&partition).cloned(), end)
            };
            free.into_iter().map(take).collect()
        })
    }

    /// Records from an offset on, at most so many, and the offset after them.
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

    /// A new producer of this name: what an older one left open is aborted, and what it sends is refused. Its epoch.
    pub(super) fn make_producer(&self, name: &str) -> u32 {
        self.change(|state| {
            state.open.retain(|_, open| open.producer.0 != name);
            let epoch = state.producers.entry(name.to_owned()).or_default();
            *epoch += 1;
            *epoch
        })
    }

    /// Begins a transaction and hands all its content over; it is visible when it is ended with a commit.
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
            let held = state.owners.iter().filter(|(_, owner)| **owner == member);
            let held = held.map(|(partition, _)| *partition).collect();
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

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn log(&mut self, partition: Partition) -> &mut Vec<Option<Record>> {
        self.logs.entry(partition).or_default()
    }

    fn append(
        &mut self,
        partition: Partition,
        key: Option<Vec<u8>>,
        headers: Headers,
        payload: Option<Vec<u8>>,
    ) -> i64 {
        let log = self.log(partition);
        let offset = i64::try_from(log.len()).unwrap_or(i64::MAX);
        log.push(Some(Record { partition, offset, epoch: 0, key, headers, payload }));
        offset
    }

    /// What the member is to take and can.
    fn free_for(&self, member: u64) -> Vec<Partition> {
        let is_open = |partition: &Partition| {
            let mut commits = self.open.values().flat_map(|open| &open.commits);
            commits.any(|commit| commit.partition == *partition)
        };
        let mine =
            self.target.iter().filter(|(_, target)| **target == member).map(|(partition, _)| *partition);
        mine.filter(|partition| !self.owners.contains_key(partition) && !is_open(partition)).collect()
    }

    /// Deals the partitions out: everybody gets a fair share, most partitions stay where they are.
    fn deal(&mut self) {
        let members: Vec<u64> = self.members.keys().copied().collect();
        let mut partitions: Vec<Partition> = self.logs.keys().copied().collect();
        let share = partitions.len().div_ceil(members.len().max(1));
        self.random.shuffle(&mut partitions);
        let before = std::mem::take(&mut self.target);
        let mut dealt: BTreeMap<u64, usize> = members.iter().map(|member| (*member, 0)).collect();
        let mut free = Vec::new();
        for partition in partitions {
            let count = before.get(&partition).and_then(|member| dealt.get_mut(member));
            match count.filter(|count| **count < share) {
                Some(count) if self.random.u8(..) < 200 => {
                    *count += 1;
                    self.target.insert(partition, before[&partition]);
                }
                _ => free.push(partition),
            }
        }
        for partition in free {
            let fewest = dealt.values().min().copied().unwrap_or(0);
            let poorest = dealt.iter_mut().filter(|(_, count)| **count == fewest);
            let Some((member, count)) = self.random.choice(poorest.collect::<Vec<_>>()) else { return };
            *count += 1;
            self.target.insert(partition, *member);
        }
    }

    fn expel(&mut self, name: &str) {
        let gone: Vec<u64> =
            self.members.iter().filter(|(_, other)| *other == name).map(|(member, _)| *member).collect();
        if gone.is_empty() {
            return;
        }
        self.members.retain(|member, _| !gone.contains(member));
        self.owners.retain(|_, owner| !gone.contains(owner));
        self.deal();
    }

    fn admits(&self, member: u64, producer: &(String, u32)) -> Result<(), Rejected> {
        if self.producers.get(&producer.0) != Some(&producer.1) {
            return Err(Rejected::Fenced);
        }
        if self.members.contains_key(&member) { Ok(()) } else { Err(Rejected::NoMember) }
    }

    fn commit(&mut self, open: Open) -> Result<(), Rejected> {
        // The group's check fell when the offsets were sent; from there on the transaction is the coordinator's to end.
        if self.producers.get(&open.producer.0) != Some(&open.producer.1) {
            return Err(Rejected::Fenced);
        }
        for commit in &open.commits {
            self.committed.insert(commit.partition, (commit.offset, commit.metadata.clone()));
        }
        for parked in open.messages.iter().filter(|message| message.topic == Topic::Retry) {
            let partitions = self.logs.keys().filter(|partition| partition.input == Input::Retry);
            let partitions: Vec<Partition> = partitions.copied().collect();
            let Some(partition) = self.random.choice(partitions).as_ref().copied() else { continue };
            self.append(partition, parked.key.clone(), parked.headers.clone(), parked.payload.clone());
        }
        let Open { member, held, messages, commits, .. } = open;
        self.transactions.push(Transaction { at: Instant::now(), member, held, messages, commits });
        Ok(())
    }
}
