//! With keys, the database alone reveals no identities.

use claimgate::audit::{AuditError, End};
use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::outbox::postgres::{PostgresStore, Settings};
use claimgate::outbox::{Call, RecordOutcome, Store, StoreError};
use secrecy::SecretString;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::audit::Office;
use super::build::{close, event};
use super::database::RealStore;
use super::derived::record;
use super::{TestDatabase, with_database};

/// What must not be found in any row.
const PHONE: &str = "15912345687";

/// A store with these keys.
async fn store(database: &TestDatabase, keys: &str) -> RealStore {
    let settings =
        Settings { evidence_keys: SecretString::from(keys), ..Settings::at(database.url.clone()) };
    database.store_with(settings).await
}

/// In how many rows of the evidence the phone number stands in clear, or in base64 or hex.
async fn in_clear(database: &TestDatabase) -> i64 {
    let mut found = 0;
    for table in ["verdicts", "claim_events", "risk_calls", "dead_letters"] {
        let count = format!(
            "select count(*) from {table} as row where row::text like '%{PHONE}%'
                or row::text like '%' || encode('{PHONE}', 'hex') || '%'"
        );
        let count = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&database.pool).await;
        let count: i64 = count.expect("a count");
        found += count;
    }
    found
}

/// A row that cannot be decrypted ends no question about others, and no claim is called verified,
/// nor a person erased, because of it.
async fn passes_over_what_it_cannot_decrypt(office: &Office) {
    for (question, ends, said) in [
        ("verify a", End::Unverifiable, "`postgres.evidence_keys` has no such key"),
        ("verify c", End::Found, "follows from the answer and the event"),
        ("rederive", End::Unverifiable, "some of its evidence cannot be decrypted here"),
        ("claim c", End::Found, "1 dead letter; dead_letters.payload of reward.claims/3/9"),
        ("search --phone 15912345687", End::Found, "passed over: 2 events; claim_events"),
        (
            "erase phone 15912345687 --by ann --reason law --dry-run",
            End::Unverifiable,
            "1 dead letter; dead_letters.payload of reward.claims/3/9",
        ),
    ] {
        let (text, end) = office.answer(question).await;
        assert!(end == ends && text.contains(said), "{question}: {end:?}\n{text}");
    }
    let found = office.ask_json("rederive").await["findings"].clone();
    assert_eq!(found, json!({ "same": 1, "unverifiable": 2 }));
}

#[tokio::test]
async fn evidence_is_read_with_its_keys_alone_and_sealed_without() {
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    with_database(async |database| {
        let mut office = Office::new(store(database, &old).await);
        record(&office, &["a", "b"], |claim_id, _, _, calls| {
            calls[0].request = format!("GET /?uid={PHONE}&claim={claim_id}");
        })
        .await;
        let mut letter = event(9);
        letter.received_at = super::audit::honest(&office, "a", 1).0.decided_at;
        letter.payload = Some(
            json!({ "claim_id": "a", "account": { "type": "phone", "id": PHONE } })
                .to_string()
                .into_bytes(),
        );
        let why = DeadLetterReason::event(EventError::ClaimIdConflict, "another");
        let letters = vec![(letter, RecordOutcome::DeadLettered(why))];
        office.store.record(&close(letters, vec![])).await.expect("recorded");
        assert_eq!(in_clear(database).await, 0);

        // The key was changed, and more was written.
        office.store = store(database, &format!("{new},{old}")).await;
        record(&office, &["c"], |_, _, _, _| {}).await;
        assert_eq!(in_clear(database).await, 0);
        for question in ["verify a", "verify c", "rederive", "verify --all"] {
            assert!(office.ask(question).await.1, "{question}");
        }
        let story = office.ask("claim a").await.0;
        for part in [PHONE, "GET /?uid=15912345687&claim=a", "claim_id_conflict"] {
            assert!(story.contains(part), "{part} in\n{story}");
        }
        let found = office.ask_json(&format!("search --phone {PHONE}")).await;
        assert_eq!(found["claims"].as_array().map(Vec::len), Some(3), "{found:#}");
        assert!(office.ask("source reward.claims/3/9").await.0.contains(PHONE));

        // Seals need no key, evidence does.
        office.store = store(database, &new).await;
        assert!(office.ask("verify --all").await.1);
        assert!(office.ask(&format!("subject phone {PHONE}")).await.1);
        let error = claimgate::audit::claim_file(&office.store.store, "a").await;
        let Err(StoreError::Fatal(said)) = error else { panic!("{error:?}") };
        assert!(said.contains("`postgres.evidence_keys` has no such key"), "{said}");

        passes_over_what_it_cannot_decrypt(&office).await;

        // Without a key the command says so, also about a claim that only dead letters name.
        office.store = database.store().await;
        let (text, end) = office.answer("claim unknown").await;
        assert_eq!(end, End::Unverifiable, "{text}");
        assert!(text.contains("dead_letters.payload of reward.claims/3/9"), "{text}");

        let approval = "--by ann --reason request";
        office.store = store(database, &format!("{new},{old}")).await;
        let (gone, _) = office.ask(&format!("erase phone {PHONE} {approval}")).await;
        assert!(gone.contains("7 events, attempts and dead letters"), "{gone}");
        assert!(office.ask("verify --all").await.1);
    })
    .await;
}

/// A batch that is written twice, because its answer was lost, changes nothing: each time has other
/// nonces.
#[tokio::test]
async fn a_batch_may_be_written_again() {
    with_database(async |database| {
        let office = Office::new(store(database, &"0a".repeat(32)).await);
        let (mut verdict, answered) = super::audit::honest(&office, "a", 1);
        verdict.decided_at -= 1;
        let batch = close(vec![super::build::assessed(verdict)], vec![Call { ..answered }]);
        for _ in 0..2 {
            office.store.record(&batch).await.expect("recorded");
        }
        assert_eq!(database.number("select count(*) from risk_calls").await, 1);
        assert!(office.ask("verify --all").await.1);
    })
    .await;
}

#[test]
fn a_wrong_key_ends_the_start() {
    let settings = Settings {
        evidence_keys: SecretString::from("hunter2"),
        ..Settings::at("postgres://127.0.0.1/claims")
    };
    let error = PostgresStore::lazy(&settings).expect_err("no key");
    let said = AuditError::from(error).to_string();
    assert!(said.contains("`postgres.evidence_keys`") && !said.contains("hunter2"), "{said}");
}
