//! "Which claims are deferred, since when, why, and until when?" The answer comes from the retry
//! topic, because no table has them before an API was called.

use std::collections::{BTreeMap, HashMap, HashSet};

use rdkafka::message::{BorrowedMessage, Message as _};
use serde::Serialize;
use time::OffsetDateTime;

use crate::audit::AuditError;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::{instant, table};
use crate::audit::report::{Report, there_are_more, with_note};
use crate::claim::Claim;
use crate::decision::Source;
use crate::intake::consumer::headers;
use crate::intake::deferral::Deferral;
use crate::kafka::{Reading, Settings};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::utc;

/// Claims in the retry topic that have no verdict.
#[derive(Debug, Default, Serialize)]
pub struct DeferredClaims {
    /// How many, by API and reason.
    pub counts: Vec<DeferredCount>,
    /// The claims that have waited longest.
    pub claims: Vec<DeferredClaim>,
}

/// The number of claims that are deferred for one reason.
#[derive(Debug, Serialize)]
pub struct DeferredCount {
    /// The API.
    pub api: String,
    /// Why they are deferred.
    pub reason: String,
    /// Claims.
    pub claims: usize,
    /// Since when the first of them has been tried.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When the first of them is due.
    #[serde(with = "time::serde::rfc3339")]
    pub next: OffsetDateTime,
}

/// A claim that is deferred.
#[derive(Debug, Clone, Serialize)]
pub struct DeferredClaim {
    /// The claim.
    pub claim_id: String,
    /// The API that it waits for.
    pub api: String,
    /// Why.
    pub reason: String,
    /// The number of attempts.
    pub attempts: u32,
    /// How often it was deferred.
    pub times: u32,
    /// Since when it has been tried.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When it is due.
    #[serde(with = "time::serde::rfc3339")]
    pub due: OffsetDateTime,
    /// The place of its event in the input topic.
    #[serde(skip)]
    pub source: Source,
}

/// Which of these places have become dead letters since the claims were tried, counted from 1. The
/// workers' clocks may differ, and a topic that was recreated has had the place before.
const ENDED: &str = "select number
    from unnest($1::text[], $2::int[], $3::bigint[], $4::timestamptz[])
        with ordinality as given (topic, part, record, since, number)
    where exists (select from dead_letters
        where source_topic = given.topic and source_partition = given.part
            and source_offset = given.record
            and received_at >= given.since - interval '1 hour')";

/// Reads the retry topic for claims without a verdict. Returns at most `limit` of them.
///
/// # Errors
/// [`AuditError`].
pub async fn deferred_claims(
    store: &PostgresStore,
    settings: &Settings,
    limit: usize,
) -> Result<DeferredClaims, AuditError> {
    let topic = ("retry_topic", settings.retry_topic.as_str());
    let mut reading = Reading::start(settings, topic, None, deferred);
    let mut waiting: HashMap<String, DeferredClaim> = HashMap::new();
    while let Some(some) = reading.next().await.map_err(AuditError::Kafka)? {
        let ids: Vec<&str> = some.iter().map(|claim| claim.claim_id.as_str()).collect();
        let decided = sqlx::query_as("select claim_id from verdicts where claim_id = any($1)");
        let decided: Vec<(String,)> = store.fetch(decided.bind(ids)).await?;
        let decided: HashSet<String> = decided.into_iter().map(|(claim_id,)| claim_id).collect();
        let some = without_dead_letters(store, some).await?;
        for claim in some.into_iter().filter(|claim| !decided.contains(&claim.claim_id)) {
            let last = waiting.entry(claim.claim_id.clone()).or_insert_with(|| claim.clone());
            if claim.times > last.times {
                *last = claim;
            }
        }
    }
    Ok(sum(waiting.into_values().collect(), limit))
}

/// Those that did not become dead letters: their records are in the topic as long as others.
async fn without_dead_letters(
    store: &PostgresStore,
    claims: Vec<DeferredClaim>,
) -> Result<Vec<DeferredClaim>, StoreError> {
    let topics: Vec<&str> = claims.iter().map(|claim| claim.source.topic.as_str()).collect();
    let partitions: Vec<i32> = claims.iter().map(|claim| claim.source.partition).collect();
    let offsets: Vec<i64> = claims.iter().map(|claim| claim.source.offset).collect();
    let since: Vec<OffsetDateTime> = claims.iter().map(|claim| claim.since).collect();
    let ended = sqlx::query_as(ENDED).bind(topics).bind(partitions).bind(offsets).bind(since);
    let ended: Vec<(i64,)> = store.fetch(ended).await?;
    let ended: HashSet<i64> = ended.into_iter().map(|(number,)| number).collect();
    let waits = (1_i64..).zip(claims).filter(|(number, _)| !ended.contains(number));
    Ok(waits.map(|(_, claim)| claim).collect())
}

/// The content of a record of the retry topic.
fn deferred(message: &BorrowedMessage<'_>) -> Option<DeferredClaim> {
    let deferral = Deferral::parse(&headers(message))?;
    let claim = Claim::parse(message.payload(), usize::MAX).ok()?;
    let time = |milliseconds: i64| utc(milliseconds.saturating_mul(1_000));
    Some(DeferredClaim {
        claim_id: claim.claim_id,
        since: time(deferral.since),
        due: time(deferral.not_before),
        api: deferral.api,
        reason: deferral.reason,
        attempts: deferral.attempts,
        times: deferral.times,
        source: deferral.source,
    })
}

fn sum(mut claims: Vec<DeferredClaim>, limit: usize) -> DeferredClaims {
    let mut counts: BTreeMap<(String, String), DeferredCount> = BTreeMap::new();
    for DeferredClaim { api, reason, since, due, .. } in &claims {
        let count = counts.entry((api.clone(), reason.clone())).or_insert_with(|| DeferredCount {
            api: api.clone(),
            reason: reason.clone(),
            claims: 0,
            since: *since,
            next: *due,
        });
        count.claims += 1;
        count.since = count.since.min(*since);
        count.next = count.next.min(*due);
    }
    claims.sort_by(|one, other| (one.since, &one.claim_id).cmp(&(other.since, &other.claim_id)));
    claims.truncate(limit);
    DeferredClaims { counts: counts.into_values().collect(), claims }
}

impl Report for DeferredClaims {
    fn found(&self) -> bool {
        !self.counts.is_empty()
    }

    fn text(&self) -> String {
        if self.counts.is_empty() {
            return "every claim in the retry topic is decided\n".to_owned();
        }
        let counts = self.counts.iter().map(|count| {
            let DeferredCount { api, reason, claims, since, next } = count;
            let times = [since, next].map(|time| instant(*time));
            let [since, next] = times;
            [api.clone(), reason.clone(), claims.to_string(), since, next]
        });
        let counts = table(["api", "reason", "claims", "since", "next due"], counts);
        with_note(format!("{counts}\n{}", self.rows().table()), self.note())
    }

    fn note(&self) -> Option<String> {
        let all: usize = self.counts.iter().map(|count| count.claims).sum();
        let brought = self.claims.len();
        (all > brought).then(|| there_are_more("longest waiting", brought))
    }
}

impl Tabular for DeferredClaims {
    fn rows(&self) -> RowSet {
        let columns = ["claim_id", "api", "reason", "attempts", "times", "since", "due"];
        let cells = |claim: &DeferredClaim| {
            let DeferredClaim { claim_id, api, reason, attempts, times, since, due, .. } = claim;
            [
                Cell::of(claim_id),
                Cell::of(api),
                Cell::of(reason),
                Cell::of(attempts),
                Cell::of(times),
                Cell::time(*since),
                Cell::time(*due),
            ]
        };
        RowSet::new(columns, self.claims.iter().map(cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_counted_by_api_and_reason_oldest_first() {
        let claim = |claim_id: &str, reason: &str, since: i64, due: i64| DeferredClaim {
            claim_id: claim_id.to_owned(),
            api: "captcha_query".to_owned(),
            reason: reason.to_owned(),
            attempts: 3,
            times: 1,
            since: utc(since),
            due: utc(due),
            source: Source { topic: "reward.claims".to_owned(), partition: 0, offset: 1 },
        };
        let all = vec![
            claim("b", "timeout", 5, 90),
            claim("a", "timeout", 3, 80),
            claim("c", "x", 9, 70),
        ];
        let found = sum(all, 2);
        let counts: Vec<_> =
            found.counts.iter().map(|one| (one.claims, one.since, one.next)).collect();
        assert_eq!(counts, [(2, utc(3), utc(80)), (1, utc(9), utc(70))]);
        let ids: Vec<_> = found.claims.iter().map(|claim| claim.claim_id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        let more = "these are the longest waiting 2; there are more: raise --limit";
        assert_eq!(found.note().as_deref(), Some(more));
        assert!(found.text().ends_with(&format!("{more}\n")), "{}", found.text());
    }
}
