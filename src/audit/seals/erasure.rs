//! Erases a person: deletes their events, attempts and dead letters, and the identity in their
//! verdicts. It also deletes what a policy in shadow decided about their claims.
//!
//! It works in batches of claims, each in a short transaction that locks only its own rows, so
//! writers do not wait. Deleted rows that seals cover are listed in `removed_rows`, so the seals
//! can still be verified.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::PgConnection;

use super::letters::{Letter, letters};
use super::matching::SealedRow;
use super::pages::{Which, rows};
use crate::audit::command::auditor::Approval;
use crate::audit::report::rows::{Cell, RowSet, Tabular};
use crate::audit::report::shown::sheet;
use crate::audit::report::{End, Report, join_notes};
use crate::audit::single::claim::is_given;
use crate::audit::single::missing_keys::{self, missing_keys};
use crate::audit::single::undecryptable::Undecryptable;
use crate::claim::SubjectKeys;
use crate::outbox::StoreError;
use crate::outbox::postgres::{PostgresStore, Purpose};
use crate::schema::{LETTER_KEY, LetterId, NewRow, RowDigest, VERDICTS, Verdict};

/// The value of `verdicts.subject` afterwards.
const ERASED: &str = "erased";
/// The claims of one transaction.
const CLAIMS: usize = 200;

/// The person to erase, and who is responsible.
#[derive(Debug)]
pub struct Erase<'a> {
    /// The account's type.
    pub account_type: &'a str,
    /// The account's id.
    pub id: &'a str,
    /// The keys under which the person may have been hashed.
    pub keys: &'a SubjectKeys,
    /// Who is responsible, and why it is done.
    pub approval: &'a Approval,
    /// Nothing is erased.
    pub is_dry_run: bool,
}

/// The result: what was erased, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Erasure {
    /// Whether it was a dry run, so that nothing was erased.
    pub is_dry_run: bool,
    /// The row of `removals`.
    pub removal: Option<i64>,
    /// Verdicts whose identity was removed.
    pub verdicts: usize,
    /// Events, attempts and dead letters that were deleted.
    pub rows: usize,
    /// The number of keys that were not given and under which the person may have more rows.
    pub missing_keys: u64,
    /// Dead letters that cannot be decrypted here: they may be the person's.
    pub undecryptable: Undecryptable,
}

/// Erases a person. Only the owner of the tables may do this.
///
/// # Errors
/// [`StoreError`]; everything that was erased before stays erased, and the command can be run
/// again.
pub async fn erase(store: &PostgresStore, request: Erase<'_>) -> Result<Erasure, StoreError> {
    let subjects = request.keys.each(|key| key.subject(request.account_type, request.id));
    let person = (request.account_type, request.id);
    let (letters, undecryptable) = letters(store, person).await?;
    let claims = claims(store, &subjects, &letters).await?;
    let missing_keys = missing_keys(store, request.keys).await?;
    let is_dry_run = request.is_dry_run;
    let mut erasure = Erasure { is_dry_run, missing_keys, undecryptable, ..Erasure::default() };
    let is_nothing = claims.is_empty() && letters.is_empty();
    if !request.is_dry_run && !is_nothing {
        erasure.removal =
            Some(store.announce_erasure(&request.approval.by, &request.approval.reason).await?);
    }
    for some in claims.chunks(CLAIMS) {
        let (rows, verdicts) = match erasure.removal {
            Some(removal) => {
                let erase = async |rows: &mut PgConnection| {
                    let theirs = theirs(rows, some, &subjects).await?;
                    erase_claims(rows, &theirs, removal).await
                };
                store.removing(Purpose::Erasure, erase).await?
            }
            None => {
                store
                    .in_snapshot(async |connection| {
                        let theirs = theirs(connection, some, &subjects).await?;
                        Ok(count(&rows(connection, Which::Claims(&theirs)).await?))
                    })
                    .await?
            }
        };
        erasure.rows += rows;
        erasure.verdicts += verdicts;
    }
    for letter in letters {
        erasure.rows += 1;
        if let Some(removal) = erasure.removal {
            let erase = async |rows: &mut PgConnection| erase_letter(rows, &letter, removal).await;
            store.removing(Purpose::Erasure, erase).await?;
        }
    }
    Ok(erasure)
}

/// The person's claims: those with a verdict, and those that a worker accepted but could not
/// record.
async fn claims(
    store: &PostgresStore,
    subjects: &[String],
    letters: &[Letter],
) -> Result<Vec<String>, StoreError> {
    let decided = format!("select claim_id from verdicts where {}", is_given("subject"));
    let decided = sqlx::query_as(sqlx::AssertSqlSafe(decided)).bind(subjects);
    let decided: Vec<(String,)> = store.fetch(decided).await?;
    let unrecorded = letters.iter().filter_map(|letter| letter.claim_id.clone());
    let claims: BTreeSet<String> = decided.into_iter().map(|(id,)| id).chain(unrecorded).collect();
    Ok(claims.into_iter().collect())
}

/// The number of events and attempts, and the number of verdicts.
fn count(rows: &[SealedRow]) -> (usize, usize) {
    let verdicts = rows.iter().filter(|row| row.table == 0).count();
    (rows.len() - verdicts, verdicts)
}

/// The claims without those that have a verdict for another subject: since the look-up a claim may
/// have got a verdict, or another command may have erased it.
async fn theirs(
    connection: &mut PgConnection,
    claims: &[String],
    subjects: &[String],
) -> sqlx::Result<Vec<String>> {
    let theirs = "select given from unnest($1::text[]) as given where not exists (
        select from verdicts where claim_id = given and subject <> all($2))";
    sqlx::query_scalar(theirs).bind(claims).bind(subjects).fetch_all(connection).await
}

/// Erases the evidence of these claims, and the person from their verdicts. Returns the number of
/// deleted rows, and the number of changed verdicts.
async fn erase_claims(
    connection: &mut PgConnection,
    claims: &[String],
    removal: i64,
) -> sqlx::Result<(usize, usize)> {
    let rows = rows(connection, Which::Claims(claims)).await?;
    let gone = rows.iter().filter(|row| row.table != 0);
    let mut covered: Vec<_> = gone.map(|row| (row.seal, row.digest, None)).collect();
    let verdicts =
        VERDICTS.select_and(", seal as named_seal", "where claim_id = any($1) for update");
    let verdicts = sqlx::query_as(verdicts).bind(claims).fetch_all(&mut *connection).await?;
    for Named { verdict, named_seal } in verdicts {
        let before = verdict.digest().ok();
        let without = Verdict { subject: ERASED.to_owned(), challenge: None, ..verdict };
        covered.push((named_seal, before, without.digest().ok()));
    }
    journal(connection, removal, covered).await?;
    for statement in [
        "delete from claim_events where claim_id = any($1)",
        "delete from risk_calls where claim_id = any($1)",
        "delete from shadow_decisions where claim_id = any($1)",
    ] {
        sqlx::query(statement).bind(claims).execute(&mut *connection).await?;
    }
    let update = "update verdicts set subject = $2, challenge = null where claim_id = any($1)";
    sqlx::query(update).bind(claims).bind(ERASED).execute(connection).await?;
    Ok(count(&rows))
}

/// A verdict, and the seal that covers it.
#[derive(sqlx::FromRow)]
struct Named {
    #[sqlx(flatten)]
    verdict: Verdict,
    named_seal: Option<i64>,
}

async fn erase_letter(
    connection: &mut PgConnection,
    letter: &Letter,
    removal: i64,
) -> sqlx::Result<()> {
    journal(connection, removal, vec![(letter.seal, letter.digest, None)]).await?;
    let LetterId { source, content } = &letter.id;
    let delete = format!("delete from dead_letters where ({LETTER_KEY}) = ($1, $2, $3, $4)");
    let delete = sqlx::query(sqlx::AssertSqlSafe(delete));
    let delete = delete.bind(&source.topic).bind(source.partition).bind(source.offset);
    delete.bind(content).execute(connection).await?;
    Ok(())
}

/// A row's seal and digest, and the digest that it has without the person.
type Covered = (Option<i64>, Option<RowDigest>, Option<RowDigest>);

/// Lists rows that seals cover and that were deleted or changed.
async fn journal(
    connection: &mut PgConnection,
    removal: i64,
    rows: Vec<Covered>,
) -> sqlx::Result<()> {
    let (mut seals, mut digests, mut replacements) = (Vec::new(), Vec::new(), Vec::new());
    for (seal, digest, replacement) in rows {
        let (Some(seal), Some(digest)) = (seal, digest) else { continue };
        seals.push(seal);
        digests.push(digest.to_vec());
        replacements.push(replacement.map(|digest| digest.to_vec()));
    }
    let insert = "insert into removed_rows (seal, digest, replacement, removal)
        select seal, digest, replacement, $4
        from unnest($1::bigint[], $2::bytea[], $3::bytea[]) as given (seal, digest, replacement)
        on conflict do nothing";
    let insert = sqlx::query(insert).bind(seals).bind(digests).bind(replacements).bind(removal);
    insert.execute(connection).await.map(|_| ())
}

impl Report for Erasure {
    fn found(&self) -> bool {
        self.verdicts + self.rows > 0
    }

    /// If there may be rows under other keys, the person may not be erased completely.
    fn end(&self) -> End {
        match (self.missing_keys + self.undecryptable.rows, self.found()) {
            (0, true) => End::Found,
            (0, false) => End::Nothing,
            _ => End::Unverifiable,
        }
    }

    fn note(&self) -> Option<String> {
        join_notes([missing_keys::note(self.missing_keys), self.undecryptable.note("dead letter")])
    }

    fn text(&self) -> String {
        let [erased, lost] =
            if self.is_dry_run { ["Would go", "would lose"] } else { ["Gone", "lost"] };
        let sheet = sheet([
            (erased, format!("{} events, attempts and dead letters", self.rows)),
            ("Verdicts", format!("{} {lost} who it was", self.verdicts)),
            ("Removal", self.removal.map_or_else(|| "–".to_owned(), |removal| removal.to_string())),
        ]);
        self.note().map_or_else(|| sheet.clone(), |note| format!("{sheet}\n{note}\n"))
    }
}

impl Tabular for Erasure {
    fn rows(&self) -> RowSet {
        let Self { is_dry_run, removal, verdicts, rows, .. } = self;
        let counts = [Cell::of(is_dry_run), Cell::optional(*removal), Cell::of(verdicts)];
        let [is_dry_run, removal, verdicts] = counts;
        let row = [is_dry_run, removal, verdicts, Cell::of(rows)];
        RowSet::new(["is_dry_run", "removal", "verdicts", "rows"], [row])
    }
}
