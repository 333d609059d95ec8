//! The result of deriving the verdicts of a period again. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::derive::{Agreement, Derivation, Difference, UNDECRYPTABLE};
use crate::audit::report::shown::{sheet, table};
use crate::audit::report::{End, Report, there_are_more, with_note};
use crate::decision::Policy;
use crate::schema::Verdict;

/// Verdicts compared with what their evidence leads to.
#[derive(Debug, Default, Serialize)]
pub struct Rederivation {
    /// Verdicts that were checked.
    pub claims: usize,
    /// The number of verdicts by finding.
    pub findings: BTreeMap<Agreement, usize>,
    /// The policy that ruled.
    pub policy_version: String,
    /// Decisions that differ.
    pub changes: Vec<Change>,
    /// The number of verdicts that differ, by column.
    pub columns: BTreeMap<&'static str, usize>,
    /// Why verdicts could not be verified.
    pub missing: BTreeMap<String, usize>,
    /// The first verdicts that do not follow from their evidence, or whose decision differs.
    pub examples: Vec<Example>,
    /// Whether the policy was given as a trial.
    pub is_trial: bool,
}

/// The number of claims of an API that change from one decision to another.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The API.
    pub api: String,
    /// The decision on record.
    pub recorded: &'static str,
    /// The derived decision.
    pub derived: &'static str,
    /// Claims.
    pub claims: usize,
    /// One of them.
    pub example: String,
}

/// A verdict that does not follow from its evidence, or whose decision differs.
#[derive(Debug, Serialize)]
pub struct Example {
    /// The claim.
    pub claim_id: String,
    /// The finding.
    pub finding: Agreement,
    /// The columns that differ.
    pub differences: Vec<Difference>,
}

impl Rederivation {
    /// An empty result. `is_trial`: the policy is not the one in force.
    pub(super) fn new(policy: &Policy, is_trial: bool) -> Self {
        let policy_version = policy.version().to_owned();
        Self { policy_version, is_trial, ..Self::default() }
    }

    /// Adds a verdict and what its evidence leads to.
    pub(super) fn add(&mut self, verdict: &Verdict, derivation: Derivation, limit: usize) {
        let finding = derivation.finding(verdict.policy_version != self.policy_version);
        self.claims += 1;
        *self.findings.entry(finding).or_default() += 1;
        for why in &derivation.missing {
            // With the attempt's or the claim's id in it, each would be a cause of its own.
            let why = if why.starts_with("the answer of attempt") {
                "the answer is no longer read as an assessment"
            } else if why.starts_with(UNDECRYPTABLE) {
                UNDECRYPTABLE
            } else {
                why.as_str()
            };
            *self.missing.entry(why.to_owned()).or_default() += 1;
        }
        for difference in &derivation.differences {
            *self.columns.entry(difference.column).or_default() += 1;
        }
        if let Some(ruling) = &derivation.ruling
            && ruling.decision != verdict.decision
        {
            self.change(verdict, ruling.decision.as_str());
        }
        if matches!(finding, Agreement::Differs | Agreement::Drifted) && self.examples.len() < limit
        {
            let (claim_id, differences) = (verdict.claim_id.clone(), derivation.differences);
            self.examples.push(Example { claim_id, finding, differences });
        }
    }

    /// Adds a claim whose verdict cannot be read: no worker wrote it so.
    pub(super) fn add_unreadable(&mut self, claim_id: &str, limit: usize) {
        self.claims += 1;
        *self.findings.entry(Agreement::Differs).or_default() += 1;
        if self.examples.len() < limit {
            let (recorded, derived) = ("a row that cannot be read".to_owned(), "–".to_owned());
            let differences = vec![Difference { column: "verdicts", recorded, derived }];
            let (claim_id, finding) = (claim_id.to_owned(), Agreement::Differs);
            self.examples.push(Example { claim_id, finding, differences });
        }
    }

    fn change(&mut self, verdict: &Verdict, derived: &'static str) {
        let (api, recorded) = (&verdict.api, verdict.decision.as_str());
        let is_it = |change: &&mut Change| {
            change.api == *api && change.recorded == recorded && change.derived == derived
        };
        if let Some(change) = self.changes.iter_mut().find(is_it) {
            change.claims += 1;
            return;
        }
        let (api, example) = (api.clone(), verdict.claim_id.clone());
        self.changes.push(Change { api, recorded, derived, claims: 1, example });
    }

    fn count(&self, finding: Agreement) -> usize {
        self.findings.get(&finding).copied().unwrap_or_default()
    }
}

impl Report for Rederivation {
    fn found(&self) -> bool {
        self.claims > 0
    }

    fn end(&self) -> End {
        let drifted = !self.is_trial && self.count(Agreement::Drifted) > 0;
        if self.claims == 0 {
            End::Nothing
        } else if drifted || self.count(Agreement::Differs) > 0 {
            End::Disagrees
        } else if self.count(Agreement::Unverifiable) > 0 {
            End::Unverifiable
        } else {
            End::Found
        }
    }

    fn text(&self) -> String {
        let count = |finding| self.count(finding).to_string();
        let mut text = sheet([
            ("Verdicts", self.claims.to_string()),
            ("Follow from their evidence", count(Agreement::Same)),
            ("Decided otherwise by this policy", count(Agreement::Drifted)),
            ("Do NOT follow from it", count(Agreement::Differs)),
            ("Cannot be verified", count(Agreement::Unverifiable)),
            ("Policy", self.policy_version.clone()),
        ]);
        let mut part = |rows: usize, table: String| {
            if rows > 0 {
                text += &format!("\n{table}");
            }
        };
        let changes = self.changes.iter().map(|change| {
            let Change { api, recorded, derived, claims, example } = change;
            let decisions = [*recorded, *derived].map(str::to_owned);
            let [recorded, derived] = decisions;
            [api.clone(), recorded, derived, claims.to_string(), example.clone()]
        });
        let header = ["api", "decided", "would be", "claims", "one of them"];
        part(self.changes.len(), table(header, changes));
        let columns =
            self.columns.iter().map(|(name, claims)| [(*name).into(), claims.to_string()]);
        part(self.columns.len(), table(["column", "verdicts that say otherwise"], columns));
        let missing = self.missing.iter().map(|(why, claims)| [why.clone(), claims.to_string()]);
        part(self.missing.len(), table(["not verified, for", "verdicts"], missing));
        let examples = self.examples.iter().flat_map(|example| {
            example.differences.iter().map(|difference| {
                let Difference { column, recorded, derived } = difference;
                let (claim, column) = (example.claim_id.clone(), (*column).to_owned());
                [claim, column, recorded.clone(), derived.clone()]
            })
        });
        part(self.examples.len(), table(["claim", "column", "recorded", "derived"], examples));
        with_note(text, self.note())
    }

    fn note(&self) -> Option<String> {
        let all = self.count(Agreement::Differs) + self.count(Agreement::Drifted);
        let brought = self.examples.len();
        (all > brought).then(|| there_are_more("first", brought))
    }
}
