//! The worker: one loop that owns all mutable state. There are no locks.
//!
//! Each turn of [`Worker::run`] does everything that can be done now ([`Worker::advance`]), then
//! waits for the first of these: an event of the consumer, the end of a task, a point in time, or
//! the signal to stop. Everything slow runs as a task. A task takes ownership of what it works on,
//! and returns it with the result. A claim passes these files:
//!
//! | step | file |
//! | --- | --- |
//! | a record gets its ticket | [`admission`] |
//! | its event is parsed | [`receiving`] |
//! | it needs room among the claims of its API | [`room`] |
//! | claims with the same id wait for one another | [`duplicates`] |
//! | it is looked up in Postgres | [`recalling`] |
//! | the API is called, with an access token where it wants one | [`assessing`], [`tokens`] |
//! | the answer is read | [`api_result`] |
//! | the decision is made | [`deciding`] |
//! | without an answer it is deferred, or decided | [`deferring`], [`undeferrable`] |
//! | batches are recorded, then published | [`flushing`], [`pipeline`] |
//!
//! Around that path:
//!
//! | when | file |
//! | --- | --- |
//! | Postgres fails | [`store_outage`], [`store_health`] |
//! | partitions are given back, or the worker stops | [`draining`] |
//! | too many malformed events come | [`flooding`] |
//! | the process was paused | [`pause_guard`] |
//! | a claim's spans are made, at its end | [`traces`] |
//! | metrics count what is waiting | [`gauges`], [`undecided`] |
//!
//! State: [`inflow`], [`calls`], [`outflow`], [`in_flight`], [`job`]. Small helpers: [`pace`],
//! [`outage`], [`task`]. What the worker is built from: [`context`], [`clock`].
//!
//! The invariants:
//!
//! - Every ticket is in exactly one place: a job, the waiting room, the batch or a flush.
//! - At most one look-up, one write and one publication are under way.
//! - No API is called while its answer could not be stored.
//! - No API is called unless Postgres answered, within the last second, that the claim has no
//!   verdict. The answer is as old as the look-up took.

#![expect(clippy::vec_box, reason = "a job moves from queue to queue; a move is one pointer")]

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use crate::assess::exchange::Http;
use crate::intake::Intake;
use crate::intake::lanes::Lanes;
use crate::intake::{Event, Ledger};
use crate::outbox::{Publisher, Store};

mod admission;
mod api_result;
mod assessing;
mod calls;
mod clock;
mod context;
mod deciding;
mod deferring;
mod draining;
mod duplicates;
mod flooding;
mod flushing;
mod gauges;
mod in_flight;
mod inflow;
mod job;
mod outage;
mod outflow;
mod pace;
mod pause_guard;
mod pipeline;
mod recalling;
mod receiving;
mod room;
#[cfg(all(test, feature = "testing"))]
mod simulation;
mod store_health;
mod store_outage;
mod task;
mod tokens;
mod traces;
mod undecided;
mod undeferrable;

use calls::Calls;
pub use clock::Clock;
pub use context::{Connections, Ports, WorkerContext, WorkerError};
pub use draining::Drain;
use draining::Draining;
use duplicates::DuplicateQueues;
use gauges::Gauges;
use inflow::Inflow;
use job::Job;
use outflow::Outflow;
use recalling::Lookups;
use task::Done;
use traces::Traces;

/// The loop turns at least this often: each turn tells `/livez` that the worker is alive, and sets
/// the gauges.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The pause after the store or the publisher failed.
const OUTAGE_PAUSE: Duration = Duration::from_millis(500);

/// A worker.
pub struct Worker<P: Ports> {
    /// Kafka, Postgres and the risk APIs.
    ports: Connections<P>,
    /// Settings, clock, meters.
    context: WorkerContext,
    /// Which records are open, and what a commit says of them.
    ledger: Ledger,
    /// Records that wait to be taken on, and how many may be.
    inflow: Inflow,
    /// Several records of one claim: one is assessed, the others wait for its end.
    duplicates: DuplicateQueues<Box<Job>>,
    /// Claims to look up in Postgres.
    lookups: Lookups,
    /// Claims of one subject go one at a time.
    lanes: Lanes<Box<Job>>,
    /// Claims that wait for a call of their API, and what permits the call.
    calls: Calls,
    /// Ended records and attempts that are to be recorded and published.
    outflow: Outflow,
    /// Partitions that are being given back, and whether the worker stops.
    drain: Draining,
    /// Notes about the claims in flight, for their spans.
    traces: Traces,
    /// Metrics that are counted once a second.
    gauges: Gauges,
    /// Everything slow: each task returns what it worked on.
    tasks: JoinSet<Done>,
}

impl<P: Ports> Worker<P> {
    /// A worker that holds no partition and no claim yet.
    pub fn new(ports: Connections<P>, mut context: WorkerContext) -> Self {
        let now = Instant::now();
        Self {
            ledger: Ledger::with_metadata_max(context.kafka.offset_metadata_max_bytes),
            inflow: Inflow::new(&context, now),
            duplicates: DuplicateQueues::default(),
            lookups: Lookups::default(),
            lanes: Lanes::default(),
            calls: Calls::new(&context, now),
            outflow: Outflow::new(context.worker.max_linger, now),
            drain: Draining::default(),
            traces: Traces::new(&mut context),
            gauges: Gauges::new(now),
            tasks: JoinSet::new(),
            ports,
            context,
        }
    }

    /// Works until `shutdown` is ready; then until nothing is in flight any more, or
    /// `worker.drain_timeout` has passed. Returns the intake, which the caller stops, and how much
    /// was left unfinished.
    ///
    /// # Errors
    /// [`WorkerError`]: a fault that will not mend by itself. No claim is lost: Kafka redelivers
    /// after a restart what was not published.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(P::Intake, Drain), WorkerError> {
        let mut shutdown = pin!(shutdown);
        loop {
            self.context.health.beat();
            let wake = self.advance();
            if let Some(drain) = self.drained() {
                return Ok((self.ports.intake, drain));
            }
            tokio::select! {
                // Always in this order: finished tasks make room before new records come in, and a
                // simulation can be repeated.
                biased;
                () = &mut shutdown, if self.drain.stopping.is_none() => self.start_drain(),
                () = self.context.retry_now.notified() => self.make_deferred_due(),
                Some(done) = self.tasks.join_next() => self.take_done(done?)?,
                event = self.ports.intake.next() => self.take_event(event)?,
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Does everything that can be done now. Returns when the next turn is due at the latest.
    fn advance(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(still) = self.calls.pause_guard.turn(now, self.context.clock.micros()) {
            warn!(
                "the process was paused for {} ms: API calls are held until the group has had \
                 time to answer a heartbeat",
                still.as_millis()
            );
        }
        self.admit(now);
        self.recall(now);
        let next_call = self.make_calls(now);
        self.flush(now);
        self.finish_revocations();
        self.set_gauges(now);
        let wakes = [
            self.outflow.store.retry_at(),
            self.outflow.due(),
            self.calls.pause_guard.ends(),
            self.drain.stopping,
            next_call,
            self.inflow.waiting.due_after(now),
            self.inflow.flood.next_probe(),
        ];
        let wakes = wakes.into_iter().chain(self.outflow.pipeline.wakes());
        let soonest = wakes.flatten().filter(|at| *at > now).min();
        soonest.map_or(now + HEARTBEAT, |at| at.min(now + HEARTBEAT))
    }

    fn take_event(&mut self, event: Option<Event>) -> Result<(), WorkerError> {
        match event {
            Some(Event::Records(records)) => self.take_records(records),
            Some(Event::Assigned { partitions, of }) => self.take_partitions(&partitions, of),
            Some(Event::Revoked { partitions, done }) => self.start_revocation(&partitions, done),
            Some(Event::Lost(partitions)) => self.on_partitions_lost(&partitions),
            Some(Event::Logs(logs)) => self.gauges.note_logs(logs),
            Some(Event::Brokers(answers)) => self.on_broker_status(answers),
            Some(Event::Failed(reason)) => return Err(WorkerError::Intake(reason)),
            None => return Err(WorkerError::Intake("the consumer's thread has ended".to_owned())),
        }
        Ok(())
    }

    /// Takes the result of a task, and of all other tasks that are ready: their claims then share
    /// the next flush.
    fn take_done(&mut self, done: Done) -> Result<(), WorkerError> {
        self.after_task(done)?;
        while let Some(done) = self.tasks.try_join_next() {
            self.after_task(done?)?;
        }
        Ok(())
    }

    fn after_task(&mut self, done: Done) -> Result<(), WorkerError> {
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
}
