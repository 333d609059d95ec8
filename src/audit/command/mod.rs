//! `claimgate audit …`: takes a question on the command line and writes the report to the standard
//! output.

pub(super) mod auditor;
mod change;
mod period;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::derivation::derive::Reader;
use super::overview::policies::{KeptPolicy, kept_policies, policies, policy_rules};
use super::period::AnyTime;
use super::report::rows::Tabular;
use super::report::{End, Format, Report, write};
use super::single::source::parse_source;
use super::single::trace::parse_trace_id;
use super::{
    AuditError, SealQuestion, claim_story, deferred_claims, rederive, source_file, subject_file,
    trace_file, unassessed_claims, undecided_claims, verify, verify_seals,
};
use crate::decision::Source;
use auditor::{ACCOUNT_TYPES, Auditor};
use change::Change;
use period::PeriodQuestion;

/// Ask the record what was decided, and why.
#[derive(Debug, Args)]
pub struct AuditCommand {
    /// The form of the answer
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The full history of a claim, decided or not: the event, every call with its answer, the
    /// verdict, dead letters that name it
    Claim {
        /// The claim's id
        claim_id: String,
    },
    /// The decisions about an account
    Subject {
        /// qq, wechat, phone, device, other, phone_md5, phone_code or email
        #[arg(value_name = "TYPE", value_parser = ACCOUNT_TYPES)]
        account_type: String,
        /// The account's id
        id: String,
        #[command(flatten)]
        period: AnyTime,
        /// At most this many verdicts, the latest
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    #[command(flatten)]
    Period(PeriodQuestion),
    /// Claims that no risk API assessed, and what the APIs answered
    Unassessed {
        /// How far back
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        since: Duration,
        /// At most this many claims, the latest
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Claims that were sent to a risk API and are not decided, the longest waiting first
    Undecided {
        /// Sent to an API within this span; the first attempt may be older
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        since: Duration,
        /// At most this many claims
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Claims in the retry topic that are not decided, the longest waiting first
    Deferred {
        /// At most this many claims
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// What happened to a Kafka record
    Source {
        /// topic/partition/offset
        #[arg(value_parser = parse_source)]
        source: Source,
    },
    /// The decisions of a trace
    Trace {
        /// 32 hex digits
        #[arg(value_parser = parse_trace_id)]
        trace_id: String,
        /// At most this many verdicts, the latest
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Check that a claim's verdict follows from the stored answer and event; with --since or
    /// --all, that rows are as they were written
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Verify {
        /// The claim's id
        #[arg(group = "which")]
        claim_id: Option<String>,
        /// Rows that were written within this span
        #[arg(long, group = "which", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// All rows
        #[arg(long, group = "which")]
        all: bool,
        /// Also compare with the decisions in Kafka
        #[arg(long, conflicts_with = "claim_id")]
        topic: bool,
        /// List at most this many findings
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Check that all verdicts of a period follow from their evidence; with --policy, what another
    /// policy would have decided
    Rederive {
        /// How far back
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        since: Duration,
        /// Apply the policy of this configuration file instead
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// List at most this many verdicts
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Policies that were in force or in shadow, and since when; the rules of one; or how two
    /// differ
    Policies {
        /// The version of a policy, or the beginning of it
        #[arg(value_name = "VERSION")]
        policy: Option<String>,
        /// Compare with this one
        other: Option<String>,
    },
    #[command(flatten)]
    Change(Change),
}

impl AuditCommand {
    /// Whether the question needs the configuration of the risk APIs.
    pub fn needs_risk_apis(&self) -> bool {
        let of_claim = matches!(self.question, Question::Verify { claim_id: Some(_), .. });
        of_claim || matches!(self.question, Question::Rederive { .. })
    }

    /// The configuration with the policy to try in place of the one in force.
    pub fn trial(&self) -> Option<&Path> {
        match &self.question {
            Question::Rederive { policy, .. } => policy.as_deref(),
            _ => None,
        }
    }

    /// Writes the answer to `out`. Returns how the question ended.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn run(self, auditor: Auditor<'_>, out: &mut impl Write) -> Result<End, AuditError> {
        let Self { format, json, question } = self;
        let now = OffsetDateTime::now_utc();
        let form = if json { Format::Json } else { format };
        let Auditor { store, kafka, subject_keys, give_up_after, .. } = auditor;
        let kept = kept(auditor).await?;
        let reader = || reader(auditor, &kept);
        match question {
            Question::Claim { claim_id } => {
                report(&claim_story(store, &claim_id, give_up_after).await?, form, out)
            }
            Question::Subject { account_type, id, period, limit } => {
                let (period, account) = (period.period(now)?, (&*account_type, &*id));
                let file = subject_file(store, subject_keys, account, period, limit).await?;
                report(&file, form, out)
            }
            Question::Trace { trace_id, limit } => {
                report(&trace_file(store, trace_id, limit).await?, form, out)
            }
            Question::Period(question) => {
                question.answer(store, subject_keys, now, form, out).await
            }
            Question::Unassessed { since, limit } => {
                report(&unassessed_claims(store, since, limit).await?, form, out)
            }
            Question::Undecided { since, limit } => {
                report(&undecided_claims(store, since, limit).await?, form, out)
            }
            Question::Deferred { limit } => {
                report(&deferred_claims(store, kafka, limit).await?, form, out)
            }
            Question::Source { source } => report(&source_file(store, source).await?, form, out),
            Question::Verify { claim_id: Some(claim_id), .. } => {
                let found = verify(store, reader()?, &claim_id, give_up_after).await?;
                report(&found, form, out)
            }
            Question::Verify { since, topic, limit, .. } => {
                let topic = topic.then_some(kafka);
                let question = SealQuestion { since, topic, limit };
                report(&verify_seals(store, question).await?, form, out)
            }
            Question::Rederive { since, policy, limit } => {
                let how = (limit, policy.is_some());
                let found = rederive(store, reader()?, since, how, give_up_after).await?;
                report(&found, form, out)
            }
            Question::Policies { policy: None, .. } => report(&policies(store).await?, form, out),
            Question::Policies { policy: Some(policy), other } => {
                report(&policy_rules(store, &policy, other.as_deref()).await?, form, out)
            }
            Question::Change(change) => change.make(auditor, now, form, out).await,
        }
    }
}

/// The policies that ruled once; none where evidence is not to be read.
async fn kept(auditor: Auditor<'_>) -> Result<HashMap<String, KeptPolicy>, AuditError> {
    let Auditor { store, risk_apis, .. } = auditor;
    match risk_apis {
        Some(_) => Ok(kept_policies(store).await?),
        None => Ok(HashMap::new()),
    }
}

fn reader<'a>(
    auditor: Auditor<'a>,
    kept: &'a HashMap<String, KeptPolicy>,
) -> Result<Reader<'a>, AuditError> {
    let Auditor { subject_keys, risk_apis, .. } = auditor;
    let (registry, policy) = risk_apis.ok_or_else(|| {
        AuditError::Usage("this question needs the risk APIs' configuration".to_owned())
    })?;
    Ok(Reader { registry, policy, kept, subject_keys })
}

fn report(
    report: &(impl Report + Tabular),
    form: Format,
    out: &mut impl Write,
) -> Result<End, AuditError> {
    Ok(write(report, form, out)?)
}
