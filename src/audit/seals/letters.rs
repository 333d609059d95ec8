//! The dead letters that name a person.

use super::whose::{Person, is_of};
use crate::audit::single::undecryptable::Undecryptable;
use crate::claim::{Claim, EventError};
use crate::outbox::StoreError;
use crate::outbox::postgres::PostgresStore;
use crate::schema::{DEAD_LETTERS, DeadLetterRow, LETTER_KEY, LetterId, RowDigest};

/// The dead letters that are read together: each may have a megabyte.
const PAGE: i64 = 50;

/// A dead letter that names the person.
pub(super) struct Letter {
    pub(super) id: LetterId,
    pub(super) seal: Option<i64>,
    pub(super) digest: Option<RowDigest>,
    /// The person's claim that a worker accepted but could not record: risk APIs may have been
    /// called for it. An event that is no claim may name any claim, which proves nothing.
    pub(super) claim_id: Option<String>,
}

/// A dead letter, and the seal that covers it.
#[derive(sqlx::FromRow)]
struct NamedLetter {
    #[sqlx(flatten)]
    letter: DeadLetterRow,
    named_seal: Option<i64>,
}

/// The dead letters that name the person, and those that cannot be decrypted and may name them. All
/// dead letters are read, because no column says whose they are.
pub(super) async fn letters(
    store: &PostgresStore,
    person: Person<'_>,
) -> Result<(Vec<Letter>, Undecryptable), StoreError> {
    let (mut found, mut undecryptable) = (Vec::new(), Undecryptable::default());
    let mut after = LetterId::first();
    loop {
        let page = DEAD_LETTERS.select_and(
            ", seal as named_seal",
            &format!("where ({LETTER_KEY}) > ($1, $2, $3, $4) order by {LETTER_KEY} limit $5"),
        );
        let LetterId { source, content } = after;
        let page = sqlx::query_as(page).bind(source.topic).bind(source.partition);
        let page = page.bind(source.offset).bind(content).bind(PAGE);
        let page: Vec<NamedLetter> = store.fetch(page).await?;
        let Some(last) = page.last() else { return Ok((found, undecryptable)) };
        after = last.letter.id.clone();
        for NamedLetter { mut letter, named_seal: seal } in page {
            let digest = letter.digest();
            if let Err(why) = store.decrypt(&mut letter) {
                undecryptable.add(why);
                continue;
            }
            if is_of(letter.payload.as_deref().unwrap_or_default(), person) {
                let claim_id = accepted(&letter, person);
                found.push(Letter { id: letter.id, seal, digest, claim_id });
            }
        }
    }
}

/// The id of the person's claim, if the letter's event was accepted as a claim.
fn accepted(letter: &DeadLetterRow, person: Person<'_>) -> Option<String> {
    if letter.error != EventError::Unrecordable.as_str() {
        return None;
    }
    let claim = Claim::parse(letter.payload.as_deref(), usize::MAX).ok()?;
    let (account_type, id) = claim.subject();
    ((account_type.as_str(), id) == person).then_some(claim.claim_id)
}
