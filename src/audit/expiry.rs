//! What retention took away, by what it said in `removals` before.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::micros;
use crate::unix_time::as_micros;

/// A claim's evidence is not older than its verdict by more than this: with the default settings a
/// claim is given up long before. It keeps the questions to a few partitions.
pub(super) const EVIDENCE_BEFORE: Duration = Duration::from_secs(31 * 24 * 3_600);

/// By table, before when rows need not be there any more. The owner of the tables can say so, too:
/// what retention never takes is never excused, neither a verdict nor a row that was younger than a
/// day then. Nothing where this role may not read the journal.
pub(super) async fn expired(
    store: &PostgresStore,
) -> Result<HashMap<String, OffsetDateTime>, StoreError> {
    let may_read = sqlx::query_as("select has_table_privilege('removals', 'select')");
    let may_read: Vec<(bool,)> = store.fetch(may_read).await?;
    if may_read != [(true,)] {
        return Ok(HashMap::new());
    }
    let before = "select relation, max(least(before, removed_at - interval '1 day')) from removals
        where before is not null and relation <> 'verdicts' group by relation";
    let before: Vec<(String, OffsetDateTime)> = store.fetch(sqlx::query_as(before)).await?;
    Ok(before.into_iter().collect())
}

/// Verdicts that were decided before this time (UNIX microseconds) may have lost attempts to
/// retention: a claim that waits is asked about for as long as `give_up_after`, and a month's
/// attempts go before those of the next one.
pub(super) fn attempts_lost_before(
    expired: &HashMap<String, OffsetDateTime>,
    give_up_after: Duration,
) -> Option<i64> {
    let before = expired.get("risk_calls")?;
    Some(micros(*before).saturating_add(as_micros(EVIDENCE_BEFORE.max(give_up_after))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_may_be_lost_for_as_long_as_a_claim_may_wait() {
        let day = Duration::from_secs(86_400);
        let expired = HashMap::from([("risk_calls".to_owned(), OffsetDateTime::UNIX_EPOCH)]);
        let days = |give_up_after| attempts_lost_before(&expired, give_up_after);
        assert_eq!(days(day), Some(as_micros(31 * day)));
        assert_eq!(days(90 * day), Some(as_micros(90 * day)));
        assert_eq!(attempts_lost_before(&HashMap::new(), day), None);
    }
}
