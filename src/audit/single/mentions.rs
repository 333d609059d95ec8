//! The dead letters whose event names a claim.
//!
//! `dead_letters` has no column for the claim, because most of its events are no claims. So
//! payloads are searched for the id as it is written in JSON, and only those of the relevant times.

use time::{Duration, OffsetDateTime};

use super::undecryptable::Undecryptable;
use crate::outbox::StoreError;
use crate::outbox::postgres::{IS_ENCRYPTED, PostgresStore};
use crate::schema::{DEAD_LETTERS, DeadLetterRow, LETTER_KEY, LetterId};

/// Letters are searched in this long a time after the claim was first seen, and in this long a time
/// until now.
const WINDOW: Duration = Duration::days(31);
/// The most letters that are returned, the oldest first.
const LIMIT: usize = 100;
/// How many are read together: each may have a megabyte.
const PAGE: usize = 50;

/// Looks for letters that name a claim that was first seen at `first`. Those that cannot be
/// decrypted may name it, too.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn letters(
    store: &PostgresStore,
    claim_id: &str,
    first: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<(Vec<DeadLetterRow>, Undecryptable), StoreError> {
    // If the claim was never seen, only the latest letters can be searched.
    let first = first.unwrap_or(now);
    let spellings = spellings(claim_id);
    let page = format!(
        "where (received_at between $2 and $3 or received_at >= $4)
            and ($5 or {IS_ENCRYPTED} or exists (
                select from unnest($1) as spelling where position(spelling in payload) > 0))
            and (received_at, {LETTER_KEY}) > ($6, $7, $8, $9, $10)
        order by received_at, {LETTER_KEY} limit $11"
    );
    // The server cannot search encrypted payloads. Without keys they are selected and counted, and
    // the answer says that a key is missing.
    let (all, limit) = if store.encrypts() { (true, PAGE) } else { (false, LIMIT) };
    let (mut found, mut undecryptable) = (Vec::new(), Undecryptable::default());
    let mut after = (OffsetDateTime::UNIX_EPOCH, LetterId::first());
    loop {
        let (received_at, LetterId { source, content }) = after;
        let letters = sqlx::query_as(DEAD_LETTERS.select(&page))
            .bind(&spellings)
            .bind(first.saturating_sub(Duration::DAY))
            .bind(first.saturating_add(WINDOW))
            .bind(now.saturating_sub(WINDOW))
            .bind(all)
            .bind(received_at)
            .bind(source.topic)
            .bind(source.partition)
            .bind(source.offset)
            .bind(content)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let letters: Vec<(DeadLetterRow, _)> = store.fetch_decryptable(letters).await?;
        let Some((last, _)) = letters.last() else { break };
        after = (last.received_at, last.id.clone());
        for (letter, why) in letters {
            match why {
                Some(why) => undecryptable.add(why),
                None if !all || names(&letter, &spellings) => found.push(letter),
                None => {}
            }
        }
        if found.len() >= LIMIT {
            break;
        }
    }
    found.truncate(LIMIT);
    Ok((found, undecryptable))
}

/// Whether the letter's event holds one of these spellings.
fn names(letter: &DeadLetterRow, spellings: &[Vec<u8>]) -> bool {
    let payload = letter.payload.as_deref().unwrap_or_default();
    let holds = |spelling: &Vec<u8>| payload.windows(spelling.len()).any(|part| part == spelling);
    spellings.iter().any(holds)
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
