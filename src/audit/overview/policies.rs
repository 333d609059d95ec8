//! "Which policies decided claims, which ran in shadow, and what are their rules?"

use std::collections::HashMap;

use serde::Serialize;

use crate::audit::AuditError;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::decision::Policy;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{POLICIES, PolicyRow, PolicyUse};

/// The policies that workers started with, and how they used them.
#[derive(Debug, Serialize)]
pub struct PolicyHistory {
    /// The newest first.
    pub policies: Vec<PolicyRow>,
}

/// A policy that this version can apply.
#[derive(Debug)]
pub struct KeptPolicy {
    /// The policy.
    pub policy: Policy,
    /// Whether it ever decided; otherwise it ran only in shadow.
    pub has_decided: bool,
}

/// The rules of a policy, or only those that differ from another policy.
#[derive(Debug, Serialize)]
pub struct PolicyRules {
    /// The policy's version.
    pub version: String,
    /// The version of the one that it is compared with.
    pub other: Option<String>,
    /// Its rules.
    pub rules: Vec<PolicyRule>,
}

/// A rule of a policy: a finding of an API, and what follows.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRule {
    /// The API.
    pub api: String,
    /// The finding: `level 2`, `risk_type 4`, or `unassessed`.
    pub on: String,
    /// The decision or, for a risk type, its effect on the level's decision. `None`: it has no such
    /// rule.
    pub leads_to: Option<&'static str>,
    /// The same by the policy that it is compared with.
    pub in_other: Option<&'static str>,
}

/// The policies that are kept, the newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn policies(store: &PostgresStore) -> Result<PolicyHistory, StoreError> {
    let rows =
        POLICIES.select_and(", first_used_at", "order by first_used_at desc, version, used desc");
    Ok(PolicyHistory { policies: store.fetch(sqlx::query_as(rows)).await? })
}

/// The policies that this version can apply, by their versions. One whose text was altered excuses
/// no verdict, so it is left out.
///
/// # Errors
/// [`StoreError`].
pub async fn kept_policies(
    store: &PostgresStore,
) -> Result<HashMap<String, KeptPolicy>, StoreError> {
    let mut kept = HashMap::new();
    for row in policies(store).await?.policies {
        let Some(policy) = Policy::from_content(&row.content) else { continue };
        if policy.version() != row.version {
            continue;
        }
        let one = kept.entry(row.version).or_insert(KeptPolicy { policy, has_decided: false });
        one.has_decided |= row.used == PolicyUse::ToDecide.as_str();
    }
    Ok(kept)
}

/// The rules of the policy with this version, or its differences from the other one.
///
/// # Errors
/// [`AuditError`]: no policy has such a version, or several have.
pub async fn policy_rules(
    store: &PostgresStore,
    version: &str,
    other: Option<&str>,
) -> Result<PolicyRules, AuditError> {
    let kept = kept_policies(store).await?;
    let policy = find(&kept, version)?;
    let other = other.map(|other| find(&kept, other)).transpose()?;
    Ok(PolicyRules {
        version: policy.version().to_owned(),
        other: other.map(|other| other.version().to_owned()),
        rules: rules(policy, other),
    })
}

fn find<'a>(kept: &'a HashMap<String, KeptPolicy>, wanted: &str) -> Result<&'a Policy, AuditError> {
    let wanted = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let is_it = |policy: &&Policy| policy.version()["sha256:".len()..].starts_with(wanted);
    let mut found = kept.values().map(|kept| &kept.policy).filter(is_it);
    match (found.next(), found.next()) {
        (Some(policy), None) => Ok(policy),
        (Some(_), Some(_)) => Err(AuditError::Usage(format!(
            "several policies begin with {wanted:?}: give more of it"
        ))),
        (None, _) => Err(AuditError::Usage(format!(
            "no policy that is kept begins with {wanted:?}: `claimgate audit policies` lists them"
        ))),
    }
}

fn rules(policy: &Policy, other: Option<&Policy>) -> Vec<PolicyRule> {
    let rule = |(api, on, leads_to): (&str, String, _)| PolicyRule {
        api: api.to_owned(),
        on,
        leads_to: Some(leads_to),
        in_other: None,
    };
    let mut rules: Vec<PolicyRule> = policy.rules().map(rule).collect();
    let Some(other) = other else { return rules };
    for there in other.rules().map(rule) {
        match rules.iter_mut().find(|here| (&here.api, &here.on) == (&there.api, &there.on)) {
            Some(here) => here.in_other = there.leads_to,
            None => rules.push(PolicyRule { leads_to: None, in_other: there.leads_to, ..there }),
        }
    }
    rules.retain(|rule| rule.leads_to != rule.in_other);
    rules
}

impl Report for PolicyHistory {
    fn found(&self) -> bool {
        !self.policies.is_empty()
    }

    fn text(&self) -> String {
        if self.policies.is_empty() {
            return "no policy is kept\n".to_owned();
        }
        self.rows().table_of(&["version", "used", "first_used_at"])
    }
}

impl Tabular for PolicyHistory {
    fn rows(&self) -> RowSet {
        let row = |row: &PolicyRow| {
            let PolicyRow { version, content, used, first_used_at } = row;
            [Cell::of(version), Cell::of(used), Cell::time(*first_used_at), Cell::of(content)]
        };
        let columns = ["version", "used", "first_used_at", "content"];
        RowSet::new(columns, self.policies.iter().map(row))
    }
}

impl Report for PolicyRules {
    fn found(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        match &self.other {
            Some(_) if self.rules.is_empty() => "both have the same rules\n".to_owned(),
            Some(_) => self.rows().table(),
            None => self.rows().table_of(&["api", "on", "leads_to"]),
        }
    }
}

impl Tabular for PolicyRules {
    fn rows(&self) -> RowSet {
        let row = |rule: &PolicyRule| {
            let PolicyRule { api, on, leads_to, in_other } = rule;
            let [leads_to, in_other] = [leads_to, in_other].map(|word| Cell::optional(*word));
            [Cell::of(api), Cell::of(on), leads_to, in_other]
        };
        RowSet::new(["api", "on", "leads_to", "in_other"], self.rules.iter().map(row))
    }
}
