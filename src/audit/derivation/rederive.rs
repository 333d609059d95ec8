//! "Do all verdicts of a period follow from the kept evidence?", and "what would another policy
//! have decided?"
//!
//! Reads verdicts with their evidence, page by page. It calls no risk API and writes nothing.
//! [`Rederivation`] is the result.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{FromRow, PgConnection, Row};
use time::OffsetDateTime;

use super::derive::{Evidence, Reader, lacks_attempts};
use super::rederivation::Rederivation;
use crate::audit::expiry::{EVIDENCE_BEFORE, attempts_lost_before, expired};
use crate::audit::interval;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{CLAIM_EVENTS, Call, EventRow, RISK_CALLS, VERDICTS, Verdict};

/// The verdicts of a page.
const PAGE: usize = 1_000;

/// How much the clocks of two workers may differ, of which one made the first call and the other
/// decided.
const CLOCKS_DIFFER: Duration = Duration::from_secs(24 * 3_600);

/// Derives the verdicts of the latest period again. Returns at most `limit` examples.
/// `give_up_after` is `retry.give_up_after`.
///
/// # Errors
/// [`StoreError`].
pub async fn rederive(
    store: &PostgresStore,
    reader: Reader<'_>,
    since: Duration,
    (limit, is_trial): (usize, bool),
    give_up_after: Duration,
) -> Result<Rederivation, StoreError> {
    // Claims that are decided meanwhile are left out: on a busy system this would never end.
    let total = "select count(*), now() - $1, now() from verdicts
        where decided_at between now() - $1 and now()";
    let total = store.fetch(sqlx::query_as(total).bind(interval(since))).await?;
    let (claims, mut after, end): (i64, OffsetDateTime, OffsetDateTime) = total[0];
    let bar = progress(u64::try_from(claims).unwrap_or_default(), "claims");
    let mut sum = Rederivation::new(reader.policy, is_trial);
    let mut claim_id = String::new();
    loop {
        let Page { verdicts, evidence } = page(store, (after, end), &claim_id).await?;
        let Verdicts { readable, unreadable, last } = verdicts;
        let Some(last) = last else { break };
        // After the page was read: retention may run at the same time, and it records first what it
        // removes.
        let attempts_lost_before = attempts_lost_before(&expired(store).await?, give_up_after);
        (after, claim_id) = last;
        unreadable.iter().for_each(|claim_id| sum.add_unreadable(claim_id, limit));
        for verdict in &readable {
            let none = Kept::default();
            let kept = evidence.get(&verdict.claim_id).unwrap_or(&none);
            let Kept { calls, events, undecryptable } = kept;
            let evidence = Evidence { verdict, calls, events, undecryptable, attempts_lost_before };
            let derivation = reader.derive(&evidence);
            sum.add(verdict, derivation, limit);
        }
        let claims = readable.len() + unreadable.len();
        bar.inc(u64::try_from(claims).unwrap_or_default());
    }
    bar.finish_and_clear();
    Ok(sum)
}

/// Drawn only if the standard error is a terminal.
pub(in crate::audit) fn progress(of: u64, things: &str) -> ProgressBar {
    let line = format!("{{wide_bar}} {{human_pos}} of {{human_len}} {things}, {{eta}}");
    let style = ProgressStyle::with_template(&line);
    ProgressBar::new(of).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Verdicts, and the evidence of each by claim id.
struct Page {
    verdicts: Verdicts,
    evidence: HashMap<String, Kept>,
}

/// The evidence that is kept about a claim.
#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    events: Vec<EventRow>,
    /// Why some of these cannot be decrypted.
    undecryptable: Vec<String>,
}

/// The verdicts of a page.
#[derive(Default)]
struct Verdicts {
    readable: Vec<Verdict>,
    /// Claims whose verdict cannot be read, because it was altered.
    unreadable: Vec<String>,
    /// When the last of all was decided, and its claim.
    last: Option<(OffsetDateTime, String)>,
}

async fn verdicts(
    store: &PostgresStore,
    (after, end): (OffsetDateTime, OffsetDateTime),
    claim_id: &str,
) -> Result<Verdicts, StoreError> {
    let query = VERDICTS.select_and(
        ", decided_at as at",
        "where decided_at between $1 and $3 and (decided_at, claim_id) > ($1, $2)
        order by decided_at, claim_id limit $4",
    );
    let query = sqlx::query(query).bind(after).bind(claim_id).bind(end);
    let query = query.bind(i64::try_from(PAGE).unwrap_or(i64::MAX));
    let read = async |connection: &mut PgConnection| {
        let mut read = Verdicts::default();
        for row in query.fetch_all(connection).await? {
            let claim_id: String = row.try_get("claim_id")?;
            read.last = Some((row.try_get("at")?, claim_id.clone()));
            match Verdict::from_row(&row) {
                Ok(verdict) => read.readable.push(verdict),
                Err(_) => read.unreadable.push(claim_id),
            }
        }
        Ok(read)
    };
    store.in_snapshot(read).await
}

async fn page(
    store: &PostgresStore,
    (after, end): (OffsetDateTime, OffsetDateTime),
    claim_id: &str,
) -> Result<Page, StoreError> {
    let verdicts = verdicts(store, (after, end), claim_id).await?;
    let ids: Vec<&str> =
        verdicts.readable.iter().map(|verdict| verdict.claim_id.as_str()).collect();
    let from = after - EVIDENCE_BEFORE;
    let until = verdicts.last.as_ref().map_or(after, |(at, _)| *at);
    let calls = RISK_CALLS.select(
        "where claim_id = any($1) and requested_at >= $2 and requested_at <= $3
        order by requested_at, id",
    );
    let calls = sqlx::query_as::<_, Call>(calls).bind(&ids).bind(from).bind(until + CLOCKS_DIFFER);
    let recent = store.fetch_decryptable(calls).await?;
    let mut calls = earlier_calls(store, &verdicts.readable, &recent, from).await?;
    calls.extend(recent);
    let events =
        CLAIM_EVENTS.select("where claim_id = any($1) and received_at >= $2 and received_at <= $3");
    let events = sqlx::query_as::<_, EventRow>(events).bind(&ids).bind(from).bind(until);
    let mut evidence: HashMap<String, Kept> = HashMap::with_capacity(verdicts.readable.len());
    for (call, why) in calls {
        let kept = evidence.entry(call.claim_id.clone()).or_default();
        kept.calls.push(call);
        kept.undecryptable.extend(why);
    }
    for (event, why) in store.fetch_decryptable(events).await? {
        let kept = evidence.entry(event.claim_id.clone()).or_default();
        kept.events.push(event);
        kept.undecryptable.extend(why);
    }
    Ok(Page { verdicts, evidence })
}

/// Also the calls from before `from`, for verdicts that would lack attempts without them: a claim
/// may have waited for longer than most.
async fn earlier_calls(
    store: &PostgresStore,
    verdicts: &[Verdict],
    calls: &[(Call, Option<String>)],
    from: OffsetDateTime,
) -> Result<Vec<(Call, Option<String>)>, StoreError> {
    let mut by_claim: HashMap<&str, usize> = HashMap::with_capacity(verdicts.len());
    calls.iter().for_each(|(call, _)| *by_claim.entry(call.claim_id.as_str()).or_default() += 1);
    let lacks = |verdict: &&Verdict| {
        let kept = by_claim.get(verdict.claim_id.as_str()).copied().unwrap_or_default();
        lacks_attempts(verdict, kept)
    };
    let lacking = verdicts.iter().filter(lacks).map(|verdict| verdict.claim_id.as_str());
    let lacking: Vec<&str> = lacking.collect();
    if lacking.is_empty() {
        return Ok(Vec::new());
    }
    let calls = RISK_CALLS
        .select("where claim_id = any($1) and requested_at < $2 order by requested_at, id");
    store.fetch_decryptable(sqlx::query_as::<_, Call>(calls).bind(lacking).bind(from)).await
}
