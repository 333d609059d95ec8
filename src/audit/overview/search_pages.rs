//! The verdicts that a search reads, with their events: page by page, latest first.

use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;

use crate::audit::period::Period;
use crate::decision::Reason;
use crate::outbox::StoreError;
use crate::outbox::postgres::{Evidence, EvidenceKeys, PostgresStore, decrypt_payload};

/// The verdicts of a page. An event can have a megabyte.
const PAGE: u16 = 200;

/// A verdict with its event.
#[derive(sqlx::FromRow)]
pub(super) struct Decided {
    pub(super) decided_at: OffsetDateTime,
    pub(super) claim_id: String,
    pub(super) kind: String,
    pub(super) decision: String,
    pub(super) reasons: Json<Vec<Reason>>,
    pub(super) is_kept: bool,
    pub(super) payload: Option<Vec<u8>>,
}

impl Evidence for Decided {
    fn decrypt(&mut self, keys: &EvidenceKeys) -> Result<(), String> {
        decrypt_payload(&self.claim_id, &mut self.payload, keys)
    }

    fn clear(&mut self) {
        self.payload = None;
    }
}

/// A verdict with its event, and why that one cannot be decrypted, if so.
type Read = (Decided, Option<String>);

/// What is left to look at.
pub(super) enum Pages {
    /// All verdicts from this time on that are before this one, the last that was read.
    All { from: OffsetDateTime, before: (OffsetDateTime, String) },
    /// These claims.
    Of(std::vec::IntoIter<String>),
}

/// A page of these verdicts, each with the event that it rests on. The times limit the look-up of
/// events to a few partitions: a claim is given up long before it is 31 days old, and clocks differ
/// by less than a day.
fn decided(of: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "with page as (
            select decided_at, claim_id, kind, decision, reasons, source_topic, source_partition,
                source_offset from verdicts {of}
        )
        select page.*, event.claim_id is not null as is_kept, event.payload
        from page left join lateral (
            select claim_id, payload from claim_events
            where claim_events.claim_id = page.claim_id
                and claim_events.source_offset = page.source_offset
                and claim_events.source_partition = page.source_partition
                and claim_events.source_topic = page.source_topic
                and received_at >= page.decided_at - interval '31 days'
                and received_at < page.decided_at + interval '1 day'
            limit 1
        ) as event on true
        order by decided_at desc, claim_id desc"
    ))
}

const BEFORE: &str = "where decided_at >= $1 and (decided_at, claim_id) < ($2, $3)
    order by decided_at desc, claim_id desc limit $4";

impl Pages {
    /// Every verdict of a period.
    pub(super) fn all(period: Period) -> Self {
        Self::All { from: period.from, before: (period.to, String::new()) }
    }

    /// The verdicts of a period whose events have these hashes. They are looked up once, without
    /// their events.
    pub(super) async fn with_hashes(
        store: &PostgresStore,
        period: Period,
        columns: &[(&str, Vec<i64>)],
    ) -> Result<Self, StoreError> {
        let conditions =
            (3..).zip(columns).map(|(n, (column, _))| format!("{column} = any (${n})"));
        let conditions = conditions.collect::<Vec<_>>().join(" and ");
        let found = format!(
            "with event as materialized (
                select claim_id from claim_events
                where {conditions} and received_at >= $1 - interval '31 days'
                    and received_at < $2 + interval '1 day'
            )
            select claim_id from event join verdicts using (claim_id)
            where decided_at >= $1 and decided_at < $2 order by decided_at desc, claim_id desc"
        );
        let found = sqlx::query_scalar(AssertSqlSafe(found)).bind(period.from).bind(period.to);
        let found = columns.iter().fold(found, |found, (_, hashes)| found.bind(hashes));
        let ask = async |connection: &mut PgConnection| {
            // PostgreSQL overestimates the cost of the index of hashes and would read the whole
            // table.
            sqlx::query("set local enable_seqscan = off").execute(&mut *connection).await?;
            found.fetch_all(connection).await
        };
        Ok(Self::Of(store.in_snapshot(ask).await?.into_iter()))
    }

    /// The next page; an empty one is the last.
    pub(super) async fn next(&mut self, store: &PostgresStore) -> Result<Vec<Read>, StoreError> {
        match self {
            Self::All { from, before: (at, claim_id) } => {
                let page = sqlx::query_as(decided(BEFORE)).bind(*from).bind(*at);
                let page = page.bind(&*claim_id).bind(i64::from(PAGE));
                let page: Vec<Read> = store.fetch_decryptable(page).await?;
                if let Some((last, _)) = page.last() {
                    (*at, *claim_id) = (last.decided_at, last.claim_id.clone());
                }
                Ok(page)
            }
            Self::Of(claims) => {
                let some: Vec<String> = claims.take(PAGE.into()).collect();
                if some.is_empty() {
                    return Ok(Vec::new());
                }
                let page = sqlx::query_as(decided("where claim_id = any ($1)")).bind(some);
                store.fetch_decryptable(page).await
            }
        }
    }
}
