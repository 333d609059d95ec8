//! The event of a dead letter as a replay sends it: its own key, payload and headers, and two
//! headers of the replay.
//!
//! Pure. The invariant: the count in the headers grows by one with every replay, even if the event
//! became a dead letter again in between.

use crate::intake::Headers;
use crate::schema::{LetterId, ReplayId};

/// How often the event was replayed, this time included.
pub const REPLAYS: &str = "claimgate-replays";
/// Which dead letter it was: `topic/partition/offset@content`.
pub const REPLAYED_FROM: &str = "claimgate-replayed-from";

/// An event on its way to the input topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The dead letter that it comes from.
    pub(super) letter: LetterId,
    /// The replay's number.
    pub(super) number: i32,
    /// Its own key.
    pub(super) key: Option<Vec<u8>>,
    /// Its own payload; `None` is a tombstone.
    pub(super) payload: Option<Vec<u8>>,
    /// Its own headers, and the two of its replay.
    pub(super) headers: Headers,
}

impl Event {
    /// What identifies its replay.
    pub(super) fn id(&self) -> ReplayId {
        ReplayId { letter: self.letter.clone(), number: self.number }
    }
}

/// The headers of a replay: the event's own, and its count and origin in place of an earlier
/// replay's.
pub(super) fn replays_headers(mut own: Headers, number: i32, letter: &LetterId) -> Headers {
    own.retain(|(name, _)| name != REPLAYS && name != REPLAYED_FROM);
    own.push((REPLAYS.to_owned(), Some(number.to_string().into_bytes())));
    own.push((REPLAYED_FROM.to_owned(), Some(letter.to_string().into_bytes())));
    own
}

/// How often an event was replayed before, from its header; 0 where there is none, or none that
/// claimgate wrote.
pub(super) fn replays_before(header: Option<&str>) -> i32 {
    header.and_then(|text| text.parse().ok()).filter(|count| *count > 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Source;

    fn letter(offset: i64) -> LetterId {
        let source = Source { topic: "reward.claims".to_owned(), partition: 3, offset };
        LetterId { source, content: "9f86d081884c7d65".to_owned() }
    }

    #[test]
    fn a_replay_of_a_replay_says_only_the_latest() {
        let own: Headers = vec![("tenant".to_owned(), Some(b"a".to_vec()))];
        let once = replays_headers(own.clone(), 1, &letter(7));
        let twice = replays_headers(once, 2, &letter(9));
        let value = |text: &str| Some(text.as_bytes().to_vec());
        let mut expected = own;
        expected.push((REPLAYS.to_owned(), value("2")));
        expected.push((REPLAYED_FROM.to_owned(), value("reward.claims/3/9@9f86d081884c7d65")));
        assert_eq!(twice, expected);
    }

    #[test]
    fn a_count_that_claimgate_did_not_write_is_none() {
        assert_eq!(replays_before(Some("2")), 2);
        for text in [None, Some(""), Some("-1"), Some("many"), Some("99999999999"), Some("2 ")] {
            assert_eq!(replays_before(text), 0, "{text:?}");
        }
    }
}
