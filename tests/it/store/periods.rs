//! Questions about a period, and about a trace.

use claimgate::audit::End;
use claimgate::decision::{Decision, Reason};
use claimgate::outbox::{Call, Store};
use claimgate::schema::Verdict;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answers::Csv;
use super::audit::{Office, honest};
use super::build::{assessed, call, close};
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
        office.store.record(&close(records, vec![])).await.expect("recorded");

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

#[tokio::test]
async fn a_span_longer_than_the_calendar_is_all_of_it() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (verdict, answered) = honest(&office, "a", 1);
        let calls = vec![answered, call("undecided")];
        office.store.record(&close(vec![assessed(verdict)], calls)).await.expect("recorded");
        let asked = ["undecided", "rederive", "verify", "decisions", "calls"];
        for question in asked {
            let line = format!("{question} --since 10000years");
            let (_, end) = office.answer(&line).await;
            assert!(!matches!(end, End::Nothing), "{line}: {end:?}");
        }
        office.answer("unassessed --since 10000years").await;
    })
    .await;
}

/// Microseconds of 2026-03-01 09:30 UTC, and of this many hours later.
fn on_the_first(hours: i64) -> i64 {
    1_772_357_400_000_000 + hours * 3_600_000_000
}

const MARCH: &str = "--since 2026-03-01T00:00:00Z --until 2026-03-02T00:00:00Z";

#[tokio::test]
async fn decisions_are_counted_by_what_one_asks_for() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let level = |value| Reason::new("level", Some(value), None);
        let decided = |n: i64, kind: &str, hours, decision, reasons| {
            let verdict = honest(&office, &format!("c{n}"), n).0;
            let (kind, decided_at) = (kind.to_owned(), on_the_first(hours));
            let policy_version = format!("sha256:{}", n % 2);
            assessed(Verdict { kind, decided_at, decision, reasons, policy_version, ..verdict })
        };
        let both = vec![level(4), Reason::new("risk_type", Some(1), Some("one")), level(4)];
        let records = vec![
            decided(1, "qr_code", 0, Decision::Approve, vec![level(0)]),
            decided(2, "qr_code", 1, Decision::Reject, both),
            decided(3, "captcha", 1, Decision::Approve, vec![]),
            decided(4, "captcha", 20, Decision::Approve, vec![level(0)]),
        ];
        office.store.record(&close(records, vec![])).await.expect("recorded");
        for (by, column, groups, claims) in [
            ("kind", "kind", vec!["captcha", "qr_code", "qr_code"], ["1", "1", "1"].to_vec()),
            ("policy", "policy_version", vec!["sha256:0", "sha256:1"], vec!["1", "2"]),
            ("reason", "reason", vec!["level 0", "level 4", "risk_type 1 one"], vec!["1"; 3]),
            ("day", "day", vec!["2026-03-01T00:00:00Z"; 2], vec!["2", "1"]),
            (
                "hour",
                "hour",
                vec!["2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"],
                vec!["1"; 3],
            ),
        ] {
            let rows = Csv::of(&office, &format!("decisions --by {by} {MARCH}")).await;
            assert_eq!((rows.column(column), rows.column("claims")), (groups, claims), "{by}");
        }
        let json = office.ask_json(&format!("decisions --by kind {MARCH}")).await;
        assert_eq!(
            (&json["counts"][1]["kind"], &json["counts"][1]["share"]),
            (&json!("qr_code"), &json!(0.5))
        );
    })
    .await;
}

#[tokio::test]
async fn calls_are_counted_with_their_codes_and_latencies() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let sent = |n: i64, hours, outcome: &'static str, code: Option<i64>, answered: bool| Call {
            requested_at: on_the_first(hours),
            latency: n * 100_000,
            outcome: outcome.into(),
            provider_code: code,
            response: answered.then(|| b"{}".to_vec()),
            ..call(&format!("c{n}"))
        };
        let other = Call { api: "captcha_query".into(), ..sent(7, 1, "assessed", Some(0), true) };
        let calls = vec![
            sent(1, 0, "assessed", Some(0), true),
            sent(2, 0, "assessed", Some(0), true),
            sent(3, 0, "transient", Some(4), true),
            sent(4, 0, "unknown", None, false),
            sent(5, 1, "access_denied", Some(13), true),
            sent(6, 20, "assessed", Some(0), true),
            other,
        ];
        office.store.record(&close(vec![], calls)).await.expect("recorded");
        let hours = Csv::of(&office, &format!("calls --by hour {MARCH}")).await;
        assert_eq!(
            hours.column("since"),
            ["2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"]
        );
        for (column, counts) in [
            ("calls", ["4", "1", "1"]),
            ("assessed", ["2", "1", "0"]),
            ("transient", ["1", "0", "0"]),
            ("unassessable", ["0"; 3]),
            ("access_denied", ["0", "0", "1"]),
            ("unknown", ["1", "0", "0"]),
            ("answered", ["3", "1", "1"]),
            ("p50_ms", ["250", "700", "500"]),
        ] {
            assert_eq!(hours.column(column), counts, "{column}");
        }
        let day = office.ask_json(&format!("calls --by day {MARCH}")).await;
        let qr_code = &day["counts"][1];
        assert_eq!(
            (&qr_code["api"], &qr_code["calls"]),
            (&json!("intelligent_qr_code"), &json!(5))
        );
        let codes = json!([
            { "provider_code": 0, "calls": 2 },
            { "provider_code": 4, "calls": 1 },
            { "provider_code": 13, "calls": 1 },
        ]);
        assert_eq!(qr_code["provider_codes"], codes);
        let whole = office.ask_json(&format!("calls {MARCH}")).await;
        assert_eq!(whole["counts"][1]["since"], "2026-03-01T00:00:00Z");
        let (text, found) = office.ask(&format!("calls {MARCH}")).await;
        assert!(found && text.contains("0 (2); 4 (1); 13 (1)"), "{text}");
        assert!(!office.ask("calls --since 1h").await.1);
    })
    .await;
}
