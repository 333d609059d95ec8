//! Floods: the worker tells [`Flood`](crate::intake::flood::Flood) how events of the input topic
//! turn out, and tells people what it says.
//!
//! Deferred claims were judged when they first came: they begin no flood, end none, and come in
//! during one.

use tokio::time::Instant;
use tracing::{error, info};

use super::{Ports, Worker};
use crate::intake::flood::{Bounds, Change, Place};
use crate::intake::{Input, Ticket};

impl<P: Ports> Worker<P> {
    /// A record was read: a claim, or malformed.
    pub(super) fn was_read(&mut self, ticket: &Ticket, malformed: bool) {
        let Some(place) = flood_place(ticket) else { return };
        let change = self.inflow.flood.read(Instant::now(), place, malformed);
        self.tell_flood(change);
    }

    /// A claim was looked up: it contradicts one that was recorded before, or it does not.
    pub(super) fn looked_up(&mut self, ticket: &Ticket, conflict: bool) {
        let Some(place) = flood_place(ticket) else { return };
        let change = self.inflow.flood.looked_up(Instant::now(), place, conflict);
        self.tell_flood(change);
    }

    /// A record is dropped or deferred. Where it is the probe of a flood, the flood forgets it:
    /// nobody will look it up, and another record is probed when the next probe is due.
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
