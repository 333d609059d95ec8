//! Floods of malformed events: the worker tells [`Flood`](crate::intake::flood::Flood) which events
//! of the input topic are malformed, and logs when a flood begins and ends.
//!
//! Deferred claims were found well-formed when they first came. They begin and end no flood, and
//! are taken on during one.

use tokio::time::Instant;
use tracing::{error, info};

use super::{Ports, Worker};
use crate::intake::flood::{Bounds, Change, Place};
use crate::intake::{Input, Ticket};

impl<P: Ports> Worker<P> {
    /// A record was parsed: it is a claim, or malformed.
    pub(super) fn was_read(&mut self, ticket: &Ticket, malformed: bool) {
        let Some(place) = flood_place(ticket) else { return };
        let change = self.inflow.flood.read(Instant::now(), place, malformed);
        self.tell_flood(change);
    }

    /// A claim was looked up: it contradicts a recorded claim with the same id, or it does not.
    pub(super) fn looked_up(&mut self, ticket: &Ticket, conflict: bool) {
        let Some(place) = flood_place(ticket) else { return };
        let change = self.inflow.flood.looked_up(Instant::now(), place, conflict);
        self.tell_flood(change);
    }

    /// A record is dropped or deferred. If it was the probe of a flood, the flood forgets it: it
    /// will not be looked up, and another record is the next probe.
    pub(super) fn forget_flood_probe(&mut self, ticket: &Ticket) {
        if let Some(place) = flood_place(ticket) {
            self.inflow.flood.left(place);
        }
    }

    fn tell_flood(&self, change: Option<Change>) {
        let Bounds { window, probe_every, .. } = &self.context.flood;
        let found = match change {
            None => return,
            Some(Change::Over) => {
                info!("the flood of malformed events is over: a well-formed one came");
                return;
            }
            Some(Change::Run(run)) => format!("{run} in a row (dead_letters.max_run)"),
            Some(Change::Ratio(ratio)) => {
                format!("{:.0} % within {window:?} (dead_letters.max_ratio)", ratio * 100.0)
            }
        };
        error!(
            "a flood of malformed events: {found}. Intake is paused, except for one record every \
             {probe_every:?}, until a well-formed one comes; nothing is lost, the others stay in \
             Kafka. `claimgate dead-letters list --since 1h` says what is wrong with them: stop or \
             fix their producer. docs/dead-letters.md says what to do then"
        );
    }
}

/// Where an event of the input topic stands; `None` for a deferred claim.
fn flood_place(ticket: &Ticket) -> Option<Place> {
    let partition = ticket.partition();
    (partition.input == Input::Claims).then(|| (partition, ticket.offset()))
}
