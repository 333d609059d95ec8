//! The waiting room: parked claims whose time has not come.
//!
//! Pure: time is an argument. Owns their tickets meanwhile; they are not in flight. How many there may be is for the worker to say.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Record, Ticket};

/// Parked claims, by the time they are due.
#[derive(Debug, Default)]
pub struct WaitingRoom {
    by_due: BTreeMap<(Instant, u64), (Ticket, Record)>,
    bytes: usize,
    sequence: u64,
}

impl WaitingRoom {
    /// A claim takes a seat until `due`.
    pub fn enter(&mut self, due: Instant, ticket: Ticket, record: Record) {
        self.sequence += 1;
        self.bytes += record.bytes();
        self.by_due.insert((due, self.sequence), (ticket, record));
    }

    /// The first claim that is due.
    pub fn next_due(&mut self, now: Instant) -> Option<(Ticket, Record)> {
        let entry = self.by_due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let (ticket, record) = entry.remove();
        self.bytes -= record.bytes();
        Some((ticket, record))
    }

    /// When the first is due.
    pub fn due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// Sends away those whose partition goes: whoever gets it reads them again.
    pub fn send_away(&mut self, mut goes: impl FnMut(&Ticket) -> bool) {
        self.by_due.retain(|_, (ticket, _)| !goes(ticket));
        self.bytes = self.by_due.values().map(|(_, record)| record.bytes()).sum();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_due.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.by_due.is_empty()
    }

    /// The bytes of their payloads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::intake::{Admission, Assigned, Ledger, Partition};

    fn seats(count: i64) -> Vec<(Ticket, Record)> {
        let (mut ledger, partition) = (Ledger::default(), Partition::retry(1));
        ledger.assign(&Assigned { partition, epoch: 1, offset: None, metadata: String::new(), log_end: 9 });
        let seat = |offset| {
            let Admission::Ticket(ticket) = ledger.admit(partition, offset, 1) else {
                unreachable!("the partition is assigned")
            };
            let payload = Some(vec![0; 10]);
            (ticket, Record { partition, offset, epoch: 1, key: None, headers: Vec::new(), payload })
        };
        (0..count).map(seat).collect()
    }

    #[test]
    fn claims_leave_in_the_order_they_are_due_and_not_before() {
        let (mut room, now) = (WaitingRoom::default(), Instant::now());
        for ((ticket, record), seconds) in seats(3).into_iter().zip([30, 10, 20]) {
            room.enter(now + Duration::from_secs(seconds), ticket, record);
        }
        assert_eq!((room.len(), room.bytes(), room.due()), (3, 30, Some(now + Duration::from_secs(10))));
        assert_eq!(room.next_due(now + Duration::from_secs(9)), None);
        let late = now + Duration::from_secs(60);
        let order: Vec<i64> =
            std::iter::from_fn(|| room.next_due(late)).map(|(ticket, _)| ticket.offset()).collect();
        assert_eq!(order, [1, 2, 0]);
        assert_eq!((room.is_empty(), room.bytes()), (true, 0));
    }

    #[test]
    fn whoever_is_sent_away_leaves_no_trace() {
        let (mut room, now) = (WaitingRoom::default(), Instant::now());
        for (ticket, record) in seats(4) {
            room.enter(now, ticket, record);
        }
        room.send_away(|ticket| ticket.offset() % 2 == 0);
        assert_eq!((room.len(), room.bytes()), (2, 20));
    }
}
