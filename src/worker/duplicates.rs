//! Queues of records that have the same claim id: one record, the leader, is assessed; the others,
//! its followers, wait for its verdict.
//!
//! Pure bookkeeping. The invariants: only the leader ends its queue, and a queue is bounded. A
//! record that was completed earlier, by the verdict of another record or in an assignment that has
//! ended, may be recorded only now. It does not end the queue of records that came since.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use crate::intake::TicketId;
use crate::intake::timetable::take_matching;

/// The most followers of one leader.
const FOLLOWERS_MAX: usize = 64;

/// The queues, by claim id.
#[derive(Debug)]
pub(super) struct DuplicateQueues<T> {
    queues: BTreeMap<String, Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    /// The record that is assessed.
    leader: TicketId,
    followers: VecDeque<(TicketId, T)>,
}

/// What [`DuplicateQueues::enter`] did with a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// It leads a new queue: go on with it.
    Leads(T),
    /// It follows another record and waits.
    Waits,
    /// Too many followers wait already.
    Full(T),
}

impl<T> Default for DuplicateQueues<T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new() }
    }
}

impl<T> DuplicateQueues<T> {
    /// Enters a record: as the leader of a new queue, or as a follower.
    pub(super) fn enter(&mut self, claim_id: String, ticket: TicketId, record: T) -> Entered<T> {
        match self.queues.entry(claim_id) {
            Entry::Occupied(mut queue) if queue.get().followers.len() < FOLLOWERS_MAX => {
                queue.get_mut().followers.push_back((ticket, record));
                Entered::Waits
            }
            Entry::Occupied(_) => Entered::Full(record),
            Entry::Vacant(queue) => {
                queue.insert(Queue { leader: ticket, followers: VecDeque::new() });
                Entered::Leads(record)
            }
        }
    }

    /// A record gets its outcome without being assessed: it leads a queue until it is recorded,
    /// unless its claim has one.
    pub(super) fn lead(&mut self, claim_id: &str, ticket: TicketId) {
        let queue = || Queue { leader: ticket, followers: VecDeque::new() };
        self.queues.entry(claim_id.to_owned()).or_insert_with(queue);
    }

    /// The leader has its outcome: the queue ends. Returns the followers.
    pub(super) fn ended(&mut self, claim_id: &str, ticket: TicketId) -> Vec<T> {
        let is_leader = self.queues.get(claim_id).is_some_and(|queue| queue.leader == ticket);
        let queue = is_leader.then(|| self.queues.remove(claim_id)).flatten();
        let followers = queue.map(|queue| queue.followers).unwrap_or_default();
        followers.into_iter().map(|(_, record)| record).collect()
    }

    /// The leader was dropped without an outcome: the first follower leads the queue now. Returns
    /// it.
    pub(super) fn left(&mut self, claim_id: &str, ticket: TicketId) -> Option<T> {
        let queue = self.queues.get_mut(claim_id).filter(|queue| queue.leader == ticket)?;
        let Some((next, record)) = queue.followers.pop_front() else {
            self.queues.remove(claim_id);
            return None;
        };
        queue.leader = next;
        Some(record)
    }

    /// Takes out the followers that match.
    pub(super) fn take_followers(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<T> {
        let queues = self.queues.values_mut().map(|queue| &mut queue.followers);
        let taken = queues.flat_map(|queue| take_matching(queue, |(_, record)| goes(record)));
        taken.map(|(_, record)| record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Admission, Assigned, Input, Ledger, Partition};

    /// Tickets of one partition, over two assignments: the records are the same, the tickets are
    /// not.
    fn tickets() -> ([TicketId; 3], [TicketId; 3]) {
        let partition = Partition { input: Input::Claims, number: 0 };
        let mut ledger = Ledger::default();
        let mut assignment = |epoch| {
            ledger.assign(&Assigned {
                partition,
                epoch,
                offset: None,
                metadata: String::new(),
                log_end: 3,
            });
            [0, 1, 2].map(|offset| match ledger.admit(partition, offset, epoch) {
                Admission::Ticket(ticket) => ticket.id(),
                other => panic!("{other:?}"),
            })
        };
        (assignment(1), assignment(2))
    }

    #[test]
    fn followers_are_returned_when_the_leader_has_its_outcome() {
        let ([first, second, third], _) = tickets();
        let mut queues = DuplicateQueues::default();
        assert_eq!(queues.enter("c".to_owned(), first, 1), Entered::Leads(1));
        assert_eq!(
            (queues.enter("c".to_owned(), second, 2), queues.enter("c".to_owned(), third, 3)),
            (Entered::Waits, Entered::Waits)
        );
        assert_eq!(queues.enter("other".to_owned(), first, 4), Entered::Leads(4));
        assert_eq!(queues.ended("c", first), vec![2, 3]);
        assert_eq!(queues.enter("c".to_owned(), second, 5), Entered::Leads(5), "the queue is gone");
    }

    #[test]
    fn a_record_that_is_not_assessed_leads_unless_another_does() {
        let ([first, second, third], _) = tickets();
        let mut queues = DuplicateQueues::default();
        queues.lead("c", first);
        assert_eq!(queues.enter("c".to_owned(), second, 2), Entered::Waits);
        queues.lead("c", third);
        assert_eq!(queues.ended("c", third), Vec::<i32>::new());
        assert_eq!(queues.ended("c", first), vec![2]);
    }

    #[test]
    fn the_first_follower_leads_when_the_leader_is_dropped() {
        let ([first, second, third], _) = tickets();
        let mut queues = DuplicateQueues::default();
        queues.enter("c".to_owned(), first, 1);
        queues.enter("c".to_owned(), second, 2);
        queues.enter("c".to_owned(), third, 3);
        assert_eq!(queues.left("c", first), Some(2));
        assert_eq!(queues.ended("c", second), vec![3]);
    }

    /// A seed of the simulation found it. A record that had been completed before its partition
    /// went and came back ended the queue. A third record found no queue and led its own, so an API
    /// was asked about one claim twice.
    #[test]
    fn a_record_completed_in_an_earlier_assignment_does_not_end_the_queue() {
        let ([_, before, _], [first, second, third]) = tickets();
        let mut queues = DuplicateQueues::default();
        queues.enter("c".to_owned(), first, 1);
        queues.enter("c".to_owned(), second, 2);
        assert_eq!(queues.ended("c", before), Vec::<i32>::new());
        assert_eq!(queues.left("c", before), None);
        assert_eq!(queues.left("c", second), None, "nor does a follower");
        assert_eq!(queues.enter("c".to_owned(), third, 3), Entered::Waits, "the first still leads");
        assert_eq!(queues.ended("c", first), vec![2, 3]);
    }

    #[test]
    fn followers_can_be_taken_out() {
        let ([first, second, third], _) = tickets();
        let mut queues = DuplicateQueues::default();
        queues.enter("c".to_owned(), first, 1);
        queues.enter("c".to_owned(), second, 2);
        queues.enter("c".to_owned(), third, 3);
        assert_eq!(queues.take_followers(|record| *record == 2), [2]);
        assert_eq!(queues.ended("c", first), vec![3]);
    }

    #[test]
    fn the_number_of_followers_is_bounded() {
        let ([first, second, third], _) = tickets();
        let mut queues = DuplicateQueues::default();
        assert_eq!(queues.enter("c".to_owned(), first, 0), Entered::Leads(0));
        for number in 0..FOLLOWERS_MAX {
            assert_eq!(queues.enter("c".to_owned(), second, number), Entered::Waits);
        }
        assert_eq!(queues.enter("c".to_owned(), third, 7), Entered::Full(7));
        assert_eq!(queues.ended("c", first).len(), FOLLOWERS_MAX);
    }
}
