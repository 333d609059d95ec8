//! Whose rows the erasure of a person takes.

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::outbox::{Received, RecordOutcome, Store};
use serde_json::json;

use super::audit::{Office, honest};
use super::build::{call, close, event, following};
use super::with_database;

/// A dead letter with this payload.
fn letter(offset: i64, payload: &str, error: EventError) -> (Received, RecordOutcome) {
    let payload = Some(payload.as_bytes().to_vec());
    let reason = DeadLetterReason::event(error, "wrong");
    (Received { payload, ..event(offset) }, RecordOutcome::DeadLettered(reason))
}

const ERASE: &str = "erase phone 15912345687 --by ann --reason law";

#[tokio::test]
async fn the_dead_letters_of_a_person_go_and_no_attempt_of_another() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let account = r#""account":{"type":"phone","id":"15912345687"}"#;
        let no_id = EventError::InvalidValue;
        let accepted = following(honest(&office, "mine", 5).0, &office.keys.current).0;
        let accepted = String::from_utf8(accepted.payload.unwrap_or_default()).expect("text");
        let letters = vec![
            // An id that PostgreSQL would not take.
            letter(1, &format!(r#"{{"claim_id":"a\u0000b",{account}}}"#), no_id),
            letter(2, &format!("\u{feff}{{\"claim_id\":17,{account}}}"), EventError::WrongType),
            letter(3, r#"{"account":{"type":"phone","id":15912345687}}"#, EventError::WrongType),
            // It names a claim of somebody else.
            letter(4, &format!(r#"{{"claim_id":"theirs",{account}}}"#), EventError::MissingField),
            letter(5, &accepted, EventError::Unrecordable),
            letter(6, &accepted.replace("mine", "theirs"), EventError::UnknownKind),
            letter(7, &accepted.replace("15912345687", "1"), EventError::Unrecordable),
        ];
        let calls = vec![call("theirs"), call("mine"), call("mine")];
        office.store.record(&close(letters, calls)).await.expect("recorded");

        let would = office.ask_json(&format!("{ERASE} --dry-run")).await;
        let done = office.ask_json(ERASE).await;
        assert_eq!((&would["rows"], &done["rows"]), (&json!(6 + 2), &json!(6 + 2)));
        let kept = "select count(*) from risk_calls where claim_id = 'theirs'";
        assert_eq!(database.number(kept).await, 1, "the attempt of another person's claim");
        assert_eq!(database.number("select count(*) from risk_calls").await, 1);
        assert_eq!(database.number("select count(*) from dead_letters").await, 1);
        assert_eq!(office.ask_json("verify --all").await["faults"], json!({}));
        assert!(!office.ask(ERASE).await.1, "nothing is left to erase");
    })
    .await;
}
