//! What the commands of `claimgate audit` share.

use std::time::Duration;

use clap::Args;

use crate::audit::changes::retention::Retention;
use crate::audit::changes::revising::Overrides;
use crate::claim::SubjectKeys;
use crate::decision::Policy;
use crate::kafka;
use crate::outbox::postgres::PostgresStore;
use crate::risk::Registry;

/// The names of account types.
pub(super) const ACCOUNT_TYPES: [&str; 8] =
    ["qq", "wechat", "phone", "device", "other", "phone_md5", "phone_code", "email"];

/// What the commands need.
#[derive(Clone, Copy)]
pub struct Auditor<'a> {
    /// The store.
    pub store: &'a PostgresStore,
    /// The topic of decisions, and its producer's settings.
    pub kafka: &'a kafka::Settings,
    /// The keys under which persons are hashed.
    pub subject_keys: &'a SubjectKeys,
    /// `audit.retention`.
    pub retention: &'a Retention,
    /// `audit.overrides`.
    pub overrides: &'a Overrides,
    /// `retry.give_up_after`.
    pub give_up_after: Duration,
    /// The risk APIs and the policy, if the question needs them: see
    /// [`crate::audit::AuditCommand::needs_risk_apis`].
    pub risk_apis: Option<(&'a Registry, &'a Policy)>,
}

/// Who is responsible for a change, and why it is made: both are recorded.
#[derive(Debug, Clone, Args)]
pub struct Approval {
    /// Who is responsible; this is recorded
    #[arg(long, value_name = "NAME", value_parser = said)]
    pub by: String,
    /// Why; this is recorded
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub reason: String,
}

/// A text that is not blank.
fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        Err("it is empty: auditors will ask".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
