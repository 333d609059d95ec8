//! The commands of `claimgate audit` that change something: what is kept, or what was decided.

use std::io::Write;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::auditor::{ACCOUNT_TYPES, Approval, Auditor};
use crate::audit::changes::retention::enforce;
use crate::audit::period::Since;
use crate::audit::report::{End, Format, write};
use crate::audit::{AuditError, Erase, Override, Republish, erase, republish, revise};
use crate::decision::Decision;

/// A change.
#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// Replace the decision about a claim, as `[audit.overrides]` allows, and publish it
    Override(OverrideArgs),
    /// Publish the decisions of a period again, for consumers that lost them
    Republish(RepublishArgs),
    /// Erase a person: delete events, attempts and dead letters, and the identity in verdicts;
    /// needs the owner of the tables
    Erase(EraseArgs),
    /// Delete what is past `[audit.retention]`; needs the owner of the tables
    Retention {
        /// Show what would be dropped, and drop nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// A decision in place of the worker.
#[derive(Debug, Args)]
pub(super) struct OverrideArgs {
    /// The claim's id
    claim_id: String,
    /// approve, challenge, review or reject
    #[arg(value_parser = parse_decision)]
    decision: Decision,
    #[command(flatten)]
    approval: Approval,
    /// Show what would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
}

fn parse_decision(word: &str) -> Result<Decision, String> {
    let words = || Decision::ALL.map(Decision::as_str).join(", ");
    Decision::from_word(word).ok_or_else(|| format!("a decision is one of {}", words()))
}

/// Which decisions to publish once more.
#[derive(Debug, Args)]
pub(super) struct RepublishArgs {
    #[command(flatten)]
    period: Since,
    #[command(flatten)]
    approval: Approval,
    /// Show how many would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
}

/// Whom to forget.
#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// qq, wechat, phone, device, other, phone_md5, phone_code or email
    #[arg(value_name = "TYPE", value_parser = ACCOUNT_TYPES)]
    account_type: String,
    /// The account's id
    id: String,
    #[command(flatten)]
    approval: Approval,
    /// Show what would be erased, and erase nothing
    #[arg(long)]
    dry_run: bool,
}

impl Change {
    /// Makes the change as of `now`, and writes the result to `out`.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) async fn make(
        self,
        auditor: Auditor<'_>,
        now: OffsetDateTime,
        form: Format,
        out: &mut impl Write,
    ) -> Result<End, AuditError> {
        let Auditor { store, kafka, subject_keys, retention, overrides, .. } = auditor;
        match self {
            Self::Erase(EraseArgs { account_type, id, approval, dry_run }) => {
                let request = Erase {
                    account_type: &account_type,
                    id: &id,
                    keys: subject_keys,
                    approval: &approval,
                    is_dry_run: dry_run,
                };
                Ok(write(&erase(store, request).await?, form, out)?)
            }
            Self::Override(OverrideArgs { claim_id, decision, approval, dry_run }) => {
                let request = Override {
                    claim_id: &claim_id,
                    decision,
                    approval: &approval,
                    is_dry_run: dry_run,
                };
                Ok(write(&revise(store, kafka, overrides, request).await?, form, out)?)
            }
            Self::Republish(RepublishArgs { period, approval, dry_run }) => {
                let request = Republish {
                    period: period.period(now)?,
                    approval: &approval,
                    is_dry_run: dry_run,
                };
                Ok(write(&republish(store, kafka, request).await?, form, out)?)
            }
            Self::Retention { dry_run } => {
                Ok(write(&enforce(store, retention, dry_run).await?, form, out)?)
            }
        }
    }
}
