//! "Which claims came from this address, or were for this merchant or these goods?"
//!
//! Events are kept as they came in, so each is parsed by the same code as in the worker. A search
//! by phone, certificate or address reads only events with the matching hash. Nothing is written.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde::Serialize;
use time::OffsetDateTime;

use super::search_pages::{Decided, Pages};
use super::wanted::Wanted;
use crate::audit::period::Period;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::{End, Report, join_notes};
use crate::audit::single::missing_keys::{self, missing_keys};
use crate::audit::single::undecryptable::Undecryptable;
use crate::claim::{Claim, SubjectKeys};
use crate::decision::Reason;
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;

/// The answer if nothing was found.
const NOTHING: &str =
    "no such claim was decided in that time: without --since, the last 24 hours\n";

/// The claims of a period that match.
#[derive(Debug, Default, Serialize)]
pub struct Search {
    /// The claims, latest first.
    pub claims: Vec<FoundClaim>,
    /// Whether there are more.
    pub more: bool,
    /// The number of verdicts whose events were read.
    pub searched: u64,
    /// Whether only events with matching hashes were read.
    pub by_hash: bool,
    /// Verdicts whose event is no longer kept: they might have matched. With `by_hash` only the
    /// earliest hundred verdicts are counted.
    pub not_kept: u64,
    /// Verdicts whose event this version does not accept as a claim.
    pub unreadable: u64,
    /// Events that cannot be decrypted here: they might have matched.
    pub undecryptable: Undecryptable,
    /// The number of keys that were not given and under which there may be more claims; 0 without
    /// `by_hash`.
    pub missing_keys: u64,
}

/// A claim that was found.
#[derive(Debug, Serialize)]
pub struct FoundClaim {
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
    /// Its id.
    pub claim_id: String,
    /// Its kind.
    pub kind: String,
    /// What was decided.
    pub decision: String,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The client's IP address.
    pub ip: String,
    /// The merchant number.
    pub merchant: Option<String>,
    /// What was claimed.
    pub goods: Option<String>,
}

/// Searches the claims that were decided in a period, for at most `limit`.
///
/// # Errors
/// [`StoreError`].
pub async fn search(
    store: &PostgresStore,
    keys: &SubjectKeys,
    period: Period,
    wanted: &Wanted,
    limit: usize,
) -> Result<Search, StoreError> {
    let bar = progress();
    let columns = wanted.hashes(keys);
    let mut found = Search { by_hash: !columns.is_empty(), ..Search::default() };
    let mut pages = if found.by_hash {
        found.missing_keys = missing_keys(store, keys).await?;
        Pages::with_hashes(store, period, &columns).await?
    } else {
        Pages::all(period)
    };
    loop {
        let page = pages.next(store).await?;
        if page.is_empty() {
            break;
        }
        bar.inc(u64::try_from(page.len()).unwrap_or_default());
        for (decided, why) in page {
            match why {
                Some(why) => found.undecryptable.add(why),
                None => found.look_at(decided, wanted),
            }
            if found.claims.len() > limit {
                found.claims.truncate(limit);
                found.more = true;
                return Ok(found);
            }
        }
    }
    if found.by_hash {
        found.not_kept = earliest_not_kept(store, period).await?;
    }
    Ok(found)
}

/// How many of the earliest verdicts of a period have no event any more. Retention removes the
/// earliest events first, so if these are kept, all are, except erased ones.
async fn earliest_not_kept(store: &PostgresStore, period: Period) -> Result<u64, StoreError> {
    let earliest = sqlx::query_as(
        "select count(*) from (
            select claim_id, decided_at from verdicts where decided_at >= $1 and decided_at < $2
            order by decided_at limit 100
        ) as earliest
        where not exists (select from claim_events
            where claim_events.claim_id = earliest.claim_id
                and received_at >= earliest.decided_at - interval '31 days'
                and received_at < earliest.decided_at + interval '1 day')",
    );
    let counts: Vec<(i64,)> = store.fetch(earliest.bind(period.from).bind(period.to)).await?;
    Ok(counts.first().map_or(0, |(count,)| count.unsigned_abs()))
}

/// Drawn only if the standard error is a terminal, and removed before the answer.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} claims searched");
    ProgressBar::no_length()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_finish(ProgressFinish::AndClear)
}

impl Search {
    fn look_at(&mut self, decided: Decided, wanted: &Wanted) {
        if !decided.is_kept {
            self.not_kept += 1;
            return;
        }
        let Ok(claim) = Claim::parse(decided.payload.as_deref(), usize::MAX) else {
            self.unreadable += 1;
            return;
        };
        self.searched += 1;
        if wanted.matches(&claim) {
            let Decided { decided_at, claim_id, kind, decision, reasons, .. } = decided;
            self.claims.push(FoundClaim {
                decided_at,
                claim_id,
                kind,
                decision,
                reasons: reasons.0,
                ip: claim.ip().to_owned(),
                merchant: claim.reward.merchant,
                goods: claim.reward.goods,
            });
        }
    }
}

impl Report for Search {
    fn found(&self) -> bool {
        !self.claims.is_empty()
    }

    fn end(&self) -> End {
        let unread = self.not_kept + self.unreadable + self.undecryptable.rows;
        End::of(self.found(), unread + self.missing_keys)
    }

    fn text(&self) -> String {
        let rows = self.rows().table();
        let rows = if self.claims.is_empty() { NOTHING } else { &rows };
        self.note().map_or_else(|| rows.to_owned(), |note| format!("{rows}\n{note}\n"))
    }

    fn note(&self) -> Option<String> {
        let undecryptable = self.undecryptable.note("event");
        join_notes([self.note_of_claims(), undecryptable, missing_keys::note(self.missing_keys)])
    }
}

impl Search {
    /// Which claims were not searched.
    fn note_of_claims(&self) -> Option<String> {
        let Self { claims, more, searched, by_hash, not_kept, unreadable, .. } = self;
        if *more {
            return Some(format!(
                "these are the latest {}; there are more: raise --limit, or search a part of the \
                 period",
                claims.len()
            ));
        }
        if *by_hash && *not_kept > 0 {
            return Some(format!(
                "of {not_kept} of the earliest claims of the period the event is not kept any \
                 more: there may have been such claims before those that are kept"
            ));
        }
        (*not_kept + *unreadable > 0).then(|| {
            format!(
                "{searched} claims were searched; of {not_kept} the event is not kept any more, \
                 and of {unreadable} this version cannot read it: those may be such claims as well"
            )
        })
    }
}

impl Tabular for Search {
    fn rows(&self) -> RowSet {
        let columns =
            ["decided_at", "claim_id", "kind", "decision", "reasons", "ip", "merchant", "goods"];
        let cells = |claim: &FoundClaim| {
            [
                Cell::time(claim.decided_at),
                Cell::of(&claim.claim_id),
                Cell::of(&claim.kind),
                Cell::of(&claim.decision),
                Cell::reasons(&claim.reasons),
                Cell::of(&claim.ip),
                Cell::optional(claim.merchant.as_ref()),
                Cell::optional(claim.goods.as_ref()),
            ]
        };
        RowSet::new(columns, self.claims.iter().map(cells))
    }
}
