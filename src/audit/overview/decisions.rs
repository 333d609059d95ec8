//! "What is decided in a period, and for which reasons mostly?"

use clap::ValueEnum;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use time::{OffsetDateTime, UtcOffset};

use crate::audit::period::Period;
use crate::audit::report::Report;
use crate::audit::report::rows::{Cell, RowSet, Tabular, json};
use crate::audit::report::shown::reason;
use crate::decision::Reason;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// What decisions are counted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The risk API that was asked
    #[default]
    Api,
    /// The kind of claim
    Kind,
    /// Each reason; a claim with several counts for each
    Reason,
    /// The version of the policy that decided
    Policy,
    /// The hour (UTC)
    Hour,
    /// The day (UTC)
    Day,
}

impl By {
    /// The column of the answer.
    pub fn column(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Kind => "kind",
            Self::Reason => "reason",
            Self::Policy => "policy_version",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The SQL that selects verdicts before their reasons are counted.
    fn key(self) -> &'static str {
        match self {
            Self::Api | Self::Kind | Self::Policy => self.column(),
            Self::Reason => "''::text",
            Self::Hour => r#"to_char(decided_at, 'YYYY-MM-DD"T"HH24":00:00Z"')"#,
            Self::Day => r#"to_char(decided_at, 'YYYY-MM-DD"T00:00:00Z"')"#,
        }
    }

    /// The group that they are counted by, and the join that it needs.
    fn group(self) -> (&'static str, &'static str) {
        match self {
            Self::Reason => (
                "each.reason",
                "cross join lateral (
                    select distinct
                        concat_ws(' ', item->>'code', item->>'value', item->>'name') as reason
                    from jsonb_array_elements(reasons) as item
                ) as each",
            ),
            _ => ("key", ""),
        }
    }
}

/// Counts of decisions. As JSON `{"counts": […]}`, the group of each under the name of its column.
#[derive(Debug)]
pub struct Decisions {
    /// The grouping.
    pub by: By,
    /// One for each group and decision.
    pub counts: Vec<DecisionCount>,
}

/// How often the claims of a group got a decision.
#[derive(Debug, sqlx::FromRow)]
pub struct DecisionCount {
    /// The value of the group: the API, the kind, …
    pub group_name: String,
    /// The decision.
    pub decision: String,
    /// Claims.
    pub claims: i64,
    /// The part of all claims of the group.
    pub share: f64,
    /// The three most frequent reasons.
    pub reasons: Json<Vec<ReasonCount>>,
}

/// How often a reason was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason.
    pub reason: Reason,
    /// Claims.
    pub claims: i64,
}

/// The verdicts of a period: stored counts for its full hours, as far as they were counted, and all
/// others one by one. Counts that a worker stores meanwhile are not in `$5`, so they are left out.
const GIVEN: &str = "with given as (
        select decided_at, api, kind, policy_version, decision, reasons, 1 as claims
        from verdicts where decided_at >= $1 and decided_at < $3
        union all
        select hour, api, kind, policy_version, decision, reasons, claims
        from decision_counts where hour >= $3 and hour < $4 and counted_until <= $5
        union all
        select decided_at, api, kind, policy_version, decision, reasons, 1
        from verdicts where decided_at >= $3 and decided_at < $4 and recorded_at >= $5
        union all
        select decided_at, api, kind, policy_version, decision, reasons, 1
        from verdicts where decided_at >= $4 and decided_at < $2
    )";

/// Counts the selected verdicts.
const COUNTS: &str = "
    counted as (
        select
            group_name, decision, sum(claims)::bigint as claims,
            sum(claims)::float8 / sum(sum(claims)) over (partition by group_name)::float8 as share
        from chosen group by group_name, decision
    ), ranked as (
        select
            group_name, decision, reason, sum(claims)::bigint as claims,
            row_number() over (
                partition by group_name, decision order by sum(claims) desc, reason::text
            ) as rank
        from chosen cross join jsonb_array_elements(reasons) as reason
        group by group_name, decision, reason
    ), mostly as (
        select
            group_name, decision,
            jsonb_agg(jsonb_build_object('reason', reason, 'claims', claims) order by rank)
                as reasons
        from ranked where rank <= 3 group by group_name, decision
    )
    select counted.*, coalesce(mostly.reasons, '[]') as reasons
    from counted left join mostly using (group_name, decision)
    order by
        group_name, array_position(array['approve', 'challenge', 'review', 'reject'], decision)";

/// Counts the decisions of a period. `recount`: from the verdicts only.
///
/// # Errors
/// [`StoreError`].
pub async fn decisions(
    store: &PostgresStore,
    period: Period,
    by: By,
    recount: bool,
) -> Result<Decisions, StoreError> {
    let counted = if recount { None } else { counted_until(store).await? };
    let hours = full_hours(period).filter(|_| counted.is_some());
    let (start, end) = hours.unwrap_or((period.to, period.to));
    let (key, (group, join)) = (by.key(), by.group());
    let query = format!(
        "{GIVEN}, alike as (
            select {key} as key, decision, reasons, sum(claims) as claims from given
            group by {key}, decision, reasons
        ), chosen as (
            select {group} as group_name, decision, reasons, claims from alike {join}
        ), {COUNTS}"
    );
    let query = sqlx::query_as(AssertSqlSafe(query)).bind(period.from).bind(period.to);
    let query = query.bind(start).bind(end).bind(counted);
    Ok(Decisions { by, counts: store.fetch(query).await? })
}

/// Verdicts recorded before this time are counted in `decision_counts`.
async fn counted_until(store: &PostgresStore) -> Result<Option<OffsetDateTime>, StoreError> {
    let counted = sqlx::query_as("select max(counted_until) from decision_counts");
    let counted: Vec<(Option<OffsetDateTime>,)> = store.fetch(counted).await?;
    Ok(counted.first().and_then(|(until,)| *until))
}

/// From the first full hour of a period to the end of the last one.
fn full_hours(Period { from, to }: Period) -> Option<(OffsetDateTime, OffsetDateTime)> {
    let [first, last] = [from, to].map(|time| time.to_offset(UtcOffset::UTC).truncate_to_hour());
    let start = if first == from { from } else { first.checked_add(time::Duration::HOUR)? };
    (start < last).then_some((start, last))
}

impl Serialize for Decisions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.counts.iter().map(|count| Named(self.by, count));
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("counts", &counts.collect::<Vec<_>>())?;
        map.end()
    }
}

/// Serializes a count with the name of its group's column.
struct Named<'a>(By, &'a DecisionCount);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(by, DecisionCount { group_name, decision, claims, share, reasons }) = self;
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry(by.column(), group_name)?;
        map.serialize_entry("decision", decision)?;
        map.serialize_entry("claims", claims)?;
        map.serialize_entry("share", share)?;
        map.serialize_entry("reasons", &reasons.0)?;
        map.end()
    }
}

impl Report for Decisions {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if self.counts.is_empty() {
            return "nothing was decided in that time\n".to_owned();
        }
        self.rows().table()
    }
}

impl Tabular for Decisions {
    fn rows(&self) -> RowSet {
        let columns = [self.by.column(), "decision", "claims", "share", "reasons"];
        RowSet::new(columns, self.counts.iter().map(cells))
    }
}

fn cells(count: &DecisionCount) -> [Cell; 5] {
    let reasons: Vec<String> = count
        .reasons
        .iter()
        .map(|each| format!("{} ({})", reason(&each.reason), each.claims))
        .collect();
    [
        Cell::of(&count.group_name),
        Cell::of(&count.decision),
        Cell::of(count.claims),
        Cell::shown(count.share, format!("{:.1} %", count.share * 100.0)),
        Cell::shown(json(&count.reasons.0), reasons.join("; ")),
    ]
}
