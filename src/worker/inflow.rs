//! Records that wait to be taken on, and how many may be. Pure bookkeeping.

use tokio::time::Instant;

use super::in_flight::InFlight;
use super::pace::Pace;
use super::room::Room;
use super::{Job, WorkerContext};
use crate::config;
use crate::intake::backlog::Backlog;
use crate::intake::flood::Flood;
use crate::intake::waiting::WaitingRoom;

/// The most bytes of deferred claims in the waiting room; further ones stay in Kafka meanwhile.
const WAITING_MAX_BYTES: usize = 32 << 20;

/// Records on their way in.
pub(super) struct Inflow {
    /// Records that the consumer delivered and the worker has not taken on yet.
    pub(super) backlog: Backlog,
    /// Whether malformed events come in such numbers that intake pauses.
    pub(super) flood: Flood,
    /// Deferred claims that are not due yet.
    pub(super) waiting: WaitingRoom,
    /// Deferred claims that were written up to then (UNIX milliseconds) are due, whatever their
    /// headers say.
    pub(super) due_if_written_until: i64,
    /// Claims that found no room and could not be deferred. Their partitions wait with them.
    pub(super) held: Vec<Box<Job>>,
    /// How often deferred claims may be deferred again because there is no room.
    pub(super) pace: Pace,
    /// How much the claims of each API may take up.
    pub(super) room: Room,
    /// Records that were taken on and are not published yet.
    pub(super) in_flight: InFlight,
}

impl Inflow {
    pub(super) fn new(context: &WorkerContext, now: Instant) -> Self {
        let (apis, config::Worker { max_in_flight, max_in_flight_bytes, .. }) =
            (context.registry.len(), &context.worker);
        Self {
            backlog: Backlog::default(),
            flood: Flood::new(context.flood.clone()),
            waiting: WaitingRoom::new(apis, context.retry.max_waiting, WAITING_MAX_BYTES),
            due_if_written_until: i64::MIN,
            held: Vec::new(),
            pace: Pace::new(apis, context.retry.defer_max_interval, now),
            room: Room::new(*max_in_flight, *max_in_flight_bytes, apis),
            in_flight: InFlight::default(),
        }
    }

    /// Whether the worker as a whole may take on one more record.
    pub(super) fn has_room(&self, bounds: &config::Worker) -> bool {
        self.in_flight.records() < bounds.max_in_flight
            && self.in_flight.bytes() < bounds.max_in_flight_bytes
    }
}
