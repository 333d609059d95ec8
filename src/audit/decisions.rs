//! "What do we decide these days, and mostly why?"

use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::period::Period;
use super::report::Report;
use super::rows::{Cell, RowSet, Tabular, json};
use super::shown::reason;
use crate::decision::Reason;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// Counts of decisions.
#[derive(Debug, Serialize)]
pub struct Decisions {
    /// One for each API and decision.
    pub counts: Vec<DecisionCount>,
}

/// How often an API's answers led to one decision.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct DecisionCount {
    /// The API.
    pub api: String,
    /// The decision.
    pub decision: String,
    /// Claims.
    pub claims: i64,
    /// Of all this API's claims.
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

/// Counts the decisions of a period.
///
/// # Errors
/// [`StoreError`].
pub async fn decisions(store: &PostgresStore, period: Period) -> Result<Decisions, StoreError> {
    let query = sqlx::query_as(
        "with chosen as (
            select api, decision, reasons from verdicts where decided_at >= $1 and decided_at < $2
        ), counted as (
            select api, decision, count(*) as claims, count(*)::float8 / sum(count(*)) over (partition by api)::float8 as share
            from chosen group by api, decision
        ), ranked as (
            select
                api, decision, reason, count(*) as claims,
                row_number() over (partition by api, decision order by count(*) desc, reason::text) as rank
            from chosen cross join jsonb_array_elements(reasons) as reason
            group by api, decision, reason
        )
        select
            counted.api, counted.decision, counted.claims, counted.share,
            coalesce(
                jsonb_agg(jsonb_build_object('reason', ranked.reason, 'claims', ranked.claims) order by ranked.rank)
                    filter (where ranked.rank <= 3),
                '[]'
            ) as reasons
        from counted left join ranked on ranked.api = counted.api and ranked.decision = counted.decision
        group by counted.api, counted.decision, counted.claims, counted.share
        order by counted.api, array_position(array['approve', 'challenge', 'review', 'reject'], counted.decision)",
    );
    Ok(Decisions { counts: store.fetch(query.bind(period.from).bind(period.to)).await? })
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
        let columns = ["api", "decision", "claims", "share", "reasons"];
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
        Cell::of(&count.api),
        Cell::of(&count.decision),
        Cell::of(count.claims),
        Cell::shown(count.share, format!("{:.1} %", count.share * 100.0)),
        Cell::shown(json(&count.reasons.0), reasons.join("; ")),
    ]
}
