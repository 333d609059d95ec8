//! The findings about verdicts and their evidence as rows. Pure.

use super::derive::{Agreement, Difference};
use super::rederivation::{Example, Rederivation};
use super::verify::{Outcome, Verification};
use crate::audit::report::rows::{Cell, RowSet, Tabular, json};

impl Tabular for Verification {
    /// One row: the verdict, what its evidence leads to, and the columns that differ as JSON.
    fn rows(&self) -> RowSet {
        let columns = [
            "claim_id",
            "finding",
            "assessment",
            "recorded_decision",
            "recorded_reasons",
            "recorded_policy_version",
            "derived_decision",
            "derived_reasons",
            "derived_policy_version",
            "call",
            "differences",
            "seals",
        ];
        let row = self.finding.map(|finding| {
            let [decision, reasons, policy] = outcome(self.recorded.as_ref());
            let [derived_decision, derived_reasons, derived_policy] =
                outcome(self.derived.as_ref());
            [
                Cell::of(&self.claim_id),
                Cell::of(word(finding)),
                Cell::of(&self.assessment),
                decision,
                reasons,
                policy,
                derived_decision,
                derived_reasons,
                derived_policy,
                Cell::optional(self.call),
                Cell::of(json(&self.differences)),
                Cell::of(json(&self.seals)),
            ]
        });
        RowSet::new(columns, row)
    }
}

fn outcome(outcome: Option<&Outcome>) -> [Cell; 3] {
    outcome.map_or([Cell::NULL; 3], |outcome| {
        let Outcome { decision, reasons, policy_version } = outcome;
        [Cell::of(decision), Cell::reasons(reasons), Cell::of(policy_version)]
    })
}

/// Its word in JSON.
fn word(finding: Agreement) -> &'static str {
    match finding {
        Agreement::Same => "same",
        Agreement::Drifted => "drifted",
        Agreement::Differs => "differs",
        Agreement::Unverifiable => "unverifiable",
    }
}

impl Tabular for Rederivation {
    /// A row for each column of an example that differs.
    fn rows(&self) -> RowSet {
        let cells = |example: &Example| {
            let (claim_id, finding) = (Cell::of(&example.claim_id), word(example.finding));
            let cells = move |difference: &Difference| {
                let Difference { column, recorded, derived } = difference;
                let [column, recorded, derived] =
                    [column, recorded.as_str(), derived.as_str()].map(Cell::of);
                [claim_id.clone(), Cell::of(finding), column, recorded, derived]
            };
            example.differences.iter().map(cells).collect::<Vec<_>>()
        };
        let columns = ["claim_id", "finding", "column", "recorded", "derived"];
        RowSet::new(columns, self.examples.iter().flat_map(cells))
    }
}
