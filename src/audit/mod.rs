//! Audit: answers questions about decisions, long after they were made.
//!
//! A question is a function from a store to a report; a report is data first (`--format json`),
//! then rows and a text. [`AuditCommand`] is the command line. This module reads. Only
//! [`retention`] and [`erase`] remove anything, and only by a command.
//!
//! | what | module |
//! | --- | --- |
//! | the command line, and the periods that it takes | `command`, `period` |
//! | questions about one claim, record, person or trace | `single` |
//! | questions about many claims at once | `overview` |
//! | whether verdicts follow from the evidence | `derivation` |
//! | whether rows are as they were written, and erasing a person's data | `seals` |
//! | commands that change what is kept or decided | `changes` |
//! | how an answer is printed | `report` |
//! | what retention has taken away | `expiry` |
//!
//! `docs/audit.md` is the page for auditors and administrators.

mod changes;
mod command;
mod derivation;
mod expiry;
mod overview;
pub(crate) mod period;
mod report;
mod seals;
mod single;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::postgres::types::PgInterval;

use crate::claim::{SubjectKey, SubjectKeys};
use crate::outbox::{StoreError, postgres};
use crate::unix_time::as_micros;
pub use changes::republish::{Republish, Republished, republish};
pub use changes::retention::{self, Retention};
pub use changes::revising::{Overridden, Override, Overrides, revise};
pub use command::AuditCommand;
pub use command::auditor::{Approval, Auditor};
pub use derivation::derive::{Agreement, Difference, Reader};
pub use derivation::rederivation::{Change, Example, Rederivation};
pub use derivation::rederive::rederive;
pub use derivation::verify::{Outcome, Verification, verify};
pub use overview::calls::{Bucket, CallCount, Calls, CodeCount, calls};
pub use overview::conflicts::{Conflict, Conflicts, conflicts};
pub use overview::decisions::{By, DecisionCount, Decisions, ReasonCount, decisions};
pub use overview::deferred::{DeferredClaim, DeferredClaims, DeferredCount, deferred_claims};
pub use overview::export::{Exported, export};
pub use overview::policies::{
    KeptPolicy, PolicyHistory, PolicyRule, PolicyRules, kept_policies, policies, policy_rules,
};
pub use overview::search::{FoundClaim, Search, search};
pub use overview::shadow::{ShadowCount, ShadowCounts, shadow_counts};
pub use overview::unassessed::{
    UnassessedClaim, UnassessedClaims, UnassessedCount, unassessed_claims,
};
pub use overview::undecided::{UndecidedClaim, UndecidedClaims, UndecidedCount, undecided_claims};
pub use overview::wanted::Wanted;
pub use period::Period;
pub use report::rows::{Cell, RowSet, Tabular};
pub(crate) use report::shown;
pub use report::{End, Format, Report};
pub use seals::{
    Erase, Erasure, Fault, Removal, SealFinding, SealQuestion, SealReport, erase, verify_seals,
};
pub use single::claim::{ClaimFile, claim_file};
pub(crate) use single::source;
pub use single::source::{SourceFile, source_file};
pub use single::steps::Step;
pub use single::story::{ClaimStory, claim_story};
pub use single::subject::{SubjectFile, subject_file};
pub use single::trace::{TraceFile, trace_file};
pub use single::undecryptable::Undecryptable;
pub use single::waiting::Waiting;

/// The section `[audit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The key of the hashes by which a subject, a phone number, an address and a certificate are
    /// searched. Without one, any reader of the tables can guess them.
    pub subject_key: SecretString,
    /// Former values of `subject_key`, one per line: what was hashed under them is still found.
    pub former_subject_keys: SecretString,
    /// The time limit of one query of `claimgate audit …` and `claimgate dead-letters …`.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// `[audit.retention]`: how long the evidence is kept.
    pub retention: Retention,
    /// `[audit.overrides]`: what people may change a decision to.
    pub overrides: Overrides,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subject_key: SecretString::default(),
            former_subject_keys: SecretString::default(),
            statement_timeout: Duration::from_secs(5 * 60),
            retention: Retention::default(),
            overrides: Overrides::default(),
        }
    }
}

impl Settings {
    /// The key, if one was given.
    pub fn subject_key(&self) -> Option<&SecretString> {
        Some(&self.subject_key).filter(|key| !key.expose_secret().is_empty())
    }

    /// The keys under which a person may have been hashed. Before a key was set, that was the
    /// default key.
    pub fn subject_keys(&self) -> SubjectKeys {
        let former = self.former_subject_keys.expose_secret().lines();
        let former = former.map(str::trim).filter(|key| !key.is_empty());
        let former = former.map(|key| SubjectKey::new(Some(&key.into())));
        let default = self.subject_key().map(|_| SubjectKey::new(None));
        SubjectKeys {
            current: SubjectKey::new(self.subject_key()),
            former: former.chain(default).collect(),
        }
    }

    /// Findings: settings that work but should be changed.
    pub fn warning(&self) -> Option<&'static str> {
        self.subject_key().is_none().then_some(
            "audit.subject_key is empty: verdicts.subject and the phone_hash, certificate_hash and \
             network_hash of claim_events are hashed with a key that everybody can read, so phone \
             and certificate numbers can be guessed from them; set a secret of your own before \
             there are verdicts to keep (docs/audit.md)",
        )
    }

    /// The store's settings for queries: they may take longer than the worker's statements.
    pub fn for_questions(&self, postgres: &postgres::Settings) -> postgres::Settings {
        postgres::Settings {
            statement_timeout: self.statement_timeout,
            caller: postgres::Caller::Person,
            ..postgres.clone()
        }
    }
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// PostgreSQL did not answer it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// Kafka did not deliver what is asked for, or did not accept what is published.
    #[error("{0}")]
    Kafka(String),
    /// This revision of the decision is not allowed, or not now.
    #[error("{0}")]
    Override(String),
}

/// A thousand years: a span can be longer than PostgreSQL's times go back.
const LONGEST_SPAN: Duration = Duration::from_secs(1_000 * 31_557_600);

/// A duration for PostgreSQL.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = as_micros(duration.min(LONGEST_SPAN));
    PgInterval { months: 0, days: 0, microseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_before_there_was_a_key_is_looked_for() {
        let ids = |settings: Settings| settings.subject_keys().each(SubjectKey::id);
        let id = |key: &str| SubjectKey::new(Some(&key.into())).id();
        let default = SubjectKey::new(None).id();
        assert_eq!(ids(Settings::default()), std::slice::from_ref(&default));
        let own = Settings { subject_key: "own".into(), ..Settings::default() };
        assert_eq!(ids(own.clone()), [id("own"), default.clone()]);
        let former = Settings { former_subject_keys: "b\n\n a ".into(), ..own };
        assert_eq!(ids(former), [id("own"), id("b"), id("a"), default]);
    }
}
