//! "Do all verdicts of that time follow from the evidence that is kept?", and "what would another
//! policy have decided?"
//!
//! Reads a page of verdicts with their evidence at a time; nothing is asked of a risk API, and
//! nothing is written.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use time::OffsetDateTime;

use super::claim::verdicts;
use super::derive::{Derivation, Difference, Evidence, Finding, Reader};
use super::interval;
use super::report::{End, Report};
use super::shown::{sheet, table};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{CLAIM_EVENTS, Call, EventRow, RISK_CALLS, Verdict, utc};

/// Verdicts of a page.
const PAGE: usize = 1_000;
/// A claim's evidence is not older than its verdict by more than this: a claim is given up long
/// before. It keeps the questions to a few partitions.
const EVIDENCE_BEFORE: Duration = Duration::from_secs(31 * 24 * 3_600);

/// Verdicts beside what their evidence leads to.
#[derive(Debug, Default, Serialize)]
pub struct Rederivation {
    /// Verdicts looked at.
    pub claims: usize,
    /// How many there are of each finding.
    pub findings: BTreeMap<Finding, usize>,
    /// The policy that ruled.
    pub policy_version: String,
    /// Decisions that came out otherwise.
    pub changes: Vec<Change>,
    /// How many verdicts say otherwise in which column.
    pub columns: BTreeMap<&'static str, usize>,
    /// What kept verdicts from being verified.
    pub missing: BTreeMap<String, usize>,
    /// The first verdicts that do not follow from their evidence, or are decided otherwise.
    pub examples: Vec<Example>,
    /// Whether the policy that ruled was given to try it.
    pub is_trial: bool,
}

/// How many claims of an API go from one decision to another.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The API.
    pub api: String,
    /// The decision on record.
    pub recorded: &'static str,
    /// The decision that follows.
    pub derived: &'static str,
    /// Claims.
    pub claims: usize,
    /// One of them.
    pub example: String,
}

/// A verdict that does not follow from its evidence, or is decided otherwise.
#[derive(Debug, Serialize)]
pub struct Example {
    /// The claim.
    pub claim_id: String,
    /// What was found out.
    pub finding: Finding,
    /// The columns that say otherwise.
    pub differences: Vec<Difference>,
}

/// Derives the verdicts of the time just past anew. At most `limit` examples are brought.
///
/// # Errors
/// [`StoreError`].
pub async fn rederive(
    store: &PostgresStore,
    reader: Reader<'_>,
    since: Duration,
    limit: usize,
    is_trial: bool,
) -> Result<Rederivation, StoreError> {
    let total = "select count(*), coalesce(min(decided_at), now()) from verdicts
        where decided_at >= now() - $1";
    let total = store.fetch(sqlx::query_as(total).bind(interval(since))).await?;
    let (claims, mut after): (i64, OffsetDateTime) = total[0];
    let bar = progress(u64::try_from(claims).unwrap_or_default());
    let policy_version = reader.policy.version().to_owned();
    let mut sum = Rederivation { policy_version, is_trial, ..Rederivation::default() };
    let mut claim_id = String::new();
    loop {
        let page = page(store, after, &claim_id).await?;
        let Some(last) = page.verdicts.last() else { break };
        (after, claim_id) = (utc(last.decided_at), last.claim_id.clone());
        for verdict in &page.verdicts {
            let none = (Vec::new(), Vec::new());
            let (calls, events) = page.evidence.get(&verdict.claim_id).unwrap_or(&none);
            let derivation = reader.derive(&Evidence { verdict, calls, events });
            sum.add(verdict, derivation, limit);
        }
        bar.inc(u64::try_from(page.verdicts.len()).unwrap_or_default());
    }
    bar.finish_and_clear();
    Ok(sum)
}

/// Drawn on a terminal's standard error only.
fn progress(claims: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} claims, {eta}");
    ProgressBar::new(claims).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Verdicts, and the evidence of each by its claim id.
struct Page {
    verdicts: Vec<Verdict>,
    evidence: HashMap<String, (Vec<Call>, Vec<EventRow>)>,
}

async fn page(
    store: &PostgresStore,
    after: OffsetDateTime,
    claim_id: &str,
) -> Result<Page, StoreError> {
    let query = verdicts(
        "where decided_at >= $1 and (decided_at, claim_id) > ($1, $2)
        order by decided_at, claim_id limit $3",
    );
    let query = query.bind(after).bind(claim_id).bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
    let verdicts = store.fetch(query).await?;
    let ids: Vec<&str> = verdicts.iter().map(|verdict| verdict.claim_id.as_str()).collect();
    let from = after - EVIDENCE_BEFORE;
    let until = verdicts.last().map_or(after, |last| utc(last.decided_at));
    let calls = RISK_CALLS.select(
        "where claim_id = any($1) and requested_at >= $2 and requested_at <= $3
        order by requested_at, id",
    );
    let calls = sqlx::query_as::<_, Call>(calls).bind(&ids).bind(from).bind(until);
    let events =
        CLAIM_EVENTS.select("where claim_id = any($1) and received_at >= $2 and received_at <= $3");
    let events = sqlx::query_as::<_, EventRow>(events).bind(&ids).bind(from).bind(until);
    let mut evidence: HashMap<_, (Vec<_>, Vec<_>)> = HashMap::with_capacity(verdicts.len());
    for call in store.fetch(calls).await? {
        evidence.entry(call.claim_id.clone()).or_default().0.push(call);
    }
    for event in store.fetch(events).await? {
        evidence.entry(event.claim_id.clone()).or_default().1.push(event);
    }
    Ok(Page { verdicts, evidence })
}

impl Rederivation {
    fn add(&mut self, verdict: &Verdict, derivation: Derivation, limit: usize) {
        let finding = derivation.finding(verdict.policy_version != self.policy_version);
        self.claims += 1;
        *self.findings.entry(finding).or_default() += 1;
        for why in &derivation.missing {
            // An attempt's id would make a cause of its own of each.
            let why = if why.starts_with("the answer of attempt") {
                "the answer reads as no assessment today".to_owned()
            } else {
                why.clone()
            };
            *self.missing.entry(why).or_default() += 1;
        }
        for difference in &derivation.differences {
            *self.columns.entry(difference.column).or_default() += 1;
        }
        if let Some(ruling) = &derivation.ruling
            && ruling.decision != verdict.decision
        {
            self.change(verdict, ruling.decision.as_str());
        }
        if matches!(finding, Finding::Differs | Finding::Drifted) && self.examples.len() < limit {
            let (claim_id, differences) = (verdict.claim_id.clone(), derivation.differences);
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

    fn count(&self, finding: Finding) -> usize {
        self.findings.get(&finding).copied().unwrap_or_default()
    }
}

impl Report for Rederivation {
    fn found(&self) -> bool {
        self.claims > 0
    }

    fn end(&self) -> End {
        let drifted = !self.is_trial && self.count(Finding::Drifted) > 0;
        if self.claims == 0 {
            End::Nothing
        } else if drifted || self.count(Finding::Differs) > 0 {
            End::Disagrees
        } else if self.count(Finding::Unverifiable) > 0 {
            End::Unverifiable
        } else {
            End::Found
        }
    }

    fn text(&self) -> String {
        let count = |finding| self.count(finding).to_string();
        let mut text = sheet([
            ("Verdicts", self.claims.to_string()),
            ("Follow from their evidence", count(Finding::Same)),
            ("Decided otherwise by this policy", count(Finding::Drifted)),
            ("Do NOT follow from it", count(Finding::Differs)),
            ("Cannot be verified", count(Finding::Unverifiable)),
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
        text
    }
}
