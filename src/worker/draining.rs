//! Draining: the worker gives partitions back, or stops.
//!
//! It makes no new calls for the claims of these partitions. Calls that were sent finish, and their
//! claims are recorded and published, within a bounded time. Claims that wait are dropped: the next
//! owner of the partition reads them again.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;

use tokio::time::Instant;
use tracing::info;

use super::{Intake as _, Job, Ports, Worker};
use crate::intake::{Partition, Ticket, TicketId};
use crate::risk::FaultReason;
use crate::telemetry::Component;

/// Partitions that are given back as soon as none of their records is in flight.
pub(super) struct Revocation {
    partitions: BTreeSet<Partition>,
    /// Dropped to tell the consumer. `None` where the worker stops.
    done: Option<SyncSender<()>>,
}

/// What a stopping worker could not finish within `worker.drain_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Records that were taken on and are not published: they are delivered again.
    pub unpublished: usize,
    /// Calls that were sent, and whose answers are not in Postgres: the APIs are called again about
    /// these claims.
    pub unrecorded: usize,
}

impl Drain {
    /// Whether nothing was left.
    pub fn is_clean(self) -> bool {
        self.unpublished == 0 && self.unrecorded == 0
    }
}

/// Partitions that are being given back, and whether the worker stops.
#[derive(Default)]
pub(super) struct Draining {
    /// The partitions to be given back.
    pub(super) revocations: Vec<Revocation>,
    /// Once the worker was told to stop: until when records in flight may finish.
    pub(super) stopping: Option<Instant>,
}

impl Draining {
    /// Whether the worker gives partitions back, or stops.
    pub(super) fn is_under_way(&self) -> bool {
        self.stopping.is_some() || !self.revocations.is_empty()
    }

    /// What a member of the group says of its readiness. The group may assign partitions to a
    /// worker that stops: that does not make it ready again.
    pub(super) fn readiness(&self) -> Result<(), String> {
        self.stopping.map_or(Ok(()), |_| Err("the worker is stopping".to_owned()))
    }
}

impl<P: Ports> Worker<P> {
    pub(super) fn start_revocation(&mut self, partitions: &[Partition], done: SyncSender<()>) {
        self.drain.revocations.push(Revocation {
            partitions: partitions.iter().copied().collect(),
            done: Some(done),
        });
        self.share_limits();
        self.drop_unsent();
    }

    pub(super) fn start_drain(&mut self) {
        info!(
            in_flight = self.inflow.in_flight.records(),
            "stopping: what is in flight finishes first"
        );
        self.drain.stopping = Some(Instant::now() + self.context.worker.drain_timeout);
        self.context.health.set_ready(Component::Group, self.drain.readiness());
        let partitions: BTreeSet<Partition> = self.ledger.partitions().collect();
        self.ports.intake.pause(partitions.clone());
        self.drain.revocations.push(Revocation { partitions, done: None });
        self.drop_unsent();
    }

    /// The group took partitions away without asking: what is in flight of them is void.
    pub(super) fn on_partitions_lost(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.forget_partition(*partition);
        }
        for revocation in &mut self.drain.revocations {
            revocation.partitions.retain(|partition| !partitions.contains(partition));
        }
        self.share_limits();
        self.drop_unsent();
        self.context.meter.assigned(self.ledger.partitions());
        let why = "the group took the worker's partitions away; it joins again";
        self.context.health.set_ready(Component::Group, Err(why.to_owned()));
    }

    /// Forgets a partition that was given back or lost.
    fn forget_partition(&mut self, partition: Partition) {
        self.ledger.revoke(partition);
        self.inflow.backlog.forget(partition);
        self.gauges.forget(partition);
        self.context.meter.partition_gone(partition);
    }

    /// Whether the worker makes no new calls for a partition, because it gives it back or stops.
    pub(super) fn is_closing(&self, partition: Partition) -> bool {
        let has_it = |revocation: &Revocation| revocation.partitions.contains(&partition);
        self.drain.stopping.is_some() || self.drain.revocations.iter().any(has_it)
    }

    /// Drops every waiting job of a partition that is being given back or was lost.
    fn drop_unsent(&mut self) {
        let closing: BTreeSet<Partition> =
            self.ledger.partitions().filter(|partition| self.is_closing(*partition)).collect();
        for partition in &closing {
            self.inflow.backlog.forget(*partition);
        }
        let ledger = &self.ledger;
        let is_gone =
            |ticket: &Ticket| closing.contains(&ticket.partition()) || !ledger.is_live(ticket);
        let goes = |job: &Job| is_gone(&job.ticket);
        self.inflow.waiting.remove_where(is_gone);
        let mut dropped: Vec<Box<Job>> = self.lookups.new.extract_if(.., |job| goes(job)).collect();
        let mut not_leading = self.duplicates.take_followers(|job| goes(job));
        not_leading.extend(self.inflow.held.extract_if(.., |job| goes(job)));
        dropped.extend(self.lanes.take(|job| goes(job)));
        let heads = self.calls.scheduler.take(|job| goes(job));
        for mut job in not_leading {
            self.forget(&mut job);
        }
        for job in dropped {
            self.drop_job(*job);
        }
        for job in heads {
            self.drop_or_defer(*job);
        }
    }

    /// Drops the head of a lane; the next job of the lane goes on.
    pub(super) fn leave_and_drop(&mut self, job: Job) {
        let lane = job.lane;
        self.drop_job(job);
        self.leave_lane(lane);
    }

    /// Drops the head of a lane that is in no call. If its API allows a limited number of attempts
    /// and some were made, it is deferred instead, with their number in its headers: a worker that
    /// read it again from the input topic would start counting at none.
    pub(super) fn drop_or_defer(&mut self, job: Job) {
        let counts = self.context.registry.api(job.api).registration().max_attempts.is_some();
        if counts && job.retry.attempts() > 0 && self.ledger.is_live(&job.ticket) {
            self.defer(job, FaultReason::PartitionMoves);
        } else {
            self.leave_and_drop(job);
        }
    }

    /// Drops a job that is in no lane. Kafka redelivers its claim to the next owner of the
    /// partition.
    pub(super) fn drop_job(&mut self, mut job: Job) {
        self.forget(&mut job);
        self.next_follower(&job.claim.claim_id, job.ticket.id());
    }

    fn forget(&mut self, job: &mut Job) {
        self.vacate(job);
        self.forget_flood_probe(&job.ticket);
        self.inflow.in_flight.remove(&job.ticket, &job.received);
        let now = self.context.clock.micros();
        self.traces.dropped(&job.ticket, &job.received, &job.claim.claim_id, now);
    }

    /// The leader of a claim's records was dropped without an outcome: its first follower is looked
    /// up.
    pub(super) fn next_follower(&mut self, claim_id: &str, ticket: TicketId) {
        let next = self.duplicates.left(claim_id, ticket);
        self.lookups.new.extend(next);
    }

    /// Gives back the partitions of which nothing is in flight any more.
    pub(super) fn finish_revocations(&mut self) {
        let idle = |partition: &Partition| self.inflow.in_flight.is_idle(*partition);
        let ready: Vec<Revocation> = self
            .drain
            .revocations
            .extract_if(.., |revocation| revocation.partitions.iter().all(idle))
            .collect();
        for revocation in ready {
            for partition in &revocation.partitions {
                self.forget_partition(*partition);
            }
            self.context.meter.assigned(self.ledger.partitions());
            drop(revocation.done);
        }
    }

    /// How the drain ended: nothing is in flight any more, or the time is over. `None` before.
    pub(super) fn drained(&self) -> Option<Drain> {
        let deadline = self.drain.stopping?;
        let idle = self.drain.revocations.is_empty()
            && self.outflow.batch().is_empty()
            && self.outflow.pipeline.is_idle()
            && self.calls_under_way() == 0;
        let unrecorded = self.outflow.batch().calls()
            + self.outflow.pipeline.recording()
            + self.calls_under_way();
        let left = Drain { unpublished: self.inflow.in_flight.records(), unrecorded };
        (idle || Instant::now() >= deadline).then_some(left)
    }

    fn calls_under_way(&self) -> usize {
        self.context.registry.iter().map(|(id, _)| self.calls.scheduler.in_flight(id.index())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stops_is_not_ready_whatever_the_group_assigns_to_it() {
        let mut drain = Draining::default();
        assert_eq!(drain.readiness(), Ok(()));
        drain.stopping = Some(Instant::now());
        assert_eq!(drain.readiness(), Err("the worker is stopping".to_owned()));
    }
}
