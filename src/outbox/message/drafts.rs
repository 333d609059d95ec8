//! Drafts: the messages of one batch, until each has a form that its topic takes.
//!
//! Pure: it says what to send next, and learns from what was refused. The invariant: after each
//! refusal fewer messages are sent together, or a message becomes smaller, or it is left out.
//! Nothing is sent again in the way in which it was refused.

use super::{Message, Topic, of};
use crate::outbox::{Completed, RecordOutcome};

/// The largest message that each topic takes, in the order of [`Topic::ALL`].
pub type Limits = [usize; 3];

/// The most decisions of one batch that may be left out; beyond that the topic takes none.
const LEFT_OUT_MAX: usize = 8;

/// The messages of one batch.
#[derive(Debug)]
pub struct Drafts<'a> {
    completed: &'a [Completed],
    republish_duplicates: bool,
    drafts: Vec<Draft>,
    /// For each topic: the weight of the lightest message that was refused alone because of its
    /// size.
    refused: [Option<usize>; 3],
}

#[derive(Debug)]
struct Draft {
    /// The record's place in the batch.
    index: usize,
    topic: Topic,
    /// Its weight when it was last sent.
    weight: usize,
    /// How many messages may be sent together with it, including itself.
    together: usize,
    /// Whether it is sent in its smallest form.
    least: bool,
    /// Whether its topic does not take it in any form.
    left_out: bool,
    /// Whether it is in its topic.
    delivered: bool,
}

/// A message to be sent.
#[derive(Debug)]
pub struct Parcel {
    /// Which draft it is.
    pub draft: usize,
    /// The message.
    pub message: Message,
    /// [`Message::weight`].
    pub weight: usize,
    /// How many messages may be in one batch with it, including itself.
    pub together: usize,
}

/// A message that its topic refused, perhaps because of others in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which draft it is.
    pub draft: usize,
    /// Whether it was too large.
    pub too_large: bool,
    /// Whether this very message is meant, whatever was sent with it.
    pub alone: bool,
}

/// What a refusal showed about a topic: it takes no message of this weight.
pub type Lesson = (Topic, usize);

impl<'a> Drafts<'a> {
    /// Drafts of the messages of these records.
    pub fn new(completed: &'a [Completed], republish_duplicates: bool) -> Self {
        let is_published = |completed: &Completed| {
            republish_duplicates || !matches!(completed.outcome, RecordOutcome::Duplicate(_))
        };
        let drafts = completed.iter().enumerate().filter(|(_, completed)| is_published(completed));
        let draft = |(index, completed): (usize, &Completed)| Draft {
            index,
            topic: super::topic_of(&completed.outcome),
            weight: 0,
            together: usize::MAX,
            least: false,
            left_out: false,
            delivered: false,
        };
        let drafts = drafts.map(draft).collect();
        Self { completed, republish_duplicates, drafts, refused: [None; 3] }
    }

    /// The messages to be sent next, made for these limits.
    pub fn parcels(&mut self, limits: &Limits) -> Vec<Parcel> {
        let mut parcels = Vec::with_capacity(self.drafts.len());
        for (number, draft) in self
            .drafts
            .iter_mut()
            .enumerate()
            .filter(|(_, draft)| !draft.left_out && !draft.delivered)
        {
            let limit = limits[draft.topic as usize];
            let max_bytes = if draft.least { 0 } else { limit };
            let completed = &self.completed[draft.index];
            let Some(message) = of(completed, self.republish_duplicates, max_bytes) else {
                continue;
            };
            draft.weight = message.weight();
            // Even its smallest form is as heavy as a message that was refused: it would be
            // refused, too. But no decision is left out untried.
            let is_tried = draft.topic == Topic::Decisions;
            if !is_tried
                && self.refused[draft.topic as usize].is_some_and(|refused| draft.weight >= refused)
            {
                draft.left_out = true;
                continue;
            }
            if draft.weight > limit {
                draft.together = 1;
            }
            let (weight, together) = (draft.weight, draft.together);
            parcels.push(Parcel { draft: number, message, weight, together });
        }
        parcels
    }

    /// Notes that these drafts are in their topics. They are not sent again.
    pub fn delivered(&mut self, drafts: &[usize]) {
        for number in drafts {
            if let Some(draft) = self.drafts.get_mut(*number) {
                draft.delivered = true;
            }
        }
    }

    /// Notes refusals, with the limits that are known now. Returns what they showed.
    pub fn refused(&mut self, refusals: &[Refusal], limits: &Limits) -> Vec<Lesson> {
        let single = refusals.len() == 1;
        let mut lessons = Vec::new();
        for refusal in refusals {
            let least = self.least_weight(refusal.draft);
            let Some(draft) = self.drafts.get_mut(refusal.draft) else { continue };
            let can_shrink = !draft.least && least < draft.weight;
            if refusal.too_large && draft.weight > limits[draft.topic as usize] && can_shrink {
                // It was made for another limit: it is made again for this one.
                continue;
            }
            // Several batches may be refused at once: what was sent by itself is meant itself.
            let is_alone = single || refusal.alone || draft.together == 1;
            if !is_alone {
                draft.together = (draft.together.min(refusals.len()) / 2).max(1);
                continue;
            }
            if refusal.too_large {
                lessons.push((draft.topic, draft.weight));
                let lightest = self.refused[draft.topic as usize].get_or_insert(draft.weight);
                *lightest = draft.weight.min(*lightest);
            }
            let other_form = draft.topic != Topic::Retry && !draft.least;
            draft.left_out = if refusal.too_large { !can_shrink } else { !other_form };
            draft.least = true;
        }
        lessons
    }

    fn least_weight(&self, draft: usize) -> usize {
        let completed = self.drafts.get(draft).map(|draft| &self.completed[draft.index]);
        let least = completed.and_then(|completed| of(completed, self.republish_duplicates, 0));
        least.map_or(usize::MAX, |least| least.weight())
    }

    /// The records, by their places in the batch, that were to be deferred and cannot be: the retry
    /// topic rejects them, and a deferred claim cannot be cut.
    pub fn undeferrable(&self, limits: &Limits) -> Vec<usize> {
        let limit = limits[Topic::Retry as usize];
        let deferred = || self.drafts.iter().filter(|draft| draft.topic == Topic::Retry);
        if !deferred().any(|draft| draft.left_out) {
            return Vec::new();
        }
        let cannot = |draft: &&Draft| draft.left_out || draft.weight > limit;
        deferred().filter(cannot).map(|draft| draft.index).collect()
    }

    /// Whether enough decisions are left out to conclude that their topic is at fault.
    pub fn leave_out_too_many(&self) -> bool {
        self.left_out(Topic::Decisions).count() > LEFT_OUT_MAX
    }

    /// Whether the topic of decisions takes none of the batch: each is left out. One that was
    /// delivered, or is still to be sent, is not.
    pub fn leave_out_all(&self) -> bool {
        let mut decisions =
            self.drafts.iter().filter(|draft| draft.topic == Topic::Decisions).peekable();
        decisions.peek().is_some() && decisions.all(|draft| draft.left_out)
    }

    /// The records of a topic whose messages are left out.
    pub fn left_out(&self, topic: Topic) -> impl Iterator<Item = &'a Completed> {
        let left_out = move |draft: &&Draft| draft.left_out && draft.topic == topic;
        self.drafts.iter().filter(left_out).map(|draft| &self.completed[draft.index])
    }
}
