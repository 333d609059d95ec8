//! The dead letters whose event names a claim.
//!
//! `dead_letters` has no column for the claim: most of its events are no claims. So payloads are
//! searched for the id as JSON writes it, and only those of the times that matter.

use time::{Duration, OffsetDateTime};

use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{DEAD_LETTERS, DeadLetterRow};

/// Letters are looked for among those of so long after the claim was seen first, and among those of
/// so long until now.
const WINDOW: Duration = Duration::days(31);
/// At most so many letters, the oldest.
const LIMIT: i64 = 100;

/// Looks for letters that name a claim which was seen first at `first`.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn letters(
    store: &PostgresStore,
    claim_id: &str,
    first: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Vec<DeadLetterRow>, StoreError> {
    // Without a first sighting, the last letters are all there is to look at.
    let first = first.unwrap_or(now);
    let letters = DEAD_LETTERS.select(
        "where (received_at between $2 and $3 or received_at >= $4)
            and exists (select from unnest($1) as spelling where position(spelling in payload) > 0)
        order by received_at, source_topic, source_partition, source_offset limit $5",
    );
    let letters = sqlx::query_as(letters)
        .bind(spellings(claim_id))
        .bind(first.saturating_sub(Duration::DAY))
        .bind(first.saturating_add(WINDOW))
        .bind(now.saturating_sub(WINDOW))
        .bind(LIMIT);
    store.fetch(letters).await
}

/// How producers write an id in JSON: as it is, with `\/`, and in ASCII alone.
fn spellings(claim_id: &str) -> Vec<Vec<u8>> {
    let plain = serde_json::Value::from(claim_id).to_string();
    let ascii = |text: &str| {
        let mut spelt = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_ascii() {
                spelt.push(character);
            } else {
                let units = &mut [0; 2];
                let units = character.encode_utf16(units).iter();
                spelt.extend(units.map(|unit| format!("\\u{unit:04x}")));
            }
        }
        spelt
    };
    let slashed = plain.replace('/', "\\/");
    let mut all = vec![ascii(&plain), ascii(&slashed), plain, slashed];
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_as_producers_write_it() {
        assert_eq!(spellings("clm-1"), [b"\"clm-1\""]);
        let all: Vec<_> = spellings("a/红\"").into_iter().map(String::from_utf8).collect();
        let all: Vec<_> = all.into_iter().map(|text| text.expect("text")).collect();
        assert_eq!(all, [r#""a/\u7ea2\"""#, r#""a/红\"""#, r#""a\/\u7ea2\"""#, r#""a\/红\"""#]);
        assert_eq!(spellings("\u{1f9e7}")[0], br#""\ud83e\udde7""#);
    }
}
