//! Decides what to do with a dead letter that was chosen for a replay.
//!
//! Pure. [`plan`] is the whole rule.

use super::letters::LatestReplay;

/// What to do with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Announce a replay with this number, and send its event.
    Replay(i32),
    /// Its latest replay was announced and perhaps never sent: look in the topic, and send it under
    /// its own number if it is not there.
    Resume(LatestReplay),
    /// It was replayed already.
    LeaveOut(LatestReplay),
    /// It has reached the bound on replays: another one would not help.
    Refuse {
        /// How often.
        replays: i32,
    },
}

/// The plan for a letter: `replays_before` is the count in its own header, `latest` its latest
/// replay from the journal.
pub(super) fn plan(
    replays_before: i32,
    latest: Option<LatestReplay>,
    again: bool,
    max_replays: u32,
) -> Plan {
    let replays = match latest {
        Some(latest) if !latest.has_place => return Plan::Resume(latest),
        Some(latest) if !again => return Plan::LeaveOut(latest),
        Some(latest) => latest.number.max(replays_before),
        None => replays_before,
    };
    match replays.checked_add(1) {
        Some(number) if u32::try_from(number).is_ok_and(|number| number <= max_replays) => {
            Plan::Replay(number)
        }
        _ => Plan::Refuse { replays },
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn latest(number: i32, has_place: bool) -> LatestReplay {
        LatestReplay {
            number,
            by: "ann".to_owned(),
            announced_at: OffsetDateTime::UNIX_EPOCH,
            has_place,
        }
    }

    #[test]
    fn an_event_is_replayed_under_the_number_that_follows_until_the_bound() {
        assert_eq!(plan(0, None, false, 3), Plan::Replay(1));
        assert_eq!(plan(2, None, false, 3), Plan::Replay(3));
        assert_eq!(plan(3, None, false, 3), Plan::Refuse { replays: 3 });
        assert_eq!(plan(i32::MAX, None, false, u32::MAX), Plan::Refuse { replays: i32::MAX });
    }

    #[test]
    fn a_replayed_letter_is_left_out_unless_asked_again_within_the_bound() {
        assert_eq!(plan(0, Some(latest(1, true)), false, 3), Plan::LeaveOut(latest(1, true)));
        assert_eq!(plan(0, Some(latest(1, true)), true, 3), Plan::Replay(2));
        assert_eq!(plan(2, Some(latest(3, true)), true, 3), Plan::Refuse { replays: 3 });
    }

    #[test]
    fn a_replay_that_was_cut_short_keeps_its_number() {
        for again in [false, true] {
            assert_eq!(plan(0, Some(latest(2, false)), again, 2), Plan::Resume(latest(2, false)));
        }
    }
}
