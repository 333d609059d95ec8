//! Claims by what their events hold.

use claimgate::claim::{Claim, EventHashes};
use claimgate::decision::Decision;
use claimgate::outbox::{Received, RecordOutcome, Store};
use claimgate::schema::Verdict;
use serde_json::{Value, json};

use super::answers::Csv;
use super::audit::{Office, honest, keys};
use super::build::{close, event};
use super::with_database;

/// A claim with more in its event. The larger `n`, the earlier it was decided; from 5 on, seven at
/// once.
fn claim(office: &Office, claim_id: &str, n: i64, more: &Value) -> (Received, RecordOutcome) {
    let mut payload = json!({
        "claim_id": claim_id, "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "phone", "id": "15912345687" },
    });
    let fields = payload.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let claim = Claim::parse(Some(payload.to_string().as_bytes()), usize::MAX).expect("a claim");
    let event_hashes = EventHashes::of(&office.keys.current, &claim);
    let verdict = Verdict { event_hashes, ..honest(office, claim_id, n).0 };
    let decided_at = 1_772_357_400_000_000 - if n < 5 { n } else { 5 + n / 7 };
    let received_at = decided_at - 1_000;
    let payload = Some(payload.to_string().into_bytes());
    let received = Received { payload, received_at, ..event(n) };
    let verdict = Verdict { decided_at, decision: Decision::Reject, ..verdict };
    (received, RecordOutcome::Decided(Box::new(verdict)))
}

const MARCH: &str = "--since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z";

#[tokio::test]
async fn claims_are_found_by_what_their_events_hold() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let from = |ip: &str| json!({ "client": { "ip": ip } });
        let mut records = vec![
            claim(&office, "a", 1, &from("121.14.96.121")),
            claim(&office, "b", 2, &from("121.14.97.1")),
            claim(&office, "c", 3, &from("2001:db8::1")),
        ];
        let reward = json!({ "client": { "ip": "1.2.3.4" }, "reward": { "merchant": "m-1", "goods": "红包" } });
        records.push(claim(&office, "d", 4, &reward));
        let papers = json!({ "client": { "ip": "7.7.7.7" }, "identity": { "certificate_id": "44010" } });
        records.push(claim(&office, "p", 500, &papers));
        // More than a page.
        records.extend((5..500).map(|n| claim(&office, &format!("e{n:03}"), n, &from("9.9.9.9"))));
        office.store.record(&close(records, vec![])).await.expect("recorded");

        for (wanted, expected) in [
            ("--ip 121.14.96.121", vec!["a"]),
            ("--ip 121.14.96.0/23", vec!["a", "b"]),
            ("--ip 2001:db8::/32", vec!["c"]),
            ("--merchant m-1", vec!["d"]),
            ("--goods 红包 --ip 1.2.3.4", vec!["d"]),
            ("--goods 红包 --ip 9.9.9.9", vec![]),
            ("--phone 15912345687 --limit 2", vec!["a", "b"]),
            ("--phone 15912345687 --ip 121.14.97.0/24", vec!["b"]),
            ("--phone 15912345688", vec![]),
            ("--certificate 44010 --ip 7.7.7.0/25", vec!["p"]),
            ("--ip 7.7.7.128/25", vec![]),
            ("--ip 7.0.0.0/8", vec!["p"]),
        ] {
            let found = Csv::of(&office, &format!("search {wanted} {MARCH}")).await;
            assert_eq!(found.column("claim_id"), expected, "{wanted}");
        }
        let all = office.ask_json(&format!("search --ip 9.9.9.9 --limit 1000 {MARCH}")).await;
        assert_eq!(all["claims"].as_array().map(Vec::len), Some(495));
        assert_eq!((&all["searched"], &all["more"]), (&json!(495), &json!(false)));
        let (text, _) = office.ask(&format!("search --ip 9.9.9.9 --limit 3 {MARCH}")).await;
        assert!(text.contains("| e005") && text.contains("the latest 3; there are more"), "{text}");
        let nothing = "no such claim was decided in that time: without --since, the last 24 hours\n";
        let none = office.ask(&format!("search --ip 8.8.8.8 {MARCH}")).await;
        assert_eq!(none, (nothing.to_owned(), false));

        office.keys = keys(&["another"]);
        assert!(!office.ask(&format!("search --phone 15912345687 {MARCH}")).await.1);
        office.keys = keys(&["another", "a key of our own"]);
        assert!(office.ask(&format!("search --phone 15912345687 {MARCH}")).await.1, "a former key");

        database.expire("delete from claim_events where claim_id = 'e006'").await;
        let (text, _) = office.ask(&format!("search --goods none {MARCH}")).await;
        assert!(text.contains("499 claims were searched; of 1 the event is not kept"), "{text}");
        let none = office.ask(&format!("search --ip 8.8.8.8 {MARCH}")).await;
        assert_eq!(none, (nothing.to_owned(), false));
        database.expire("delete from claim_events where claim_id = 'p'").await;
        let (text, _) = office.ask(&format!("search --ip 8.8.8.8 {MARCH}")).await;
        assert!(text.contains("of 1 of the earliest claims of the period"), "{text}");
    })
    .await;
}

/// Whoever has a worker's login can add another event with the id of a claim.
#[tokio::test]
async fn an_event_that_a_claim_was_not_decided_from_hides_nothing() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let other = "insert into claim_events (source_topic, source_partition, source_offset,
                claim_id, headers, payload, received_at, trace_id)
            values ('t', 0, 0, 'a', '[]', '{}', '2026-03-01 09:00+00', '')";
        database.execute(other).await;
        let reward = json!({ "client": { "ip": "1.2.3.4" }, "reward": { "merchant": "m-1" } });
        let records = vec![claim(&office, "a", 1, &reward)];
        office.store.record(&close(records, vec![])).await.expect("recorded");
        let (text, found) = office.ask(&format!("search --merchant m-1 {MARCH}")).await;
        assert!(found, "{text}");
        let masked = "select count(*) from masked_claims where merchant = 'm-1'";
        assert_eq!(database.number(masked).await, 1);
    })
    .await;
}
