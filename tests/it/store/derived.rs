//! Whether a verdict follows from the evidence that is kept: one, and all of a time.

use claimgate::decision::{Decision, Reason};
use claimgate::outbox::{Call, Received, RecordOutcome, Store};
use claimgate::schema::Verdict;
use serde_json::{Value, json};
use sqlx::Connection;

use super::audit::{Office, honest};
use super::build::{call, close, following};
use super::database::{TestDatabase, execute};
use super::with_database;

/// A claim as the worker records it: its event, its verdict and the attempt that decided.
fn recorded(office: &Office, claim_id: &str, offset: i64) -> (Received, Verdict, Call) {
    let (verdict, answered) = honest(office, claim_id, offset);
    let (received, verdict) = following(verdict, &office.keys.current);
    (received, verdict, answered)
}

/// Records these claims, each as `vary` makes it of an honest one.
pub(super) async fn record(
    office: &Office,
    claims: &[&str],
    vary: impl Fn(&str, &mut Received, &mut Verdict, &mut Vec<Call>),
) {
    let (mut records, mut all) = (Vec::new(), Vec::new());
    for (offset, claim_id) in (1..).zip(claims) {
        let (mut received, mut verdict, answered) = recorded(office, claim_id, offset);
        let mut calls = vec![answered];
        vary(claim_id, &mut received, &mut verdict, &mut calls);
        records.push((received, RecordOutcome::Decided(Box::new(verdict))));
        all.append(&mut calls);
    }
    office.store.record(&close(records, all)).await.expect("recorded");
}

#[tokio::test]
async fn a_verdict_is_derived_anew_from_the_evidence_that_is_kept() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let claims = ["good", "older", "retried", "unkept", "unassessed", "late", "unread"];
        record(&office, &claims, |claim_id, received, verdict, calls| match claim_id {
            "older" => verdict.policy_version = "sha256:older".to_owned(),
            "retried" => {
                let requested_at = verdict.decided_at - 8_000;
                calls.push(Call { requested_at, ..call(claim_id) });
                let after = verdict.decided_at + 9_000;
                let late = Call { requested_at: after, ..calls[0].clone() };
                calls.push(Call {
                    id: uuid::Uuid::now_v7(),
                    response: Some(b"{}".to_vec()),
                    ..late
                });
                verdict.attempts = 2;
            }
            "unkept" => calls.clear(),
            "unassessed" | "late" => {
                let reason = if claim_id == "late" { "ticket_expired" } else { "balance" };
                verdict.decision = Decision::Review;
                verdict.reasons = vec![Reason::new("unassessed", Some(13), Some(reason))];
                (verdict.level, verdict.risk_types) = (None, vec![]);
                verdict.provider_code = Some(13);
                calls[0] = call(claim_id);
            }
            // Its event was kept for a shorter time.
            "unread" => received.source.offset += 1_000,
            _ => {}
        })
        .await;
        for (claim, agrees, part) in [
            ("good", true, "follows from the answer and the event"),
            ("older", true, "under today's policy as well"),
            ("retried", true, "follows from the answer and the event"),
            ("unkept", false, "the answer that decided is not kept any more"),
            ("unassessed", true, "follows from the answer and the event"),
            ("late", true, "follows from the answer and the event"),
            ("unread", false, "its event is not kept any more"),
            ("unknown", false, "has no verdict"),
        ] {
            let (text, found) = office.ask(&format!("verify {claim}")).await;
            assert!(found == agrees && text.contains(part), "{claim}: {text}");
        }
        let good = office.ask_json("verify good").await;
        assert_eq!(good["derived"], good["recorded"]);
        assert_eq!((&good["finding"], &good["differences"]), (&json!("same"), &json!([])));

        let all = office.ask_json("rederive --since 1h").await;
        assert_eq!(all["findings"], json!({ "same": 5, "unverifiable": 2 }));
        assert_eq!(
            all["missing"],
            json!({
                "its event is not kept any more": 1,
                "the answer that decided is not kept any more": 1,
            })
        );
        assert!(office.ask("rederive --since 1us").await.0.contains("Verdicts"), "none");
    })
    .await;
}

/// The first attempt was another worker's, which deferred the claim.
#[tokio::test]
async fn an_attempt_of_a_worker_whose_clock_is_ahead_is_no_difference() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, &["deferred"], |claim_id, _, verdict, calls| {
            let requested_at = verdict.decided_at + 60_000_000;
            calls.push(Call { requested_at, ..call(claim_id) });
            verdict.attempts = 2;
        })
        .await;
        let all = office.ask_json("rederive").await;
        assert_eq!(all["findings"], json!({ "same": 1 }), "{all:#}");
    })
    .await;
}

/// A month's attempts go before those of the next one, so a claim that waited may have lost some.
#[tokio::test]
async fn attempts_that_retention_took_are_missing_and_no_difference() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let days = |days: i64| days * 86_400_000_000;
        record(&office, &["waited"], |claim_id, _, verdict, calls| {
            let requested_at = verdict.decided_at - days(40);
            calls.insert(0, Call { requested_at, ..call(claim_id) });
            verdict.attempts = 2;
        })
        .await;
        let found = async |expected: &str| {
            let all = office.ask_json("rederive").await;
            assert_eq!(all["findings"], json!({ expected: 1 }), "{all:#}");
            let one = office.ask_json("verify waited").await;
            assert_eq!(one["finding"], json!(expected), "{one:#}");
        };
        found("same").await;
        database
            .expire("delete from risk_calls where requested_at < now() - interval '20 days'")
            .await;
        found("differs").await;
        let taken = |before: &str| {
            format!(
                "insert into removals (removed_by, reason, relation, before)
                values ('audit.retention', 'old', 'risk_calls', now() - interval '{before}')"
            )
        };
        // So long ago that the claim cannot have been asked about then.
        database.execute(taken("35 days")).await;
        found("differs").await;
        database.execute(taken("20 days")).await;
        found("unverifiable").await;
    })
    .await;
}

/// It says what it takes, and takes it, when verdicts are read and not their attempts.
#[tokio::test]
async fn attempts_that_retention_takes_meanwhile_are_no_difference() {
    taken_meanwhile("rederive", "findings", json!({ "unverifiable": 1 })).await;
    taken_meanwhile("verify waited", "finding", json!("unverifiable")).await;
}

async fn taken_meanwhile(question: &str, key: &str, expected: Value) {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, &["waited"], |claim_id, _, verdict, calls| {
            let requested_at = verdict.decided_at - 40 * 86_400_000_000;
            calls.insert(0, Call { requested_at, ..call(claim_id) });
            verdict.attempts = 2;
        })
        .await;
        let mut owner = database.pool.acquire().await.expect("a connection");
        let mut retention = owner.begin().await.expect("a transaction");
        execute(&mut retention, "lock table risk_calls in access exclusive mode").await;
        let take = async {
            let waits = "select count(*) from pg_locks
                where relation = 'risk_calls'::regclass and not granted";
            while database.number(waits).await == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let taken = "set local claimgate.removal = 'retention';
                insert into removals (removed_by, reason, relation, before)
                    values ('audit.retention', 'old', 'risk_calls', now() - interval '20 days');
                delete from risk_calls where requested_at < now() - interval '20 days'";
            execute(&mut retention, taken).await;
            retention.commit().await.expect("taken");
        };
        let (found, ()) = tokio::join!(office.ask_json(question), take);
        assert_eq!(found[key], expected, "{question}: {found:#}");
    })
    .await;
}

/// A change with the rights of the tables' owner, and the column that shows it.
const ALTERATIONS: [(&str, &str, &str); 10] = [
    ("decision", "verdicts", "decision = 'reject'"),
    ("level", "verdicts", "level = 1"),
    ("subject", "verdicts", "subject = repeat('0', 64)"),
    ("attempts", "verdicts", "attempts = 2"),
    ("claimed_at", "verdicts", "claimed_at = claimed_at + interval '1 hour'"),
    ("risk_types", "verdicts", "risk_types = '{301}'"),
    ("provider_code", "verdicts", "provider_code = 7"),
    // The answer's level.
    (
        "level",
        "risk_calls",
        "response = convert_to(replace(convert_from(response, 'UTF8'), '\"level\": 0', '\"level\": \
         4'), 'UTF8')",
    ),
    (
        "fingerprint",
        "claim_events",
        "payload = convert_to(replace(convert_from(payload, 'UTF8'), '121.14.96.121', \
         '121.14.96.122'), 'UTF8')",
    ),
    // An answer that shall not have been there.
    (
        "reasons",
        "verdicts",
        "reasons = '[{\"code\": \"unassessed\", \"name\": \"balance\"}]', decision = 'review', \
         level = null, risk_types = '{}', provider_code = null",
    ),
];

async fn alter(database: &TestDatabase, claim_id: &str, table: &str, change: &str) {
    database
        .execute(format!(
            "alter table {table} disable trigger user;
            update {table} set {change} where claim_id = '{claim_id}';
            alter table {table} enable trigger user"
        ))
        .await;
}

#[tokio::test]
async fn an_altered_row_is_found_among_all_and_its_column_named() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let ids: Vec<String> = (0..2_500).map(|number| format!("claim-{number:04}")).collect();
        let claims: Vec<&str> = ids.iter().map(String::as_str).collect();
        for part in claims.chunks(500) {
            record(&office, part, |_, _, _, calls| calls[0].latency = 1_000).await;
        }
        let all = office.ask_json("rederive").await;
        assert_eq!(all["findings"], json!({ "same": 2_500 }), "{all:#}");

        for (number, (column, table, change)) in ALTERATIONS.iter().enumerate() {
            let claim_id = format!("claim-{:04}", 250 * number + 7);
            alter(database, &claim_id, table, change).await;
            let found = office.ask_json(&format!("verify {claim_id}")).await;
            let columns: Vec<&Value> = found["differences"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|difference| &difference["column"])
                .collect();
            assert!(columns.contains(&&json!(column)), "{column} of {table}: {found:#}");
        }
        let all = office.ask_json("rederive --limit 5").await;
        assert_eq!(all["findings"], json!({ "differs": 10, "same": 2_490 }));
        let examples = all["examples"].as_array().expect("a list");
        assert_eq!(examples.len(), 5, "no more than were asked for");
        let (text, found) = office.ask("rederive").await;
        assert!(!found && text.contains("claim-0257"), "{text}");

        database.execute("alter table verdicts drop constraint verdicts_reasons_check").await;
        alter(database, "claim-2400", "verdicts", "reasons = '{}'").await;
        let all = office.ask_json("rederive --limit 20").await;
        assert_eq!(all["findings"], json!({ "differs": 11, "same": 2_489 }));
        let (text, _) = office.ask("rederive").await;
        assert!(
            text.contains("| claim-2400 | verdicts") && text.contains("cannot be read"),
            "{text}"
        );
    })
    .await;
}

#[tokio::test]
async fn another_policy_is_tried_on_what_was_decided() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        record(&office, &["a", "b", "c"], |_, _, _, _| {}).await;
        let recorded = office.ask_json("verify a").await["recorded"]["decision"].clone();
        office.adopt(
            "policy = { approve = [], challenge = [], review = [1, 2], reject = [0, 3, 4] }",
        );
        let found = office.ask_json("rederive").await;
        assert_eq!(found["findings"], json!({ "drifted": 3 }), "{found:#}");
        let change = &found["changes"][0];
        assert_eq!((&change["recorded"], &change["claims"]), (&recorded, &json!(3)));
        assert_eq!(change["derived"], "reject");
        assert!(!office.ask("rederive").await.1, "today's policy decides otherwise");
        assert!(office.ask("rederive --policy trial.toml").await.1, "that is what was asked");
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_was_asked_about_and_is_not_decided_is_found() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, &["decided"], |_, _, _, _| {}).await;
        let nothing = "every claim that was asked about in that time is decided\n".to_owned();
        assert_eq!(office.ask("undecided").await, (nothing.clone(), false));

        let now = recorded(&office, "now", 9).1.decided_at;
        let asked = |claim_id: &str, ago: i64, reason: &'static str| Call {
            requested_at: now - ago * 1_000_000,
            reason: reason.into(),
            ..call(claim_id)
        };
        let calls = vec![
            asked("young", 5, "http_429"),
            asked("old", 90, "timeout"),
            asked("old", 30, "http_429"),
            asked("other", 60, "balance"),
            asked("long ago", 90_000, "balance"),
        ];
        office.store.record(&close(vec![], calls)).await.expect("recorded");
        let found = office.ask_json("undecided --limit 2").await;
        let counts = found["counts"].as_array().expect("a list").iter();
        let counts: Vec<_> = counts.map(|count| (&count["reason"], &count["claims"])).collect();
        let expected = [(&json!("http_429"), &json!(2)), (&json!("balance"), &json!(1))];
        assert_eq!(counts, expected);
        let claims = found["claims"].as_array().expect("a list");
        let ids: Vec<_> = claims.iter().map(|claim| &claim["claim_id"]).collect();
        assert_eq!(ids, ["old", "other"], "those that wait longest");
        assert_eq!(claims[0]["attempts"], 2);
        assert!(office.ask("undecided").await.0.contains("young"));
        let lately = office.ask_json("undecided --since 45s").await;
        assert_eq!(lately["claims"][0], claims[0], "since when does not depend on the question");
        assert_eq!(office.ask("undecided --since 1s").await, (nothing, false));
    })
    .await;
}
