//! The waiting room: deferred claims that were read from the retry topic and are not due yet.
//!
//! Pure: time is an argument. It owns their tickets; they do not count as in flight. Each API has
//! seats of its own, so that the claims of an API that is down for hours do not block those of
//! another.
//!
//! ```
//! use claimgate::intake::waiting::WaitingRoom;
//!
//! let room = WaitingRoom::new(2, 4, 1 << 20);
//! assert!(room.has_seat(Some(0)), "each of two APIs has two of the four seats");
//! assert!(room.is_empty());
//! ```

use tokio::time::Instant;

use super::deferral::Deferral;
use super::timetable::Timetable;
use super::{Partition, Record, Ticket};

/// Deferred claims, by API and by the time they are due.
#[derive(Debug)]
pub struct WaitingRoom {
    /// By the number of the API; the last is for claims without a known API.
    rows: Vec<Row>,
    /// How many seats each API has.
    seats: usize,
    /// The most bytes of the claims of each API.
    max_bytes: usize,
}

/// One API's seats.
#[derive(Debug, Default)]
struct Row {
    by_due: Timetable<Seat>,
    bytes: usize,
}

/// A claim that waits.
#[derive(Debug)]
struct Seat {
    ticket: Ticket,
    record: Record,
    /// When it was first admitted, UNIX milliseconds.
    first: i64,
    /// Since when workers have tried to decide it, UNIX milliseconds.
    since: i64,
}

impl WaitingRoom {
    /// A waiting room for the claims of this many APIs; the bounds are for all of them together.
    pub fn new(apis: usize, max_claims: usize, max_bytes: usize) -> Self {
        let rows = (0..=apis).map(|_| Row::default()).collect();
        let part = |whole: usize| (whole / apis.max(1)).max(1);
        Self { rows, seats: part(max_claims), max_bytes: part(max_bytes) }
    }

    /// Whether a claim of this API would find a seat.
    pub fn has_seat(&self, api: Option<usize>) -> bool {
        let row = &self.rows[self.row(api)];
        row.by_due.len() < self.seats && row.bytes < self.max_bytes
    }

    /// Gives a claim with this history a seat until `due`.
    pub fn enter(
        &mut self,
        api: Option<usize>,
        due: Instant,
        history: &Deferral,
        (ticket, record): (Ticket, Record),
    ) {
        let row = self.row(api);
        let row = &mut self.rows[row];
        row.bytes += record.bytes();
        let Deferral { first, since, .. } = *history;
        row.by_due.enter(due, Seat { ticket, record, first, since });
    }

    /// Takes the due claim that has been due for longest, among the first claims of each API for
    /// which there is room. `has_room` gets the API, and since when the claim has been tried (UNIX
    /// milliseconds).
    pub fn next_due(
        &mut self,
        now: Instant,
        mut has_room: impl FnMut(Option<usize>, i64) -> bool,
    ) -> Option<(Ticket, Record)> {
        let firsts = self.rows.iter().enumerate();
        let firsts = firsts.filter_map(|(row, seats)| Some((row, seats.by_due.first()?)));
        let due =
            firsts.filter(|(row, (due, seat))| *due <= now && has_room(self.api(*row), seat.since));
        let (_, row) = due.map(|(row, (due, _))| (due, row)).min()?;
        let row = &mut self.rows[row];
        let Seat { ticket, record, .. } = row.by_due.pop_due(now)?;
        row.bytes -= record.bytes();
        Some((ticket, record))
    }

    /// Takes the claim with the lowest offset of a partition, due or not.
    pub fn take_first(&mut self, partition: Partition) -> Option<(Ticket, Record)> {
        let place = |seat: &Seat| (seat.ticket.partition(), seat.ticket.offset());
        let places = self
            .rows
            .iter()
            .enumerate()
            .flat_map(|(row, seats)| seats.by_due.iter().map(move |seat| (place(seat), row)));
        let (first, row) = places.filter(|((of, _), _)| *of == partition).min()?;
        let row = &mut self.rows[row];
        let Seat { ticket, record, .. } = row.by_due.take(|seat| place(seat) == first).next()?;
        row.bytes -= record.bytes();
        Some((ticket, record))
    }

    /// When the next claim becomes due, of those that are not due yet.
    pub fn due_after(&self, now: Instant) -> Option<Instant> {
        self.rows.iter().filter_map(|row| row.by_due.due_after(now)).min()
    }

    /// Makes all claims due at this time, in the same order.
    pub fn make_due(&mut self, at: Instant) {
        self.rows.iter_mut().for_each(|row| row.by_due.make_due(at));
    }

    /// Removes the claims that match, such as those of a partition that is given back: its next
    /// owner reads them again.
    pub fn remove_where(&mut self, mut goes: impl FnMut(&Ticket) -> bool) {
        for row in &mut self.rows {
            let gone = row.by_due.take(|seat| goes(&seat.ticket));
            row.bytes -= gone.map(|seat| seat.record.bytes()).sum::<usize>();
        }
    }

    /// All waiting claims: API, partition, and when the claim was first admitted (UNIX
    /// milliseconds).
    pub fn seated(&self) -> impl Iterator<Item = (Option<usize>, Partition, i64)> {
        self.rows.iter().enumerate().flat_map(|(row, seats)| {
            let api = self.api(row);
            seats.by_due.iter().map(move |seat| (api, seat.ticket.partition(), seat.first))
        })
    }

    /// When the first claim of each API is due; the last is for claims without a known API.
    pub fn next_dues(&self) -> impl Iterator<Item = (Option<usize>, Option<Instant>)> {
        self.rows.iter().enumerate().map(|(row, seats)| (self.api(row), seats.by_due.due()))
    }

    /// How many claims wait.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.by_due.len()).sum()
    }

    /// Whether no claim waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn api(&self, row: usize) -> Option<usize> {
        (row + 1 < self.rows.len()).then_some(row)
    }

    fn row(&self, api: Option<usize>) -> usize {
        let unknown = self.rows.len() - 1;
        api.map_or(unknown, |api| api.min(unknown))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decision::Source;
    use crate::intake::{Admission, Assigned, Ledger};

    fn history(since: i64) -> Deferral {
        Deferral {
            times: 1,
            first: since,
            since,
            not_before: 0,
            attempts: 0,
            unseen: 0,
            code: None,
            reason: String::new(),
            source: Source { topic: String::new(), partition: 0, offset: 0 },
            api: String::new(),
            traceparent: String::new(),
        }
    }

    fn seats(count: i64) -> Vec<(Ticket, Record)> {
        let (mut ledger, partition) = (Ledger::default(), Partition::retry(1));
        ledger.assign(&Assigned {
            partition,
            epoch: 1,
            offset: None,
            metadata: String::new(),
            log_end: 9,
        });
        let seat = |offset| {
            let Admission::Ticket(ticket) = ledger.admit(partition, offset, 1) else {
                unreachable!("the partition is assigned")
            };
            let payload = Some(vec![0; 10]);
            (
                ticket,
                Record {
                    partition,
                    offset,
                    epoch: 1,
                    key: None,
                    headers: Vec::new(),
                    payload,
                    written_at: 0,
                },
            )
        };
        (0..count).map(seat).collect()
    }

    fn bytes(room: &WaitingRoom) -> usize {
        room.rows.iter().map(|row| row.bytes).sum()
    }

    #[test]
    fn claims_can_be_made_due_and_keep_their_order() {
        let (mut room, now) = (WaitingRoom::new(1, 9, 1_000), Instant::now());
        for (claim, seconds) in seats(3).into_iter().zip([30, 10, 20]) {
            room.enter(Some(0), now + Duration::from_secs(seconds), &history(7), claim);
        }
        room.make_due(now);
        let order: Vec<i64> = std::iter::from_fn(|| room.next_due(now, |_, _| true))
            .map(|(_, record)| record.offset)
            .collect();
        assert_eq!((order, bytes(&room)), (vec![1, 2, 0], 0));
    }

    #[test]
    fn claims_leave_in_the_order_they_are_due_and_not_before() {
        let (mut room, now) = (WaitingRoom::new(1, 9, 1_000), Instant::now());
        for (claim, seconds) in seats(3).into_iter().zip([30, 10, 20]) {
            room.enter(Some(0), now + Duration::from_secs(seconds), &history(7), claim);
        }
        assert_eq!(room.seated().next(), Some((Some(0), Partition::retry(1), 7)));
        let dues: Vec<_> = room.next_dues().collect();
        assert_eq!(dues, [(Some(0), Some(now + Duration::from_secs(10))), (None, None)]);
        assert_eq!((room.len(), bytes(&room)), (3, 30));
        assert_eq!(room.due_after(now), Some(now + Duration::from_secs(10)));
        assert_eq!(room.next_due(now + Duration::from_secs(9), |_, _| true), None);
        let late = now + Duration::from_secs(60);
        let order: Vec<i64> = std::iter::from_fn(|| room.next_due(late, |_, _| true))
            .map(|(ticket, _)| ticket.offset())
            .collect();
        assert_eq!(order, [1, 2, 0]);
        assert_eq!((room.is_empty(), bytes(&room)), (true, 0));
    }

    #[test]
    fn removed_claims_free_their_seats_and_bytes() {
        let (mut room, now) = (WaitingRoom::new(1, 9, 1_000), Instant::now());
        for claim in seats(4) {
            room.enter(None, now, &history(0), claim);
        }
        room.remove_where(|ticket| ticket.offset() % 2 == 0);
        assert_eq!((room.len(), bytes(&room)), (2, 20));
    }

    #[test]
    fn the_first_claim_of_a_partition_can_be_taken_out_before_it_is_due() {
        let (mut room, now) = (WaitingRoom::new(2, 8, 1_000), Instant::now());
        for ((claim, api), seconds) in seats(3).into_iter().zip([1, 0, 0]).zip([9, 3, 6]) {
            room.enter(Some(api), now + Duration::from_secs(seconds), &history(0), claim);
        }
        assert_eq!(room.take_first(Partition::retry(2)), None, "it has none");
        let order: Vec<i64> = std::iter::from_fn(|| room.take_first(Partition::retry(1)))
            .map(|(_, record)| record.offset)
            .collect();
        assert_eq!((order, bytes(&room)), (vec![0, 1, 2], 0));
    }

    #[test]
    fn each_api_has_seats_of_its_own() {
        let (mut room, now) = (WaitingRoom::new(2, 4, 1_000), Instant::now());
        let mut seats = seats(5).into_iter();
        for _ in 0..2 {
            room.enter(Some(0), now, &history(0), seats.next().expect("five"));
        }
        assert!(!room.has_seat(Some(0)) && room.has_seat(Some(1)) && room.has_seat(None));
        room.enter(Some(1), now + Duration::from_secs(1), &history(0), seats.next().expect("five"));
        let late = now + Duration::from_secs(2);
        let (ticket, _) =
            room.next_due(late, |api, _| api == Some(1)).expect("the first one has no room");
        assert_eq!(ticket.offset(), 2);
        assert_eq!(room.due_after(late), None, "a due claim without room is no reason to wake");
    }
}
