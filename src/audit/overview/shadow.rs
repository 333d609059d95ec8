//! "Which claims would the policy in shadow have decided differently?"

use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::period::Period;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular, json};
use crate::audit::report::shown::{instant, optional, sheet};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// Counts of claims that a policy in shadow would have decided differently.
#[derive(Debug, Serialize)]
pub struct ShadowCounts {
    /// The policies that ran in shadow until the end of the period, the newest first.
    pub policies: Vec<ShadowPolicy>,
    /// One for each pair of policies, API and pair of decisions; the latest policies first.
    pub counts: Vec<ShadowCount>,
}

/// A policy that runs, or ran, in shadow.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct ShadowPolicy {
    /// Its version.
    pub version: String,
    /// When a worker first started with it.
    #[serde(with = "time::serde::rfc3339")]
    pub first_used_at: OffsetDateTime,
}

/// The number of claims that the policy decided one way and the policy in shadow another.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct ShadowCount {
    /// The policy that decided.
    pub policy_version: String,
    /// The policy in shadow.
    pub shadow_version: String,
    /// The API.
    pub api: String,
    /// The decision.
    pub decision: String,
    /// The decision of the policy in shadow.
    pub shadow_decision: String,
    /// Claims.
    pub claims: i64,
    /// Some of them, the latest first.
    pub examples: Vec<String>,
}

/// The counts, those of the latest policies first.
const COUNTS: &str = "with ranked as (
        select *, row_number() over (
            partition by policy_version, shadow_version, api, decision, shadow_decision
            order by decided_at desc, claim_id
        ) as n
        from shadow_decisions where decided_at >= $1 and decided_at < $2
    )
    select
        policy_version, shadow_version, api, decision, shadow_decision, count(*) as claims,
        coalesce(array_agg(claim_id order by n) filter (where n <= $3), '{}') as examples
    from ranked group by policy_version, shadow_version, api, decision, shadow_decision
    order by
        max(max(decided_at)) over (partition by policy_version, shadow_version) desc,
        policy_version, shadow_version, claims desc, api, decision, shadow_decision";

/// Counts the claims of a period that would have been decided differently, with at most `limit`
/// examples each.
///
/// # Errors
/// [`StoreError`].
pub async fn shadow_counts(
    store: &PostgresStore,
    period: Period,
    limit: u32,
) -> Result<ShadowCounts, StoreError> {
    let counts = sqlx::query_as(COUNTS).bind(period.from).bind(period.to).bind(i64::from(limit));
    let policies = sqlx::query_as(
        "select version, first_used_at from policies
        where used = 'in_shadow' and first_used_at < $1 order by first_used_at desc, version",
    );
    let policies = store.fetch(policies.bind(period.to)).await?;
    Ok(ShadowCounts { policies, counts: store.fetch(counts).await? })
}

impl ShadowCounts {
    /// Since when a policy has run in shadow.
    fn since(&self, version: &str) -> Option<String> {
        let policy = self.policies.iter().find(|policy| policy.version == version)?;
        Some(instant(policy.first_used_at))
    }
}

impl Report for ShadowCounts {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if let Some(note) = self.note() {
            return format!("{note}\n");
        }
        let policies = |one: &ShadowCount, other: &ShadowCount| {
            (&one.policy_version, &one.shadow_version)
                == (&other.policy_version, &other.shadow_version)
        };
        let part = |counts: &[ShadowCount]| {
            let [ShadowCount { policy_version, shadow_version, .. }, ..] = counts else {
                return String::new();
            };
            let claims: i64 = counts.iter().map(|count| count.claims).sum();
            let head = sheet([
                ("Policy", policy_version.clone()),
                ("In shadow", shadow_version.clone()),
                ("Since", optional(self.since(shadow_version))),
                ("Decided otherwise", claims.to_string()),
            ]);
            let columns = ["api", "decision", "shadow_decision", "claims", "examples"];
            format!("{head}\n{}", rows(counts).table_of(&columns))
        };
        self.counts.chunk_by(policies).map(part).collect::<Vec<_>>().join("\n")
    }

    /// An empty result means something only if a policy ran in shadow.
    fn note(&self) -> Option<String> {
        if !self.counts.is_empty() {
            return None;
        }
        let ruled = self.policies.iter().map(|policy| {
            format!(
                "{} has ruled in shadow since {}",
                policy.version,
                instant(policy.first_used_at)
            )
        });
        let ruled = ruled.collect::<Vec<_>>().join("; ");
        Some(if ruled.is_empty() {
            "no policy ruled in shadow until then: the workers have no [policy.shadow]".to_owned()
        } else {
            format!("nothing would have been decided otherwise in that time; {ruled}")
        })
    }
}

impl Tabular for ShadowCounts {
    fn rows(&self) -> RowSet {
        rows(&self.counts)
    }
}

fn rows(counts: &[ShadowCount]) -> RowSet {
    let columns = [
        "policy_version",
        "shadow_version",
        "api",
        "decision",
        "shadow_decision",
        "claims",
        "examples",
    ];
    let cells = |count: &ShadowCount| {
        let ShadowCount { policy_version, shadow_version, api, decision, shadow_decision, .. } =
            count;
        let [policy, shadow, api, decision, other] =
            [policy_version, shadow_version, api, decision, shadow_decision].map(Cell::of);
        let examples = Cell::shown(json(&count.examples), count.examples.join(", "));
        [policy, shadow, api, decision, other, Cell::of(count.claims), examples]
    };
    RowSet::new(columns, counts.iter().map(cells))
}
