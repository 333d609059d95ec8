//! The oracle: compares identities, never counts alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::Row;

use super::lab::{Event, Lab, Seen, claim};

/// The expected results of what was produced.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Claim ids that must have one row and one decision.
    pub(crate) claims: BTreeSet<String>,
    /// Payloads that must each have one dead letter, with the word that says why.
    pub(crate) dead: Vec<(Vec<u8>, &'static str)>,
}

/// Everything that can be read at the end.
pub(crate) struct Outcome {
    pub(crate) decisions: BTreeMap<String, Vec<Value>>,
    pub(crate) dead: Vec<Seen>,
}

pub(crate) fn outcome(lab: &Lab) -> Outcome {
    let mut decisions: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for seen in lab.read("decisions") {
        let decision: Value =
            serde_json::from_slice(&seen.payload.expect("a decision has a payload")).expect("JSON");
        let id = decision["claim_id"].as_str().expect("a claim id").to_owned();
        decisions.entry(id).or_default().push(decision);
    }
    Outcome { decisions, dead: lab.read("dead") }
}

/// The fault if a verdict does not follow from its evidence. A worker may have had another policy:
/// differences because of that are no faults.
pub(crate) async fn rederived(lab: &Lab) -> Option<String> {
    let output = lab.claimgate("", &["audit", "rederive", "--since", "1day", "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let wrong = ["differs", "unverifiable"].map(|finding| &found["findings"][finding]);
    let follows = found["findings"].is_object() && wrong.iter().all(|count| count.is_null());
    (!follows).then(|| format!("the evidence: {found:#}\n{output:?}"))
}

/// The fault if a row, a seal or a decision is not as a worker wrote it.
pub(crate) async fn sealed(lab: &Lab) -> Option<String> {
    let output = lab.claimgate("", &["audit", "verify", "--all", "--topic", "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let as_written = found["faults"] == serde_json::json!({}) && found["unsealed_decisions"] == 0;
    (!as_written).then(|| format!("the seals: {found:#}\n{output:?}"))
}

impl Expected {
    /// Sends a claim under each of these ids, each of an account of its own, and expects it to be
    /// decided.
    pub(crate) fn produce(&mut self, lab: &Lab, ids: impl Iterator<Item = String>) {
        let ids: Vec<String> = ids.collect();
        lab.produce(
            &ids.iter().map(|id| Event::of(claim(id, &format!("user-{id}")))).collect::<Vec<_>>(),
        );
        self.claims.extend(ids);
    }

    /// Whether everything expected is there; superfluous results are not checked.
    pub(crate) fn is_complete(&self, outcome: &Outcome) -> bool {
        self.claims.iter().all(|id| outcome.decisions.contains_key(id))
            && outcome.dead.len() >= self.dead.len()
    }

    /// Checks every guarantee, identity by identity.
    pub(crate) async fn verify(&self, lab: &Lab) {
        let outcome = outcome(lab);
        let rows = sqlx::query(
            "select claim_id, decision, source_topic, source_partition, source_offset from \
             verdicts",
        )
        .fetch_all(&lab.database)
        .await
        .expect("the verdicts");
        let mut faults = Vec::new();
        let mut recorded: BTreeMap<String, (String, i32, i64)> = BTreeMap::new();
        for row in rows {
            let id: String = row.get("claim_id");
            recorded.insert(
                id,
                (row.get("decision"), row.get("source_partition"), row.get("source_offset")),
            );
        }
        for id in &self.claims {
            let decisions = outcome.decisions.get(id).map_or(&[][..], Vec::as_slice);
            if decisions.len() != 1 {
                faults.push(format!("{id}: {} decisions", decisions.len()));
            }
            let Some((decision, partition, offset)) = recorded.get(id) else {
                faults.push(format!("{id}: no row"));
                continue;
            };
            for published in decisions {
                let source = &published["source"];
                if published["decision"] != decision.as_str()
                    || source["partition"] != *partition
                    || source["offset"] != *offset
                {
                    faults.push(format!(
                        "{id}: published {published}, recorded {decision} {partition}/{offset}"
                    ));
                }
            }
        }
        faults.extend(
            outcome
                .decisions
                .keys()
                .filter(|id| !self.claims.contains(*id))
                .map(|id| format!("{id}: nobody sent it")),
        );
        faults.extend(
            recorded
                .keys()
                .filter(|id| !self.claims.contains(*id))
                .map(|id| format!("{id}: a row that nobody sent")),
        );
        faults.extend(rederived(lab).await);
        faults.extend(sealed(lab).await);
        self.verify_dead(&outcome, &mut faults);
        verify_dead_rows(lab, &outcome, &mut faults).await;
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }

    fn verify_dead(&self, outcome: &Outcome, faults: &mut Vec<String>) {
        let found: Vec<(Vec<u8>, String)> = outcome
            .dead
            .iter()
            .map(|dead| (dead.payload.clone().unwrap_or_default(), text(dead, "claimgate-error")))
            .collect();
        let expected: Vec<(Vec<u8>, String)> = self
            .dead
            .iter()
            .map(|(payload, error)| (payload.clone(), (*error).to_owned()))
            .collect();
        let count = |letters: Vec<(Vec<u8>, String)>| {
            let mut counts: BTreeMap<(Vec<u8>, String), usize> = BTreeMap::new();
            letters.into_iter().for_each(|letter| *counts.entry(letter).or_default() += 1);
            counts
        };
        let (found, expected) = (count(found), count(expected));
        let beyond = |these: &BTreeMap<(Vec<u8>, String), usize>, those: &BTreeMap<_, usize>| {
            let mut only = Vec::new();
            for (letter, count) in these {
                let more = count.saturating_sub(those.get(letter).copied().unwrap_or(0));
                let start = letter.0[..letter.0.len().min(80)].escape_ascii();
                let shown = format!("{}: {} bytes {start}", letter.1, letter.0.len());
                only.extend(std::iter::repeat_n(shown, more));
            }
            only
        };
        faults.extend(
            beyond(&found, &expected)
                .into_iter()
                .map(|letter| format!("dead letter too much: {letter}")),
        );
        faults.extend(
            beyond(&expected, &found)
                .into_iter()
                .map(|letter| format!("dead letter missing: {letter}")),
        );
    }
}

/// The dead letters in the topic and in the table are the same.
async fn verify_dead_rows(lab: &Lab, outcome: &Outcome, faults: &mut Vec<String>) {
    let sources: Vec<String> =
        outcome.dead.iter().map(|dead| text(dead, "claimgate-source")).collect();
    let recorded: Vec<String> = sqlx::query_scalar(
        "select concat_ws('/', source_topic, source_partition, source_offset) from dead_letters",
    )
    .fetch_all(&lab.database)
    .await
    .expect("the dead letters");
    let (published, recorded) =
        (sources.iter().collect::<BTreeSet<_>>(), recorded.iter().collect::<BTreeSet<_>>());
    faults.extend(
        published
            .symmetric_difference(&recorded)
            .map(|source| format!("dead letter {source}: in one place only")),
    );
    if published.len() != sources.len() {
        faults.push("a dead letter was published twice".to_owned());
    }
}

fn text(seen: &Seen, header: &str) -> String {
    String::from_utf8_lossy(seen.headers.get(header).map_or(&[][..], Vec::as_slice)).into_owned()
}
