//! What the tables tell about a claim that has attempts but no verdict. Pure.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::report::shown::{counted, instant, sheet};
use crate::risk::{AttemptOutcome, FaultReason};
use crate::schema::{Call, LetterId, utc};

/// A claim that was sent to an API and is not decided.
#[derive(Debug, Serialize)]
pub struct Waiting {
    /// The first attempt.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The last attempt.
    #[serde(with = "time::serde::rfc3339")]
    pub last: OffsetDateTime,
    /// The number of attempts.
    pub attempts: usize,
    /// The API of the last attempt.
    pub api: String,
    /// The outcome of the last attempt.
    pub outcome: String,
    /// Why, in one word; empty if the API assessed the claim.
    pub reason: String,
    /// About when the worker decides without an assessment: `retry.give_up_after` after it took the
    /// claim on. The first attempt is the best known time of that.
    #[serde(with = "time::serde::rfc3339")]
    pub give_up_at: OffsetDateTime,
    /// What happens next, as far as the tables tell.
    pub next: String,
}

/// The latest dead letter of a claim that PostgreSQL could not record.
pub(super) struct Unrecorded {
    pub(super) letter: LetterId,
    /// Its latest replay, if there was one.
    pub(super) replay: Option<LetterReplay>,
}

/// A replay of a dead letter.
pub(super) struct LetterReplay {
    pub(super) number: i32,
    pub(super) replayed_by: String,
    pub(super) announced_at: OffsetDateTime,
}

impl Waiting {
    /// Makes it from these attempts, oldest first; `None` if there is none.
    pub(super) fn new(
        calls: &[Call],
        unrecorded: Option<&Unrecorded>,
        give_up_after: Duration,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let (first, last) = (calls.first()?, calls.last()?);
        let since = utc(first.requested_at);
        let give_up_after = time::Duration::try_from(give_up_after).unwrap_or(time::Duration::MAX);
        let give_up_at = since.saturating_add(give_up_after);
        Some(Self {
            since,
            last: utc(last.requested_at),
            attempts: calls.len(),
            api: last.api.to_string(),
            outcome: last.outcome.to_string(),
            reason: last.reason.to_string(),
            give_up_at,
            next: unrecorded.map_or_else(|| next(last, give_up_at, now), Unrecorded::next),
        })
    }

    /// For a terminal.
    pub(super) fn text(&self, claim_id: &str) -> String {
        let remedy = FaultReason::from_word(&self.reason).and_then(FaultReason::remedy);
        let last = format!("{}: {} {}", self.api, self.outcome, self.reason);
        let remedy = remedy.map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        sheet([
            ("Claim", format!("{claim_id}, undecided: there is no verdict yet")),
            ("Asked", format!("{} since {}", counted(self.attempts, "time"), instant(self.since))),
            ("Last", format!("{} {}{remedy}", instant(self.last), last.trim_end())),
            ("Next", self.next.clone()),
        ])
    }
}

impl Unrecorded {
    fn next(&self) -> String {
        let show = format!("claimgate dead-letters show {}", self.letter);
        match &self.replay {
            None => format!("nothing, unless its dead letter is replayed: {show}"),
            Some(LetterReplay { number, replayed_by, announced_at }) => format!(
                "its dead letter was replayed (replay {number} by {replayed_by} at {}), so its \
                 event is read again; where it went: {show}",
                instant(*announced_at)
            ),
        }
    }
}

fn next(last: &Call, give_up_at: OffsetDateTime, now: OffsetDateTime) -> String {
    let until = instant(give_up_at);
    if give_up_at <= now {
        return format!(
            "it should have been decided by about {until} (retry.give_up_after): no worker reads \
             the retry topic, or it has not come to this claim (docs/telemetry.md)"
        );
    }
    let Some(outcome) = AttemptOutcome::from_word(&last.outcome) else {
        return format!("this version does not know the outcome {:?}", last.outcome);
    };
    match outcome {
        AttemptOutcome::Assessed | AttemptOutcome::Unassessable => {
            "the API has answered, so its verdict is being recorded; if the worker was killed \
             before that, another one asks again"
                .to_owned()
        }
        AttemptOutcome::AccessDenied => format!(
            "the API denies access, so only probes are sent until that is corrected; at about \
             {until} at the latest the claim is decided as unassessed (retry.on_unassessed)"
        ),
        AttemptOutcome::Transient | AttemptOutcome::Unknown => format!(
            "it is asked about again, first by the worker that has it, then by way of the retry \
             topic; at about {until} at the latest it is decided as unassessed \
             (retry.on_unassessed)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn waiting(outcome: &'static str, now: OffsetDateTime) -> Waiting {
        let first = Call { outcome: "transient".into(), ..Call::ordinary("a") };
        let requested_at = first.requested_at + 1_000_000;
        let last = Call { outcome: outcome.into(), requested_at, ..Call::ordinary("a") };
        Waiting::new(&[first, last], None, HOUR, now).expect("there are calls")
    }

    #[test]
    fn what_happens_next_follows_from_the_last_attempt_and_the_time() {
        let now = utc(Call::ordinary("a").requested_at) + HOUR / 2;
        for (outcome, part) in [
            ("transient", "by way of the retry topic"),
            ("unknown", "by way of the retry topic"),
            ("access_denied", "until that is corrected"),
            ("assessed", "is being recorded"),
        ] {
            let waiting = waiting(outcome, now);
            assert!(waiting.next.contains(part), "{outcome}: {}", waiting.next);
            assert_eq!((waiting.attempts, waiting.outcome.as_str()), (2, outcome));
        }
        let late = waiting("transient", now + HOUR / 2).next;
        assert!(late.contains("should have been decided by about 2021-09-30T10:34:40.5"), "{late}");
        assert!(Waiting::new(&[], None, HOUR, now).is_none());
    }

    #[test]
    fn an_unrecordable_claim_waits_for_its_replay_and_then_for_the_worker() {
        let (calls, now) = ([Call::ordinary("a")], OffsetDateTime::UNIX_EPOCH);
        let next = |replay| {
            let unrecorded = Unrecorded { letter: LetterId::first(), replay };
            Waiting::new(&calls, Some(&unrecorded), HOUR, now).expect("there are calls").next
        };
        assert!(next(None).starts_with("nothing, unless its dead letter is replayed"));
        let replayed_by = "ann".to_owned();
        let said = next(Some(LetterReplay { number: 2, replayed_by, announced_at: now }));
        assert!(said.contains("was replayed (replay 2 by ann at 1970-01-01"), "{said}");
    }

    #[test]
    fn a_bound_beyond_the_calendar_wedges_nothing() {
        let calls = [Call::ordinary("a")];
        let now = OffsetDateTime::UNIX_EPOCH;
        assert!(Waiting::new(&calls, None, Duration::MAX, now).is_some());
    }
}
