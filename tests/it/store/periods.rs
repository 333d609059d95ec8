//! Questions about a period, and about a trace.

use claimgate::outbox::Store;
use claimgate::schema::Verdict;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit::{Office, honest};
use super::build::{assessed, seal};
use super::with_database;

/// The claims of an answer's verdicts.
fn claims(answer: &Value) -> Vec<&str> {
    let rows = answer["verdicts"].as_array().expect("rows");
    rows.iter().map(|row| row["claim_id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_subject_and_a_trace_are_found_in_their_time() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let hour = 3_600_000_000;
        let decided = |claim_id: &str, hours: i64, trace_id: &str| {
            let verdict = honest(&office, claim_id, hours).0;
            let decided_at = verdict.decided_at - hours * hour;
            assessed(Verdict { decided_at, trace_id: trace_id.to_owned(), ..verdict })
        };
        let (one, other) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0".repeat(32));
        let records =
            vec![decided("new", 1, one), decided("old", 3, one), decided("x", 50, &other)];
        office.store.record(&seal(records, vec![])).await.expect("recorded");

        let subject = "subject phone 15912345687";
        let at = (OffsetDateTime::now_utc() - time::Duration::hours(2)).format(&Rfc3339);
        let at = at.expect("a time");
        for (period, expected) in [
            (String::new(), vec!["new", "old", "x"]),
            (" --since 2h".to_owned(), vec!["new"]),
            (" --since 4h --until 2h".to_owned(), vec!["old"]),
            (format!(" --until {at}"), vec!["old", "x"]),
        ] {
            let answer = office.ask_json(&format!("{subject}{period}")).await;
            assert_eq!(claims(&answer), expected, "{period}");
        }
        let upper = one.to_uppercase();
        assert_eq!(claims(&office.ask_json(&format!("trace {upper}")).await), ["new", "old"]);
        let latest = office.ask_json(&format!("trace {one} --limit 1")).await;
        assert_eq!((claims(&latest), &latest["trace_id"]), (vec!["new"], &json!(one)));
        let (text, found) = office.ask(&format!("trace {}", "1".repeat(32))).await;
        assert!(!found && text.starts_with("nothing was decided in trace 1111"), "{text}");
    })
    .await;
}
