//! A claim's whole story, also where it has no end yet.

use claimgate::claim::{DeadLetterReason, EventError};
use claimgate::outbox::{Call, Received, RecordOutcome, Store};
use serde_json::json;

use super::answers::Csv;
use super::audit::{Office, honest};
use super::build::{assessed, call, close, event};
use super::with_database;

/// A moment ago, in microseconds.
fn now() -> i64 {
    let nanoseconds = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    i64::try_from(nanoseconds / 1_000).expect("now") - 1_000
}

/// A dead letter whose event is this text.
fn dead(offset: i64, error: EventError, payload: &str) -> (Received, RecordOutcome) {
    let payload = Some(payload.as_bytes().to_vec());
    let received = Received { payload, received_at: now(), ..event(offset) };
    let reason = DeadLetterReason::field(error, "claim_id", "account.id differs");
    (received, RecordOutcome::DeadLettered(reason))
}

#[tokio::test]
async fn a_claim_without_a_verdict_says_what_it_waits_for() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let now = now();
        let before = |minutes: i64| now - minutes * 60_000_000;
        let refused = Call {
            outcome: "access_denied".into(),
            reason: "bad_signature".into(),
            ..call("refused")
        };
        let calls = vec![
            Call { requested_at: before(90), attempt: 1, ..call("waits") },
            Call { requested_at: before(30), attempt: 2, ..call("waits") },
            Call { requested_at: before(1), ..refused },
            Call { requested_at: before(3_000), ..call("stuck") },
            Call { requested_at: before(2), ..call("unrecordable") },
        ];
        let letter = dead(7, EventError::Unrecordable, r#"{"claim_id":"unrecordable"}"#);
        office.store.record(&close(vec![letter], calls)).await.expect("recorded");

        let (text, found) = office.ask("claim waits").await;
        for part in [
            "waits, undecided: there is no verdict yet",
            "2 times since ",
            "intelligent_qr_code: transient internal_error",
            "by way of the retry topic; at about ",
            "| called |",
            "GET /?secretKey=",
        ] {
            assert!(found && text.contains(part), "{part} in\n{text}");
        }
        let waits = office.ask_json("claim waits").await;
        assert_eq!((&waits["verdict"], &waits["waiting"]["attempts"]), (&json!(null), &json!(2)));
        let steps = waits["story"].as_array().expect("steps");
        assert!(steps.iter().all(|step| step["step"] == "called"), "{steps:?}");
        assert_eq!(steps[0]["call_id"], waits["calls"][0]["id"]);
        for (claim, part) in [
            ("refused", "(check tencent_cloud.secret_key"),
            ("stuck", "it should have been decided by about "),
            ("unrecordable", "claimgate dead-letters show reward.claims/3/7@"),
        ] {
            let (text, _) = office.ask(&format!("claim {claim}")).await;
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let replay = "insert into dead_letter_replays (source_topic, source_partition,
                source_offset, content, number, replayed_by, reason)
            select source_topic, source_partition, source_offset, content, 1, 'ann', 'mended'
            from dead_letters";
        database.execute(replay).await;
        let (text, _) = office.ask("claim unrecordable").await;
        assert!(text.contains("its dead letter was replayed (replay 1 by ann at "), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_claims_conflicts_are_part_of_its_story() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a/1", 1);
        let records = vec![
            assessed(verdict),
            dead(2, EventError::ClaimIdConflict, r#"{"claim_id":"a\/1","kind":"x"}"#),
            dead(3, EventError::ClaimIdConflict, r#"{"claim_id":"a/11"}"#),
            dead(4, EventError::UnknownKind, r#"{"claim_id":"only","kind":"x"}"#),
        ];
        office.store.record(&close(records, vec![answered])).await.expect("recorded");

        let story = office.ask_json("claim a/1").await;
        let letters = story["dead_letters"].as_array().expect("letters");
        assert_eq!((letters.len(), &letters[0]["source_offset"]), (1, &json!(2)));
        assert_eq!(story["waiting"], json!(null));
        let (text, _) = office.ask("claim a/1").await;
        assert!(text.contains("| dead_letter |"), "{text}");
        assert!(text.contains("claim_id_conflict at reward.claims/3/2@"), "{text}");

        let (text, found) = office.ask("claim only").await;
        assert!(found && text.contains("unknown_kind at reward.claims/3/4@"), "{text}");
        let (text, found) = office.ask("claim nothing").await;
        assert!(!found && text.contains("claimgate dead-letters list"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn conflicts_are_shown_beside_what_was_decided() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, _) = honest(&office, "a", 1);
        let claims = |claim_id: &str| {
            json!({
                "claim_id": claim_id, "kind": "qr_code", "claimed_at": 1_632_994_480,
                "account": { "type": "phone", "id": "15912345687" },
                "client": { "ip": "121.14.96.121" },
            })
            .to_string()
        };
        let records = vec![
            assessed(verdict.clone()),
            dead(2, EventError::ClaimIdConflict, &claims("a")),
            dead(3, EventError::ClaimIdConflict, &claims("undecided")),
            dead(4, EventError::UnknownKind, &claims("a")),
        ];
        office.store.record(&close(records, vec![])).await.expect("recorded");

        let found = Csv::of(&office, "conflicts --since 1h").await;
        let mut pairs: Vec<_> =
            found.column("claim_id").into_iter().zip(found.column("decision")).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("a", verdict.decision.as_str()), ("undecided", "")]);
        let (text, _) = office.ask("conflicts --limit 1").await;
        assert!(text.contains("account.id differs") && text.contains("the latest 1"), "{text}");
        assert!(!office.ask("conflicts --since 1us").await.1);
    })
    .await;
}
