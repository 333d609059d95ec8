//! An [`Intake`] on a [`FakeBroker`]: what the consumer's thread does, as a task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::broker::FakeBroker;
use super::process::Process;
use crate::intake::Intake;
use crate::intake::{Assigned, Commit, Event, Input, Partition, Record};

/// The most records that are handed over at once.
const CHUNK: usize = 8;
/// The most events that wait for the worker, as with the real one.
const EVENTS: usize = 16;

/// The worker's side of a member of the group. Dropping it is like a killed process: the group is
/// not told.
#[derive(Debug)]
pub struct FakeIntake {
    events: mpsc::Receiver<Event>,
    orders: Arc<Mutex<Orders>>,
    broker: FakeBroker,
}

/// The pauses that the worker sets.
#[derive(Debug, Default)]
struct Orders {
    paused: BTreeSet<Partition>,
    leave: bool,
    is_dead: bool,
}

/// A member's place in its group.
#[derive(Debug, Clone)]
pub struct Membership {
    seat: Arc<Mutex<Seat>>,
}

#[derive(Debug)]
struct Seat {
    /// It changes when the member was removed and has joined again.
    member: u64,
    /// Its partitions, each with the epoch of its assignment.
    held: BTreeMap<Partition, u32>,
}

impl Membership {
    /// The member's number, for commits of assignments that still hold.
    pub(super) fn member_for(&self, commits: &[Commit]) -> Option<u64> {
        let seat = lock(&self.seat);
        let holds = |commit: &Commit| seat.held.get(&commit.partition) == Some(&commit.epoch);
        commits.iter().all(holds).then_some(seat.member)
    }

    fn number(&self) -> u64 {
        lock(&self.seat).member
    }
}

impl FakeIntake {
    /// Joins the group under a name. The membership is for the publisher: it fences its
    /// transactions.
    pub fn join(
        broker: &FakeBroker,
        name: &str,
        process: Process,
        drain_timeout: Duration,
        random: Rng,
    ) -> (Self, Membership) {
        let (sender, events) = mpsc::channel(EVENTS);
        let orders = Arc::<Mutex<Orders>>::default();
        let seat = Seat { member: broker.join(name), held: BTreeMap::new() };
        let member = Membership { seat: Arc::new(Mutex::new(seat)) };
        let reader = Reader {
            broker: broker.clone(),
            name: name.to_owned(),
            process,
            drain_timeout,
            random,
            events: sender,
            orders: Arc::clone(&orders),
            member: member.clone(),
            positions: BTreeMap::new(),
            epoch: 0,
        };
        tokio::spawn(reader.run());
        (Self { events, orders, broker: broker.clone() }, member)
    }

    /// Leaves the group in good order.
    pub fn leave(self) {
        self.order(|orders| orders.leave = true);
    }

    fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut lock(&self.orders));
        self.broker.touch();
    }
}

impl Drop for FakeIntake {
    fn drop(&mut self) {
        self.order(|orders| orders.is_dead = true);
    }
}

impl Intake for FakeIntake {
    async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    fn pause(&mut self, partitions: BTreeSet<Partition>) {
        self.order(|orders| orders.paused = partitions);
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().expect("nothing panics while it holds the state")
}

/// The state of the task.
struct Reader {
    broker: FakeBroker,
    name: String,
    process: Process,
    drain_timeout: Duration,
    random: Rng,
    events: mpsc::Sender<Event>,
    orders: Arc<Mutex<Orders>>,
    member: Membership,
    /// The next offset to read of each of its partitions.
    positions: BTreeMap<Partition, i64>,
    epoch: u32,
}

impl Reader {
    async fn run(mut self) {
        loop {
            let broker = self.broker.clone();
            broker.until(|_| self.has_work()).await;
            self.process.thawed().await;
            let goes_on = !lock(&self.orders).is_dead && self.step().await.is_some();
            if lock(&self.orders).leave {
                return self.broker.leave(self.member.number());
            }
            if !goes_on {
                return;
            }
        }
    }

    fn has_work(&self) -> bool {
        let orders = lock(&self.orders);
        let member = self.member.number();
        orders.leave
            || orders.is_dead
            || !self.broker.is_member(member)
            || !self.broker.to_give_back(member, self.positions.keys().copied()).is_empty()
            || self.broker.has_free(member)
            || self.readable(&orders.paused).next().is_some()
    }

    /// The partitions that have something to read.
    fn readable<'a>(
        &'a self,
        paused: &'a BTreeSet<Partition>,
    ) -> impl Iterator<Item = (Partition, i64)> {
        let positions = self.positions.iter().map(|(partition, position)| (*partition, *position));
        positions.filter(|(partition, from)| {
            !paused.contains(partition) && self.broker.end(*partition) > *from
        })
    }

    /// Makes one step. `None` when the worker's side is gone.
    async fn step(&mut self) -> Option<()> {
        let member = self.member.number();
        if self.broker.is_replaced(member) {
            let why = format!("another member joined as {}", self.name);
            self.events.send(Event::Failed(why)).await.ok()?;
            return None;
        }
        if !self.broker.is_member(member) {
            let lost = std::mem::take(&mut self.positions).into_keys().collect();
            lock(&self.member.seat).held.clear();
            self.events.send(Event::Lost(lost)).await.ok()?;
            lock(&self.member.seat).member = self.broker.join(&self.name);
            return Some(());
        }
        let revoked = self.broker.to_give_back(member, self.positions.keys().copied());
        if !revoked.is_empty() {
            return self.revoke(member, revoked).await;
        }
        let acquired = self.broker.acquire(member);
        if !acquired.is_empty() {
            self.epoch += 1;
            let assigned = acquired.into_iter().map(|(partition, committed, log_end)| {
                let (offset, metadata) = committed
                    .map_or((None, String::new()), |(offset, metadata)| (Some(offset), metadata));
                self.positions.insert(partition, offset.unwrap_or(0));
                lock(&self.member.seat).held.insert(partition, self.epoch);
                Assigned { partition, epoch: self.epoch, offset, metadata, log_end }
            });
            let partitions = assigned.collect();
            let all = self.broker.partitions();
            let of = all.iter().filter(|partition| partition.input == Input::Claims).count();
            let of = u32::try_from(of).unwrap_or(0);
            return self.events.send(Event::Assigned { partitions, of }).await.ok();
        }
        self.read().await
    }

    /// Gives partitions back when the worker has released them or has taken too long.
    async fn revoke(&mut self, member: u64, partitions: Vec<Partition>) -> Option<()> {
        let (done, is_done): (SyncSender<()>, _) = sync_channel(1);
        self.events.send(Event::Revoked { partitions: partitions.clone(), done }).await.ok()?;
        let deadline = Instant::now() + self.drain_timeout;
        let mut look = Duration::from_millis(1);
        while is_done.try_recv() == Err(TryRecvError::Empty) {
            if Instant::now() >= deadline {
                self.events.send(Event::Lost(partitions.clone())).await.ok()?;
                break;
            }
            sleep(look).await;
            look = look.mul_f64(1.3);
            self.process.thawed().await;
        }
        self.positions.retain(|partition, _| !partitions.contains(partition));
        lock(&self.member.seat).held.retain(|partition, _| !partitions.contains(partition));
        self.broker.give_back(member, &partitions);
        Some(())
    }

    /// Hands over some records of one partition, after a moment.
    async fn read(&mut self) -> Option<()> {
        let readable: Vec<(Partition, i64)> = self.readable(&lock(&self.orders).paused).collect();
        let Some((partition, from)) = self.random.choice(readable) else { return Some(()) };
        let (mut records, next) = self.broker.read(partition, from, self.random.usize(1..=CHUNK));
        let latency = self.broker.faults().latency(&mut self.random);
        sleep(latency).await;
        self.process.thawed().await;
        self.positions.insert(partition, next);
        records.iter_mut().for_each(|record: &mut Record| record.epoch = self.epoch);
        if records.is_empty() {
            Some(())
        } else {
            self.events.send(Event::Records(records)).await.ok()
        }
    }
}
