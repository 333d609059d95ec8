//! The result of verifying seals.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

use super::matching::{Fault, Matched, SealFinding};
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::{instant, sheet, table};
use crate::audit::report::{End, Report, there_are_more, with_note};

/// Whether rows and seals are as they were written.
#[derive(Debug, Default, Serialize)]
pub struct SealReport {
    /// Seals that were checked.
    pub seals: usize,
    /// Rows that are as they were written.
    pub intact: usize,
    /// Rows that were removed when their retention was over.
    pub expired: usize,
    /// Rows that were erased, or from which a person was erased: `removals` says by whom.
    pub erased: usize,
    /// Commands that removed evidence, the latest first: rows that they explain are no finding.
    pub removals: Vec<Removal>,
    /// Whether there are more of them.
    pub more_removals: bool,
    /// Decisions in Kafka that were compared with the tables.
    pub decisions: usize,
    /// Decisions whose message carries no seal.
    pub unsealed_decisions: usize,
    /// Messages that cannot be read as a decision, so that only their seal was compared.
    pub unreadable_decisions: usize,
    /// The number of findings of each kind.
    pub faults: BTreeMap<Fault, usize>,
    /// The first findings.
    pub findings: Vec<SealFinding>,
    #[serde(skip)]
    limit: usize,
}

/// A command that removed evidence: a row of `removals`.
#[derive(Debug, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the table's comments document the columns")]
pub struct Removal {
    pub id: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub removed_at: OffsetDateTime,
    pub removed_by: String,
    pub role: String,
    pub reason: String,
    /// The number of sealed rows that it removed or changed.
    pub rows: i64,
}

impl SealReport {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Adds the commands that removed evidence, as many as findings are listed.
    pub(super) fn list_removals(&mut self, mut removals: Vec<Removal>) {
        self.more_removals = removals.len() > self.limit;
        removals.truncate(self.limit);
        self.removals = removals;
    }

    /// Adds seals, each with its fault, if any.
    pub(super) fn add_seals(&mut self, seals: impl Iterator<Item = Option<SealFinding>>) {
        for finding in seals {
            self.seals += 1;
            finding.into_iter().for_each(|finding| self.add(finding));
        }
    }

    /// Adds rows.
    pub(super) fn add_rows(&mut self, matched: Matched) {
        self.intact += matched.intact;
        self.expired += matched.expired;
        self.erased += matched.erased;
        matched.findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Adds a finding, unless it is there already.
    pub(super) fn add(&mut self, finding: SealFinding) {
        if self.findings.contains(&finding) {
            return;
        }
        *self.faults.entry(finding.fault).or_default() += 1;
        if self.findings.len() < self.limit {
            self.findings.push(finding);
        }
    }
}

impl Report for SealReport {
    fn found(&self) -> bool {
        self.seals > 0
    }

    fn end(&self) -> End {
        if !self.faults.is_empty() {
            End::Disagrees
        } else if self.seals == 0 {
            End::Nothing
        } else if self.unreadable_decisions > 0 {
            End::Unverifiable
        } else {
            End::Found
        }
    }

    fn text(&self) -> String {
        let count = |fault| self.faults.get(&fault).copied().unwrap_or_default().to_string();
        let mut text = sheet([
            ("Seals", self.seals.to_string()),
            ("Rows as they were written", self.intact.to_string()),
            ("Rows past their retention", self.expired.to_string()),
            ("Rows erased with a person", self.erased.to_string()),
            ("Rows ALTERED", count(Fault::Altered)),
            ("Rows INSERTED", count(Fault::Inserted)),
            ("Rows REMOVED", count(Fault::Removed)),
            ("Seals ALTERED", count(Fault::SealAltered)),
            ("Seals REMOVED", count(Fault::SealRemoved)),
            ("Decisions in Kafka", self.decisions.to_string()),
            ("of these without a seal", self.unsealed_decisions.to_string()),
            ("of these that cannot be read", self.unreadable_decisions.to_string()),
            ("CONTRADICTED by them", count(Fault::Contradicted)),
        ]);
        if !self.removals.is_empty() {
            let cells = |removal: &Removal| {
                let Removal { id, removed_at, removed_by, role, reason, rows } = removal;
                let [id, rows] = [id, rows].map(|number| number.to_string());
                let at = instant(*removed_at);
                [id, at, removed_by.clone(), role.clone(), rows, reason.clone()]
            };
            let header = ["removal", "at", "by", "role", "rows", "reason"];
            text += &format!("\n{}", table(header, self.removals.iter().map(cells)));
        }
        if self.more_removals {
            text += "\nthese are the latest removals; there are more: raise --limit\n";
        }
        if !self.findings.is_empty() {
            text += &format!("\n{}", self.rows().table());
        }
        with_note(text, self.note())
    }

    fn note(&self) -> Option<String> {
        let all: usize = self.faults.values().sum();
        let brought = self.findings.len();
        (all > brought).then(|| there_are_more("first", brought))
    }
}

impl Tabular for SealReport {
    fn rows(&self) -> RowSet {
        findings(&self.findings)
    }
}

/// Findings as rows.
pub(in crate::audit) fn findings(findings: &[SealFinding]) -> RowSet {
    let row = |finding: &SealFinding| {
        let SealFinding { fault, table, row, seal, detail } = finding;
        let fault = Cell::of(fault.as_str());
        [Cell::of(table), Cell::of(row), Cell::optional(*seal), fault, Cell::of(detail)]
    };
    RowSet::new(["table", "row", "seal", "fault", "detail"], findings.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_whole_says_so() {
        let removal = |id| Removal {
            id,
            removed_at: OffsetDateTime::UNIX_EPOCH,
            removed_by: "ann".to_owned(),
            role: "owner".to_owned(),
            reason: "law".to_owned(),
            rows: 1,
        };
        for (removals, listed, says_so) in [(2, 2, false), (3, 2, true)] {
            let mut report = SealReport::new(2);
            report.list_removals((0..removals).map(removal).collect());
            assert_eq!(report.removals.len(), listed);
            assert_eq!(report.text().contains("there are more: raise --limit"), says_so);
        }
    }
}
