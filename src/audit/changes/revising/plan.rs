//! Whether a decision may be revised, and how. Pure.

use serde::Deserialize;

use crate::decision::Decision;
use crate::schema::RevisionRow;

/// The section `[audit.overrides]`: for each decision, what a person may change it to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// What `approve` may become.
    pub approve: Vec<Decision>,
    /// What `challenge` may become.
    pub challenge: Vec<Decision>,
    /// What `review` may become.
    pub review: Vec<Decision>,
    /// What `reject` may become.
    pub reject: Vec<Decision>,
}

impl Default for Overrides {
    /// A person may decide only what was left to a person.
    fn default() -> Self {
        let review = vec![Decision::Approve, Decision::Reject];
        Self { approve: vec![], challenge: vec![], review, reject: vec![] }
    }
}

impl Overrides {
    fn of(&self, decision: Decision) -> &[Decision] {
        match decision {
            Decision::Approve => &self.approve,
            Decision::Challenge => &self.challenge,
            Decision::Review => &self.review,
            Decision::Reject => &self.reject,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Announce this revision, and publish it.
    Revise(i32),
    /// It was announced before; publish it, unless it is in the topic already.
    Resume(i32),
}

/// Plans a revision to `to`, given the worker's decision and the revisions since, in order.
///
/// # Errors
/// One sentence that says why it is not allowed.
pub(super) fn plan(
    verdict: Decision,
    revisions: &[RevisionRow],
    to: Decision,
    overrides: &Overrides,
) -> Result<Plan, String> {
    let last = revisions.last();
    if let Some(last) = last.filter(|last| last.place().is_none()) {
        let RevisionRow { revision, decision, revised_by, .. } = last;
        return if *decision == to {
            Ok(Plan::Resume(*revision))
        } else {
            Err(format!(
                "revision {revision} to {decision}, by {revised_by:?}, was cut short before it was \
                 known to be published: make the same override, to {decision}, first"
            ))
        };
    }
    let current = last.map_or(verdict, |last| last.decision);
    if current == to {
        return Err(format!("the decision is {current} already"));
    }
    if !overrides.of(current).contains(&to) {
        return Err(format!(
            "{current} may not be made {to}: audit.overrides.{current} does not list it"
        ));
    }
    Ok(Plan::Revise(last.map_or(0, |last| last.revision) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i32, decision: Decision, offset: Option<i64>) -> RevisionRow {
        RevisionRow {
            claim_id: "a".to_owned(),
            revision: number,
            decision,
            instead_of: Decision::Review,
            revised_by: "ann".to_owned(),
            reason: "seen".to_owned(),
            role: "reviewer".to_owned(),
            revised_at: time::OffsetDateTime::UNIX_EPOCH,
            place_topic: offset.map(|_| "decisions".to_owned()),
            place_partition: offset.map(|_| 0),
            place_offset: offset,
        }
    }

    #[test]
    fn what_the_settings_list_may_be_revised() {
        use Decision::{Approve, Reject, Review};
        let settings = Overrides::default();
        assert_eq!(plan(Review, &[], Approve, &settings), Ok(Plan::Revise(1)));
        let refused = plan(Approve, &[], Reject, &settings).expect_err("paid, perhaps");
        assert!(refused.contains("audit.overrides.approve"), "{refused}");
        assert!(plan(Review, &[], Review, &settings).is_err());
        let settings = Overrides { approve: vec![Reject], ..settings };
        let before = [revision(1, Approve, Some(7))];
        assert_eq!(plan(Review, &before, Reject, &settings), Ok(Plan::Revise(2)));
    }

    #[test]
    fn what_was_cut_short_is_resumed_before_anything_else() {
        use Decision::{Approve, Reject, Review};
        let settings = Overrides::default();
        let before = [revision(1, Approve, None)];
        assert_eq!(plan(Review, &before, Approve, &settings), Ok(Plan::Resume(1)));
        let refused = plan(Review, &before, Reject, &settings).expect_err("cut short");
        assert!(refused.contains("to approve, first"), "{refused}");
    }
}
