//! A person is forgotten: their events, attempts and dead letters go, and their verdicts lose who
//! it was. What a policy in shadow made of their claims goes, too.
//!
//! Some claims at a time, each in a short transaction that locks its rows alone, so writers do not
//! wait. What seals cover of it goes into `removed_rows`: they can be verified after it.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::matching::SealedRow;
use super::pages::{Which, rows};
use crate::audit::auditor::Approval;
use crate::audit::claim::is_given;
use crate::audit::missing_keys::{self, missing_keys};
use crate::audit::report::{End, Report};
use crate::audit::rows::{Cell, RowSet, Tabular};
use crate::audit::shown::sheet;
use crate::claim::SubjectKeys;
use crate::outbox::StoreError;
use crate::outbox::postgres::{PostgresStore, Purpose};
use crate::schema::{
    DEAD_LETTERS, DeadLetterRow, LETTER_KEY, LetterId, NewRow, RowDigest, VERDICTS, Verdict,
};

/// What stands in `verdicts.subject` afterwards.
const ERASED: &str = "erased";
/// Claims of one transaction.
const CLAIMS: usize = 200;
/// Dead letters that are looked at together: each may have a megabyte.
const LETTERS: i64 = 50;

/// Who is to be forgotten, and who answers for it.
#[derive(Debug)]
pub struct Erase<'a> {
    /// The account's type.
    pub account_type: &'a str,
    /// The account's id.
    pub id: &'a str,
    /// The keys under which the person may have been hashed.
    pub keys: &'a SubjectKeys,
    /// Who answers for it, and why.
    pub approval: &'a Approval,
    /// Nothing is erased.
    pub is_dry_run: bool,
}

/// What was erased, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Erasure {
    /// Whether all of it is there still.
    pub is_dry_run: bool,
    /// The row of `removals`.
    pub removal: Option<i64>,
    /// Verdicts that lost who it was.
    pub verdicts: usize,
    /// Events, attempts and dead letters that are gone.
    pub rows: usize,
    /// Keys under which there may be more of the person, and that were not given.
    pub missing_keys: u64,
}

/// Erases a person. Only the owner of the tables may.
///
/// # Errors
/// [`StoreError`]; what was erased before it stays erased, and the command can be run again.
pub async fn erase(store: &PostgresStore, request: Erase<'_>) -> Result<Erasure, StoreError> {
    let subjects = request.keys.each(|key| key.subject(request.account_type, request.id));
    let claims =
        format!("select claim_id from verdicts where {} order by claim_id", is_given("subject"));
    let claims = sqlx::query_as(sqlx::AssertSqlSafe(claims)).bind(&subjects);
    let claims: Vec<(String,)> = store.fetch(claims).await?;
    let letters = letters(store, &request).await?;
    let undecided = undecided(store, &letters).await?;
    let claims: Vec<String> = claims.into_iter().chain(undecided).map(|(id,)| id).collect();
    let missing_keys = missing_keys(store, request.keys).await?;
    let is_dry_run = request.is_dry_run;
    let mut erasure = Erasure { is_dry_run, missing_keys, ..Erasure::default() };
    let is_nothing = claims.is_empty() && letters.is_empty();
    if !request.is_dry_run && !is_nothing {
        erasure.removal =
            Some(store.announce_erasure(&request.approval.by, &request.approval.reason).await?);
    }
    for some in claims.chunks(CLAIMS) {
        let (rows, verdicts) = match erasure.removal {
            Some(removal) => {
                let erase = async |rows: &mut PgConnection| erase_claims(rows, some, removal).await;
                store.removing(Purpose::Erasure, erase).await?
            }
            None => {
                store
                    .in_snapshot(async |connection| {
                        Ok(count(&rows(connection, Which::Claims(some)).await?))
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

/// How many events and attempts, and how many verdicts.
fn count(rows: &[SealedRow]) -> (usize, usize) {
    let verdicts = rows.iter().filter(|row| row.table == 0).count();
    (rows.len() - verdicts, verdicts)
}

/// Erases the evidence of these claims, and the person from their verdicts; returns how many rows
/// went, and how many verdicts are left.
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

/// A verdict, and the seal that it names.
#[derive(sqlx::FromRow)]
struct Named {
    #[sqlx(flatten)]
    verdict: Verdict,
    named_seal: Option<i64>,
}

/// A dead letter that names the person.
struct Letter {
    id: LetterId,
    seal: Option<i64>,
    digest: Option<RowDigest>,
    claim_id: Option<String>,
}

/// What is read of an event that is no claim, perhaps: whose it is.
#[derive(Deserialize)]
struct Owned {
    account: Account,
    claim_id: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    r#type: String,
    id: String,
}

/// A dead letter, and the seal that it names.
#[derive(sqlx::FromRow)]
struct NamedLetter {
    #[sqlx(flatten)]
    letter: DeadLetterRow,
    named_seal: Option<i64>,
}

/// The claims of these letters that have no verdict: APIs may have been asked about them.
async fn undecided(
    store: &PostgresStore,
    letters: &[Letter],
) -> Result<Vec<(String,)>, StoreError> {
    let ids: Vec<&str> = letters.iter().filter_map(|letter| letter.claim_id.as_deref()).collect();
    let undecided = "select distinct given.claim_id from unnest($1) as given (claim_id)
        where not exists (select from verdicts where verdicts.claim_id = given.claim_id)";
    store.fetch(sqlx::query_as(undecided).bind(ids)).await
}

/// The dead letters that name the person. All are read: no column says whose they are.
async fn letters(store: &PostgresStore, request: &Erase<'_>) -> Result<Vec<Letter>, StoreError> {
    let mut found = Vec::new();
    let mut after = LetterId::first();
    loop {
        let page = DEAD_LETTERS.select_and(
            ", seal as named_seal",
            &format!("where ({LETTER_KEY}) > ($1, $2, $3, $4) order by {LETTER_KEY} limit $5"),
        );
        let LetterId { source, content } = after;
        let page = sqlx::query_as(page).bind(source.topic).bind(source.partition);
        let page = page.bind(source.offset).bind(content).bind(LETTERS);
        let page: Vec<NamedLetter> = store.fetch(page).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.letter.id.clone();
        for NamedLetter { mut letter, named_seal } in page {
            let digest = letter.digest();
            store.decrypt(&mut letter)?;
            let payload = letter.payload.as_deref().unwrap_or_default();
            let Ok(owned) = serde_json::from_slice::<Owned>(payload) else { continue };
            if (&*owned.account.r#type, &*owned.account.id) == (request.account_type, request.id) {
                let claim_id = owned.claim_id;
                found.push(Letter { id: letter.id, seal: named_seal, digest, claim_id });
            }
        }
    }
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

/// Says that seals cover rows that are not there any more, or not as they were.
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

    /// Where rows may stand under other keys, nobody can say that the person is forgotten.
    fn end(&self) -> End {
        match (self.missing_keys, self.found()) {
            (0, true) => End::Found,
            (0, false) => End::Nothing,
            _ => End::Unverifiable,
        }
    }

    fn note(&self) -> Option<String> {
        missing_keys::note(self.missing_keys)
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
        let Self { is_dry_run, removal, verdicts, rows, missing_keys: _ } = self;
        let counts = [Cell::of(is_dry_run), Cell::optional(*removal), Cell::of(verdicts)];
        let [is_dry_run, removal, verdicts] = counts;
        let row = [is_dry_run, removal, verdicts, Cell::of(rows)];
        RowSet::new(["is_dry_run", "removal", "verdicts", "rows"], [row])
    }
}
