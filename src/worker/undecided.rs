//! Claims in flight by their id: one record of each is on its way, the others that carry it wait for its verdict.
//!
//! Pure bookkeeping. The invariant: only the record that is on its way ends its line. One that was settled earlier, by the verdict of
//! another or in an assignment that has ended, may be recorded only now; it has no say about those that came since.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use crate::intake::TicketId;

/// The lines, by claim id.
#[derive(Debug)]
pub(super) struct Undecided<T> {
    lines: BTreeMap<String, Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    /// The record that is on its way.
    head: TicketId,
    behind: VecDeque<(TicketId, T)>,
}

impl<T> Default for Undecided<T> {
    fn default() -> Self {
        Self { lines: BTreeMap::new() }
    }
}

impl<T> Undecided<T> {
    /// A record comes. Given back, it heads its line and goes on; else it waits.
    pub(super) fn enter(&mut self, claim_id: String, ticket: TicketId, record: T) -> Option<T> {
        match self.lines.entry(claim_id) {
            Entry::Occupied(mut line) => {
                line.get_mut().behind.push_back((ticket, record));
                None
            }
            Entry::Vacant(line) => {
                line.insert(Line { head: ticket, behind: VecDeque::new() });
                Some(record)
            }
        }
    }

    /// A record has the claim's verdict: so have those that wait behind it.
    pub(super) fn decided(&mut self, claim_id: &str, ticket: TicketId) -> impl Iterator<Item = T> + use<T> {
        let heads = self.lines.get(claim_id).is_some_and(|line| line.head == ticket);
        let line = heads.then(|| self.lines.remove(claim_id)).flatten();
        line.into_iter().flat_map(|line| line.behind).map(|(_, record)| record)
    }

    /// A record has ended without a verdict: the next one heads the line, and goes on.
    pub(super) fn left(&mut self, claim_id: &str, ticket: TicketId) -> Option<T> {
        let line = self.lines.get_mut(claim_id).filter(|line| line.head == ticket)?;
        let Some((next, record)) = line.behind.pop_front() else {
            self.lines.remove(claim_id);
            return None;
        };
        line.head = next;
        Some(record)
    }

    /// Takes those that wait and are to go.
    pub(super) fn take_behind(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.lines.values_mut() {
            let (gone, stay): (VecDeque<_>, _) =
                std::mem::take(&mut line.behind).into_iter().partition(|(_, record)| goes(record));
            line.behind = stay;
            taken.extend(gone.into_iter().map(|(_, record)| record));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Admission, Assigned, Input, Ledger, Partition};

    /// Tickets of one partition, over two assignments: the records are the same, the tickets are not.
    fn tickets() -> ([TicketId; 3], [TicketId; 3]) {
        let partition = Partition { input: Input::Claims, number: 0 };
        let mut ledger = Ledger::default();
        let mut assignment = |epoch| {
            ledger.assign(&Assigned { partition, epoch, offset: None, metadata: String::new(), log_end: 3 });
            [0, 1, 2].map(|offset| match ledger.admit(partition, offset, epoch) {
                Admission::Ticket(ticket) => ticket.id(),
                other => panic!("{other:?}"),
            })
        };
        (assignment(1), assignment(2))
    }

    #[test]
    fn those_behind_get_the_verdict_of_the_one_in_front() {
        let ([first, second, third], _) = tickets();
        let mut undecided = Undecided::default();
        assert_eq!(undecided.enter("c".to_owned(), first, 1), Some(1));
        assert_eq!(
            (undecided.enter("c".to_owned(), second, 2), undecided.enter("c".to_owned(), third, 3)),
            (None, None)
        );
        assert_eq!(undecided.enter("other".to_owned(), first, 4), Some(4));
        assert_eq!(undecided.decided("c", first).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(undecided.enter("c".to_owned(), second, 5), Some(5), "the line is gone");
    }

    #[test]
    fn the_next_goes_on_when_the_first_ends_without_a_verdict() {
        let ([first, second, third], _) = tickets();
        let mut undecided = Undecided::default();
        undecided.enter("c".to_owned(), first, 1);
        undecided.enter("c".to_owned(), second, 2);
        undecided.enter("c".to_owned(), third, 3);
        assert_eq!(undecided.left("c", first), Some(2));
        assert_eq!(undecided.decided("c", second).collect::<Vec<_>>(), [3]);
    }

    /// A seed of the simulation found it: the line was ended by a record that had been settled before its partition went and came back, a
    /// third record found no line, and one claim was asked about by two.
    #[test]
    fn what_was_settled_in_an_earlier_assignment_ends_no_line() {
        let ([_, before, _], [first, second, third]) = tickets();
        let mut undecided = Undecided::default();
        undecided.enter("c".to_owned(), first, 1);
        undecided.enter("c".to_owned(), second, 2);
        assert_eq!(undecided.decided("c", before).count(), 0);
        assert_eq!(undecided.left("c", before), None);
        assert_eq!(undecided.left("c", second), None, "nor does one that waits");
        assert_eq!(undecided.enter("c".to_owned(), third, 3), None, "the first is on its way still");
        assert_eq!(undecided.decided("c", first).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn those_that_wait_can_be_sent_away() {
        let ([first, second, third], _) = tickets();
        let mut undecided = Undecided::default();
        undecided.enter("c".to_owned(), first, 1);
        undecided.enter("c".to_owned(), second, 2);
        undecided.enter("c".to_owned(), third, 3);
        assert_eq!(undecided.take_behind(|record| *record == 2), [2]);
        assert_eq!(undecided.decided("c", first).collect::<Vec<_>>(), [3]);
    }
}
