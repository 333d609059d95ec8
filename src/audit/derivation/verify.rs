//! "Does the verdict follow from the kept evidence?"
//!
//! It calls no risk API and writes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::derive::{Agreement, Derivation, Difference, Evidence, Reader};
use crate::audit::expiry::{attempts_lost_before, expired};
use crate::audit::report::shown::{optional, reasons, sheet, table};
use crate::audit::report::{End, Report};
use crate::audit::seals::{SealFinding, findings, verify_claim};
use crate::audit::single::claim::decryptable_file;
use crate::decision::{Decision, Reason};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// A verdict compared with what its evidence leads to today.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The claim.
    pub claim_id: String,
    /// The finding; `None` if the claim has no verdict, and nothing says that it had one.
    pub finding: Option<Agreement>,
    /// The finding as a sentence.
    pub assessment: String,
    /// The recorded decision; `None` if the claim has no verdict.
    pub recorded: Option<Outcome>,
    /// The derived decision; `None` if there is no evidence to read.
    pub derived: Option<Outcome>,
    /// The columns that differ.
    pub differences: Vec<Difference>,
    /// The attempt whose answer was read again.
    pub call: Option<uuid::Uuid>,
    /// Rows of the claim, or their seals, that are not as a worker wrote them.
    pub seals: Vec<SealFinding>,
}

/// A decision with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The decision.
    pub decision: Decision,
    /// Its reasons.
    pub reasons: Vec<Reason>,
    /// The policy that decided.
    pub policy_version: String,
}

/// What is added to the finding where rows or seals were altered: the tables.
fn not_as_written(seals: &[SealFinding]) -> String {
    let tables: BTreeSet<&str> = seals.iter().map(|finding| finding.table).collect();
    if tables.is_empty() {
        return String::new();
    }
    let tables: Vec<&str> = tables.into_iter().collect();
    format!("; rows are NOT as they were written: {}", tables.join(", "))
}

impl Verification {
    /// The finding about a claim of which a row cannot be read; `None` if all rows are as they were
    /// written.
    fn unreadable(claim_id: &str, seals: Vec<SealFinding>) -> Option<Self> {
        if seals.is_empty() {
            return None;
        }
        let assessment = format!("a row cannot be read{}", not_as_written(&seals));
        Some(Self { assessment, ..Self::without_verdict(claim_id, false, seals) })
    }

    /// The finding about a claim without a verdict: an event is only ever written together with
    /// one.
    fn without_verdict(claim_id: &str, has_event: bool, seals: Vec<SealFinding>) -> Self {
        let mut assessment = "the claim has no verdict".to_owned();
        if has_event {
            assessment += ", and its event is kept: the verdict was REMOVED, or no worker wrote \
                           the event";
        }
        assessment += &not_as_written(&seals);
        Self {
            claim_id: claim_id.to_owned(),
            finding: (has_event || !seals.is_empty()).then_some(Agreement::Differs),
            assessment,
            recorded: None,
            derived: None,
            differences: Vec::new(),
            call: None,
            seals,
        }
    }
}

/// Derives a claim's verdict again. `give_up_after` is `retry.give_up_after`.
///
/// # Errors
/// [`StoreError`].
pub async fn verify(
    store: &PostgresStore,
    reader: Reader<'_>,
    claim_id: &str,
    give_up_after: Duration,
) -> Result<Verification, StoreError> {
    let (mut file, mut undecryptable) = match decryptable_file(store, claim_id).await {
        Ok(file) => file,
        Err(error) => {
            // No worker writes a row that cannot be read, so a seal says so.
            let seals = verify_claim(store, claim_id).await?;
            return Verification::unreadable(claim_id, seals).ok_or(error);
        }
    };
    if file.verdict.is_none() && !file.events.is_empty() {
        // It may have been decided between the look-ups of the two.
        (file, undecryptable) = decryptable_file(store, claim_id).await?;
    }
    // Not before the claim is read: retention may run beside, and says first what it takes.
    let attempts_lost_before = attempts_lost_before(&expired(store).await?, give_up_after);
    let Some(verdict) = file.verdict else {
        let seals = verify_claim(store, claim_id).await?;
        return Ok(Verification::without_verdict(claim_id, !file.events.is_empty(), seals));
    };
    let evidence = Evidence {
        verdict: &verdict,
        calls: &file.calls,
        events: &file.events,
        undecryptable: &undecryptable,
        attempts_lost_before,
    };
    let derivation = reader.derive(&evidence);
    let policy_version = reader.policy.version().to_owned();
    let is_other_policy = policy_version != verdict.policy_version;
    let mut finding = derivation.finding(is_other_policy);
    let mut assessment = sentence(finding, &derivation, is_other_policy);
    let seals = verify_claim(store, claim_id).await?;
    if !seals.is_empty() {
        finding = Agreement::Differs;
        assessment += &not_as_written(&seals);
    }
    Ok(Verification {
        claim_id: verdict.claim_id,
        finding: Some(finding),
        assessment,
        recorded: Some(Outcome {
            decision: verdict.decision,
            reasons: verdict.reasons,
            policy_version: verdict.policy_version,
        }),
        derived: derivation.ruling.map(|ruling| Outcome {
            decision: ruling.decision,
            reasons: ruling.reasons,
            policy_version,
        }),
        differences: derivation.differences,
        call: derivation.call,
        seals,
    })
}

fn sentence(finding: Agreement, derivation: &Derivation, is_other_policy: bool) -> String {
    match finding {
        Agreement::Same if is_other_policy => {
            "the verdict follows from the answer and the event, under today's policy as well".into()
        }
        Agreement::Same => "the verdict follows from the answer and the event".into(),
        Agreement::Drifted => {
            "the answer leads to something else under today's policy, which is another".into()
        }
        Agreement::Differs => {
            let columns = derivation.differences.iter().map(|difference| difference.column);
            let columns: Vec<_> = columns.collect();
            format!("the evidence leads to ANOTHER verdict: {}", columns.join(", "))
        }
        Agreement::Unverifiable => derivation.missing.join("; "),
    }
}

impl Report for Verification {
    fn found(&self) -> bool {
        self.finding == Some(Agreement::Same)
    }

    fn end(&self) -> End {
        match self.finding {
            None => End::Nothing,
            Some(Agreement::Same) => End::Found,
            Some(Agreement::Drifted | Agreement::Differs) => End::Disagrees,
            Some(Agreement::Unverifiable) => End::Unverifiable,
        }
    }

    fn text(&self) -> String {
        let outcome = |outcome: &Option<Outcome>| match outcome {
            Some(Outcome { decision, reasons: why, policy_version }) => {
                format!("{} for {} under {policy_version}", decision.as_str(), reasons(why))
            }
            None => "–".to_owned(),
        };
        let mut text = sheet([
            ("Claim", self.claim_id.clone()),
            ("Recorded", outcome(&self.recorded)),
            ("Derived", outcome(&self.derived)),
            ("From call", optional(self.call)),
            ("Assessment", self.assessment.clone()),
        ]);
        if !self.differences.is_empty() {
            let cells = |difference: &Difference| {
                let Difference { column, recorded, derived } = difference;
                [(*column).to_owned(), recorded.clone(), derived.clone()]
            };
            let rows = self.differences.iter().map(cells);
            text += &format!("\n{}", table(["column", "recorded", "derived"], rows));
        }
        if !self.seals.is_empty() {
            text += &format!("\n{}", findings(&self.seals).table());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::seals::Fault;

    #[test]
    fn a_verdict_that_is_gone_is_told_from_one_that_is_not_made_yet() {
        let altered = || {
            let (row, detail) = ("a".to_owned(), "it is not as it was written".to_owned());
            let (fault, table) = (Fault::Altered, "risk_calls");
            vec![SealFinding { fault, table, row, seal: Some(2), detail }]
        };
        for (has_event, seals, end) in [
            (false, vec![], End::Nothing),
            (true, vec![], End::Disagrees),
            (false, altered(), End::Disagrees),
            (true, altered(), End::Disagrees),
        ] {
            let is_altered = !seals.is_empty();
            let found = Verification::without_verdict("a", has_event, seals);
            assert_eq!(found.end(), end);
            let text = found.text();
            assert!(text.contains("has no verdict"), "{text}");
            assert_eq!(text.contains("REMOVED"), has_event, "{text}");
            let which = "NOT as they were written: risk_calls";
            assert_eq!(text.contains(which), is_altered, "{text}");
        }
    }
}
