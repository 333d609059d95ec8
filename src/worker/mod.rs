//! The worker. Read this first: one loop owns everything that changes, and there are no locks.
//!
//! ```text
//! intake ──► backlog ──► ledger: a Ticket ──► recall ──► lanes ──► desk ──► risk API
//!                                               │                            │
//!                                               ▼                            ▼
//!                        ledger.confirm ◄── publish ◄── record ◄────────── batch
//! ```
//!
//! Each turn of [`Worker::run`] does everything that can be done now ([`Worker::advance`]), then waits
//! for one thing to happen: an event of the consumer, the end of a task, a time, or the signal to stop.
//! Everything slow is a task; a task owns what it works on and brings it back. What happens at each
//! station stands in a file of its own: [`admission`], [`recalling`], [`assessing`], [`parking`],
//! [`flushing`], [`draining`]; [`tokens`] and [`flooding`] look after what concerns all claims. What is
//! pure bookkeeping does, too: [`room`] says who may take on how much, [`undecided`] who waits for whose
//! verdict, [`pipeline`] what may be recorded and published next.
//!
//! The invariants: every ticket is in exactly one place (a job, a follower, a seat of the waiting room,
//! the batch, a flush); one recall is under way at a time, one batch is written and one published; no
//! call is made whose answer could not be kept, and none whose claim was not looked up in the last
//! second.

#![expect(clippy::vec_box, reason = "a job moves from queue to queue; a move is one pointer")]

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use crate::assess::breaker::Breaker;
use crate::assess::budget::Budget;
use crate::assess::http::Http;
use crate::assess::limit::Limit;
use crate::assess::token::Token;
use crate::assess::{Counter, Desk};
use crate::config;
use crate::intake::backlog::Backlog;
use crate::intake::flood::Flood;
use crate::intake::kafka::Intake;
use crate::intake::lanes::Lanes;
use crate::intake::waiting::WaitingRoom;
use crate::intake::{Event, Ledger};
use crate::outbox::{Batch, Publisher, Store};
use crate::risk::{Route, Scope};
use crate::telemetry::Peer;

mod admission;
mod assessing;
mod clock;
mod draining;
mod flooding;
mod flushing;
mod in_flight;
mod job;
mod pace;
mod parking;
mod pipeline;
mod recalling;
mod room;
#[cfg(all(test, feature = "testing"))]
mod simulation;
mod standstill;
mod terms;
mod tokens;
mod undecided;
mod unparkable;

pub use clock::Clock;
pub use draining::Drain;
use in_flight::InFlight;
use job::Job;
use pace::Pace;
use pipeline::Pipeline;
use room::Room;
use standstill::Standstill;
pub use terms::{Ended, Ports, Terms};
use undecided::Undecided;

/// The loop turns at least this often: it beats for `/livez` and sets the gauges.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The pause after the store or the publisher failed.
const OUTAGE_PAUSE: Duration = Duration::from_millis(500);
/// While so many ended records and attempts wait for the store, no more calls are made: an answer must not be lost.
const UNRECORDED_MAX: usize = 4_096;
/// The same, in bytes of answers.
const UNRECORDED_MAX_BYTES: usize = 64 << 20;

/// Parked claims at hand have so many bytes at most; more stay in Kafka until some are due.
const WAITING_MAX_BYTES: usize = 32 << 20;
/// A worker.
pub struct Worker<I, S, P, H> {
    ports: Ports<I, S, P, H>,
    terms: Terms,
    ledger: Ledger,
    backlog: Backlog,
    flood: Flood,
    /// Claims that wait to be looked up in the store.
    unrecalled: Vec<Box<Job>>,
    recalling: bool,
    lanes: Lanes<Box<Job>>,
    desk: Desk<Box<Job>>,
    token: Token,
    fetching_token: bool,
    undecided: Undecided<Box<Job>>,
    batch: Batch,
    pipeline: Pipeline,
    tasks: JoinSet<assessing::Done>,
    in_flight: InFlight,
    /// Who may take on how much.
    room: Room,
    /// Claims that found no room and could not be put off: their partitions wait with them.
    held: Vec<Box<Job>>,
    /// Parked claims whose time has not come.
    waiting: WaitingRoom,
    pace: Pace,
    releases: Vec<draining::Release>,
    /// How many partitions the input topic has.
    input_partitions: u32,
    stopping: Option<Instant>,
    store_rests_until: Option<Instant>,
    /// When the store last answered.
    store_heard: Instant,
    /// When it was told that old decisions are published again.
    repeats_told: Option<Instant>,
    standstill: Standstill,
    peers: Vec<Option<Peer>>,
}

impl<I: Intake, S: Store + 'static, P: Publisher + 'static, H: Http> Worker<I, S, P, H> {
    /// A worker at rest.
    pub fn new(ports: Ports<I, S, P, H>, terms: Terms) -> Self {
        let now = Instant::now();
        let standstill = Standstill::new(terms.kafka.session_timeout, now, terms.clock.micros());
        let counter = |route: &Route| {
            let limit =
                Limit::new(usize::try_from(route.concurrency).unwrap_or(usize::MAX), route.rate_limit)
                    .of_group(
                        route.concurrency_scope == Scope::Group,
                        route.rate_limit_scope == Scope::Group,
                    );
            Counter::new(
                limit,
                Breaker::new(terms.breaker.clone(), now),
                Budget::new(terms.retry.budget.clone(), now),
            )
        };
        let counters: Vec<_> = terms.registry.iter().map(|(_, route)| counter(route)).collect();
        let (apis, config::Worker { max_in_flight, max_in_flight_bytes, .. }) =
            (terms.registry.len(), &terms.worker);
        let offset_metadata_max = terms.kafka.offset_metadata_max_bytes;
        Self {
            room: Room::new(*max_in_flight, *max_in_flight_bytes, apis),
            held: Vec::new(),
            waiting: WaitingRoom::new(apis, terms.retry.max_waiting, WAITING_MAX_BYTES),
            pace: Pace::new(apis, terms.retry.park_max_interval, now),
            desk: Desk::new(counters),
            peers: vec![None; terms.registry.len()],
            flood: Flood::new(terms.flood.clone()),
            ports,
            terms,
            ledger: Ledger::with_metadata_max(offset_metadata_max),
            backlog: Backlog::default(),
            unrecalled: Vec::new(),
            recalling: false,
            lanes: Lanes::default(),
            token: Token::default(),
            fetching_token: false,
            undecided: Undecided::default(),
            batch: Batch::default(),
            pipeline: Pipeline::default(),
            tasks: JoinSet::new(),
            in_flight: InFlight::default(),
            releases: Vec::new(),
            input_partitions: 0,
            stopping: None,
            store_rests_until: None,
            store_heard: now,
            repeats_told: None,
            standstill,
        }
    }

    /// Works until `shutdown` is ready and what is in flight has ended, or `worker.drain_timeout` has
    /// passed. Gives the intake back, to be stopped, and says what was left.
    ///
    /// # Errors
    /// [`Ended`]: what will not mend by itself. Nothing is lost: what was not published is redelivered after a restart.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(I, Drain), Ended> {
        let mut shutdown = pin!(shutdown);
        loop {
            self.terms.health.beat();
            let wake = self.advance();
            if let Some(drain) = self.drained() {
                return Ok((self.ports.intake, drain));
            }
            tokio::select! {
                // In this order always: what is done makes room for what is new, and a simulation can be repeated.
                biased;
                () = &mut shutdown, if self.stopping.is_none() => self.begin_to_stop(),
                Some(done) = self.tasks.join_next() => self.take_done(done?)?,
                event = self.ports.intake.next() => self.take_event(event)?,
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Does everything that can be done now; says when to look again.
    fn advance(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(still) = self.standstill.turn(now, self.terms.clock.micros()) {
            warn!(
                "the worker stood still for {} ms: no calls until the group has had its say",
                still.as_millis()
            );
        }
        self.admit(now);
        self.recall(now);
        let next_call = self.make_calls(now);
        self.flush(now);
        self.let_go_of_partitions();
        self.set_gauges();
        let rests = [
            self.store_rests_until,
            self.standstill.ends(),
            self.stopping,
            next_call,
            self.waiting.due_after(now),
            self.flood.next_probe(),
        ];
        let rests = rests.into_iter().chain(self.pipeline.wakes());
        let soonest = rests.flatten().filter(|at| *at > now).min();
        soonest.map_or(now + HEARTBEAT, |at| at.min(now + HEARTBEAT))
    }

    fn take_event(&mut self, event: Option<Event>) -> Result<(), Ended> {
        match event {
            Some(Event::Records(records)) => self.take_records(records),
            Some(Event::Assigned { partitions, of }) => self.take_partitions(&partitions, of),
            Some(Event::Revoked { partitions, release }) => self.begin_to_release(&partitions, release),
            Some(Event::Lost(partitions)) => self.lose(&partitions),
            Some(Event::Brokers(answers)) => self.hear_of_brokers(answers),
            Some(Event::Failed(reason)) => return Err(Ended::Intake(reason)),
            None => return Err(Ended::Intake("the consumer's thread has ended".to_owned())),
        }
        Ok(())
    }

    /// Takes a task's result, and those of others that are ready: they share the next flush.
    fn take_done(&mut self, done: assessing::Done) -> Result<(), Ended> {
        self.after_task(done)?;
        while let Some(done) = self.tasks.try_join_next() {
            self.after_task(done?)?;
        }
        Ok(())
    }

    fn after_task(&mut self, done: assessing::Done) -> Result<(), Ended> {
        use assessing::Done;
        match done {
            Done::Recalled(jobs, verdicts) => self.after_recall(jobs, verdicts),
            Done::Called(attempted) => {
                self.after_call(*attempted);
                Ok(())
            }
            Done::Token(exchange) => {
                self.after_token_fetch(*exchange);
                Ok(())
            }
            Done::Recorded(result, latency) => self.after_record(result, latency),
            Done::Published(result, latency) => self.after_publish(result, latency),
        }
    }

    fn set_gauges(&mut self) {
        let meter = &self.terms.meter;
        let age = self.in_flight.oldest().map_or(0, |oldest| self.terms.clock.micros() - oldest);
        meter.in_flight(self.in_flight.records(), Duration::from_micros(u64::try_from(age).unwrap_or(0)));
        meter.paused(self.backlog.is_pausing());
        meter.flood(self.flood.is_on());
        for (id, route) in self.terms.registry.iter() {
            let waiting = self.room.claims(id.index()).saturating_sub(self.desk.in_flight(id.index()));
            meter.queued(route.api.name(), waiting);
            let (state, misconfigured) = self.desk.breaker(id.index()).state();
            meter.breaker(route.api.name(), state != "closed", misconfigured);
        }
    }
}
