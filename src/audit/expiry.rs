//! What retention removed, according to its rows in `removals`.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::micros;
use crate::unix_time::as_micros;

/// The evidence of a claim is at most this much older than its verdict: with the default settings a
/// claim is given up long before. This limits queries to a few partitions.
pub(super) const EVIDENCE_BEFORE: Duration = Duration::from_secs(31 * 24 * 3_600);

/// For each table, the time before which rows need not exist any more. The owner of the tables
/// could write such rows, too. So nothing excuses the loss of what retention never removes: a
/// verdict, or a row that was younger than a day then or is now; and a time that no clock gives
/// stops no command. Empty if this role may not read `removals`.
pub(super) async fn expired(
    store: &PostgresStore,
) -> Result<HashMap<String, OffsetDateTime>, StoreError> {
    let may_read = sqlx::query_as("select has_table_privilege('removals', 'select')");
    let may_read: Vec<(bool,)> = store.fetch(may_read).await?;
    if may_read != [(true,)] {
        return Ok(HashMap::new());
    }
    let before = "select relation, max(greatest('1970-01-01',
            least(before, removed_at - interval '1 day', now() - interval '1 day')))
        from removals where before is not null and relation <> 'verdicts' group by relation";
    let before: Vec<(String, OffsetDateTime)> = store.fetch(sqlx::query_as(before)).await?;
    Ok(before.into_iter().collect())
}

/// Verdicts that were decided before this time (UNIX microseconds) may have lost attempts to
/// retention: a claim is tried for as long as `give_up_after`, and the attempts of one month are
/// removed before those of the next.
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
