//! Whether a row that was altered, removed or inserted is found and named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claimgate::audit::End;
use claimgate::outbox::{Call, Received, RecordOutcome, Store};
use claimgate::schema::PolicyUse;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::time::Instant;
use uuid::Uuid;

use super::audit::{Office, honest};
use super::build::{assessed, call, close, event, following, malformed, verdict};
use super::database::{TestDatabase, execute};
use super::policies::keep;
use super::{RealStore, with_database};

/// Records claims of these numbers in one batch, each as a worker does, and a dead letter.
async fn record(office: &Office, numbers: std::ops::Range<i64>) {
    let (mut records, mut calls) = (Vec::new(), Vec::new());
    for number in numbers.clone() {
        let (verdict, answered) = honest(office, &format!("claim-{number}"), number);
        let (received, verdict) = following(verdict, &office.keys.current);
        records.push((received, RecordOutcome::Decided(Box::new(verdict))));
        calls.push(answered);
    }
    records.push(malformed(1_000 + numbers.start));
    office.store.record(&close(records, calls)).await.expect("recorded");
}

/// Executes what only the owner of the tables can.
async fn as_owner(database: &TestDatabase, sql: &str) {
    database
        .execute(format!("begin; set local session_replication_role = replica; {sql}; commit"))
        .await;
}

/// What is found: table, row and kind of each finding.
async fn found(office: &Office) -> Vec<(String, String, String)> {
    let report = office.ask_json("verify --all").await;
    let findings = report["findings"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of =
        |finding: &Value| (text(&finding["table"]), text(&finding["row"]), text(&finding["fault"]));
    findings.iter().map(of).collect()
}

#[tokio::test]
async fn rows_with_every_kind_of_value_are_as_they_were_written() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let odd = |claim_id: &str, offset: i64| {
            let mut given = verdict(claim_id, offset);
            given.reasons[0].name = Some("a\0b".to_owned());
            given.challenge = Some("\0".to_owned());
            given
        };
        let headers = vec![
            ("nul\0".to_owned(), Some(vec![0])),
            ("raw".to_owned(), Some(vec![0xff, 0xfe])),
            ("红".to_owned(), None),
        ];
        let mut hostile = event(3);
        (hostile.headers, hostile.key, hostile.payload) = (headers, None, Some(vec![0, 0xff]));
        let dead = malformed(4);
        // Read again while PostgreSQL was away.
        let mut again = malformed(4);
        again.0.received_at += 1;
        let letter = RecordOutcome::DeadLettered(claimgate::claim::DeadLetterReason::event(
            claimgate::claim::EventError::NotJson,
            "a NUL \0 in it".to_owned(),
        ));
        let records = vec![
            assessed(odd("nul", 1)),
            assessed(verdict("plain", 2)),
            (hostile, RecordOutcome::Decided(Box::new(verdict("raw", 3)))),
            dead,
            again,
            (event(5), letter),
        ];
        let silent = Call { response: None, http_status: None, ..call("plain") };
        let cause = Some("\0".to_owned());
        let calls =
            vec![call("nul"), silent, Call { request: "\0".to_owned(), cause, ..call("raw") }];
        office.store.record(&close(records, calls)).await.expect("recorded");
        record(&office, 10..20).await;
        let report = office.ask_json("verify --all").await;
        let counts = ["intact", "seals", "expired"].map(|name| report[name].clone());
        assert_eq!(counts, [json!(11 + 31), json!(4 + 1), json!(0)], "{report:#}");
        assert_eq!(report["faults"], json!({}), "{report:#}");
        assert!(office.ask("verify --all").await.1);
        assert!(office.ask("verify claim-12").await.1);
    })
    .await;
}

/// What the owner of the tables does, and what is found: table, row and kind.
const DEEDS: [(&str, [&str; 3]); 26] = [
    (
        "update risk_calls set response = convert_to(replace(convert_from(response, 'UTF8'),
            '\"level\": 0', '\"level\": 4'), 'UTF8') where claim_id = 'claim-1'",
        ["risk_calls", "claim-1", "altered"],
    ),
    (
        "update verdicts set decision = 'reject' where claim_id = 'claim-2'",
        ["verdicts", "claim-2", "altered"],
    ),
    (
        "update claim_events set payload = payload || '\\x20' where claim_id = 'claim-3'",
        ["claim_events", "claim-3", "altered"],
    ),
    ("delete from risk_calls where claim_id = 'claim-4'", ["risk_calls", "claim-4", "removed"]),
    (
        "update risk_calls set request = 'GET /other' where claim_id = 'claim-5'",
        ["risk_calls", "claim-5", "altered"],
    ),
    (
        "update verdicts set level = 3, subject = repeat('a', 64), attempts = 7,
            decided_at = decided_at - interval '1 day' where claim_id = 'claim-6'",
        ["verdicts", "claim-6", "altered"],
    ),
    (
        "update verdicts set recorded_at = recorded_at - interval '1 day'
            where claim_id = 'claim-7'",
        ["verdicts", "claim-7", "altered"],
    ),
    ("delete from verdicts where claim_id = 'claim-8'", ["verdicts", "claim-8", "removed"]),
    ("delete from claim_events where claim_id = 'claim-9'", ["claim_events", "claim-9", "removed"]),
    (
        "update dead_letters set payload = 'other' where source_offset = 1000",
        ["dead_letters", "reward.claims/3/1000", "altered"],
    ),
    (
        "insert into verdicts select (jsonb_populate_record(verdicts,
            '{\"claim_id\": \"invented\"}')).*
            from verdicts where claim_id = 'claim-2'",
        ["verdicts", "invented", "inserted"],
    ),
    // The least number that a row can name.
    (
        "insert into verdicts select (jsonb_populate_record(verdicts,
            '{\"claim_id\": \"least\", \"seal\": -9223372036854775808}')).*
            from verdicts where claim_id = 'claim-2'",
        ["verdicts", "least", "inserted"],
    ),
    // What cannot be read is no reason to stop.
    (
        "alter table verdicts drop constraint verdicts_recorded_at_check;
        update verdicts set claimed_at = 'infinity', recorded_at = '20000-01-01'
            where claim_id = 'claim-10'",
        ["verdicts", "claim-10", "altered"],
    ),
    (
        "alter table verdicts drop constraint verdicts_reasons_check,
            drop constraint verdicts_attempts_check, drop constraint verdicts_risk_types_check;
        update verdicts set attempts = -1, reasons = '{}', risk_types = '{NULL}'
            where claim_id = 'claim-11'",
        ["verdicts", "claim-11", "altered"],
    ),
    (
        "update claim_events set headers = headers || '[{\"name\": \"paid\", \"more\": 1}]'
            where claim_id = 'claim-12'",
        ["claim_events", "claim-12", "altered"],
    ),
    // A claim that its phone number shall not find.
    (
        "update claim_events set phone_hash = phone_hash + 1 where claim_id = 'claim-15'",
        ["claim_events", "claim-15", "altered"],
    ),
    (
        "update verdicts set reasons = jsonb_set(reasons, '{0,paid}', 'true')
            where claim_id = 'claim-14'",
        ["verdicts", "claim-14", "altered"],
    ),
    // An answer that is said to have been erased, and stands there with other words.
    (
        "insert into removals (removed_by, reason) values ('me', 'law');
        insert into removed_rows select seal, decode(repeat('ab', 16), 'hex'),
            decode(repeat('cd', 16), 'hex'), (select max(id) from removals)
            from risk_calls where claim_id = 'claim-13';
        update risk_calls set response = 'other' where claim_id = 'claim-13'",
        ["risk_calls", "claim-13", "altered"],
    ),
    // A verdict that is said to have been past its retention: verdicts are kept for ever.
    (
        "insert into removals (removed_by, reason, relation, before)
            values ('audit.retention', 'old', 'verdicts', 'infinity');
        delete from verdicts where claim_id = 'claim-16'",
        ["verdicts", "claim-16", "removed"],
    ),
    // Times that the digest of what is read of them would not tell.
    (
        "alter table verdicts alter recorded_at drop not null;
        update verdicts set recorded_at = null where claim_id = 'claim-17'",
        ["verdicts", "claim-17", "altered"],
    ),
    (
        "update verdicts set claimed_at = claimed_at + interval '0.5 s'
            where claim_id = 'claim-18'",
        ["verdicts", "claim-18", "altered"],
    ),
    // A chain of one's own.
    (
        "insert into seals select id, null, '', '', '', '', now(),
            claimgate_seal_head('', id, now(), '', '', '', '') from nextval('seals_id_seq') as id",
        ["seals", "", "seal_altered"],
    ),
    // The same, before the first of all seals.
    (
        "insert into seals select 0, null, '', '', '', '', now(),
            claimgate_seal_head('', 0, now(), '', '', '', '')",
        ["seals", "0", "seal_altered"],
    ),
    (
        "update seals set sealed_at = sealed_at - interval '1 hour'
            where id = (select max(id) from seals where previous is not null)",
        ["seals", "", "seal_altered"],
    ),
    // Times that no clock gives.
    (
        "insert into removals (removed_by, reason, relation, before, removed_at)
            values ('me', 'old', 'shadow_decisions', '-infinity', 'infinity');
        update seals set sealed_at = 'infinity'
            where id = (select seal from verdicts where claim_id = 'claim-40')",
        ["seals", "", "seal_altered"],
    ),
    // A policy that shall have decided otherwise.
    (
        "alter table policies drop constraint policies_are_their_hash;
        update policies set content = replace(content, 'reject', 'approve')",
        ["policies", "sha256:", "altered"],
    ),
];

#[tokio::test]
async fn each_deed_of_the_tables_owner_is_found_and_named() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        keep(database, &office.policy, PolicyUse::ToDecide).await;
        record(&office, 0..30).await;
        record(&office, 30..60).await;
        for (sql, [table, row, fault]) in DEEDS {
            let before = found(&office).await;
            as_owner(database, sql).await;
            let after = found(&office).await;
            let is_new = |finding: &&(String, String, String)| !before.contains(finding);
            let new: Vec<_> = after.iter().filter(is_new).collect();
            let named = |(of, name, kind): &&(String, String, String)| {
                of == table && name.starts_with(row) && kind == fault
            };
            assert!(new.iter().any(named), "{sql}: {new:?}");
        }
        // One claim alone says the same.
        let (text, agrees) = office.ask("verify claim-5").await;
        assert!(!agrees && text.contains("NOT as they were written"), "{text}");
        for claim in ["claim-10", "claim-11"] {
            let (text, end) = office.answer(&format!("verify {claim}")).await;
            let named = text.contains("NOT as they were written: verdicts");
            assert!(end == End::Disagrees && named, "a verdict that cannot be read: {text}");
        }
        assert!(office.ask("verify claim-20").await.1, "the others of its batch are not at fault");
        let (text, end) = office.answer("verify claim-8").await;
        assert_eq!(end, End::Disagrees, "a verdict that was removed: {text}");
    })
    .await;
}

/// Seals that are said to be older, so that a question about a period begins behind them.
#[tokio::test]
async fn seals_moved_out_of_a_period_are_found_by_it() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        for part in 0..3 {
            record(&office, 10 * part..10 * part + 10).await;
        }
        let asked = "verify --since 1day";
        assert_eq!(office.ask_json(asked).await["faults"], json!({}));
        let altered = "update verdicts set decision = 'reject' where claim_id = 'claim-3'";
        as_owner(database, altered).await;
        for moved in ["(select max(id) - 1 from seals)", "9223372036854775807"] {
            let moved = format!(
                "update seals set sealed_at = sealed_at - interval '1 month' where id <= {moved}"
            );
            as_owner(database, &moved).await;
            let report = office.ask_json(asked).await;
            assert_eq!(report["faults"], json!({"seal_altered": 1}), "{report:#}");
            assert!(!office.ask(asked).await.1);
        }
    })
    .await;
}

/// A question about a period does not read all seals that there are.
#[tokio::test]
async fn the_seals_of_a_period_are_found_by_an_index() {
    with_database(async |database| {
        let mut connection = database.pool.acquire().await.expect("a connection");
        let by_an_index = "set enable_seqscan = off; set enable_indexscan = off;
            set enable_indexonlyscan = off";
        execute(&mut connection, by_an_index).await;
        let plan = "explain select min(id), count(*) from seals
            where sealed_at >= now() - interval '1 day'";
        let plan = sqlx::query_scalar(plan).fetch_all(&mut *connection).await;
        let plan: Vec<String> = plan.expect("a plan");
        assert!(plan.iter().any(|line| line.contains("seals_sealed_at_idx")), "{plan:?}");
    })
    .await;
}

/// Two answers that were swapped, and a verdict with its evidence altered alike.
#[tokio::test]
async fn what_is_consistent_in_itself_is_found_too() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, 0..20).await;
        as_owner(
            database,
            "update risk_calls set id = case claim_id when 'claim-1' then other.b else other.a end
                from (select (select id from risk_calls where claim_id = 'claim-1') as a,
                    (select id from risk_calls where claim_id = 'claim-2') as b) as other
                where claim_id in ('claim-1', 'claim-2')",
        )
        .await;
        as_owner(
            database,
            "update verdicts set level = 4, decision = 'reject' where claim_id = 'claim-3';
            update risk_calls set response = convert_to(replace(convert_from(response, 'UTF8'),
                '\"level\": 0', '\"level\": 4'), 'UTF8') where claim_id = 'claim-3'",
        )
        .await;
        let found = found(&office).await;
        let rows: Vec<(&str, &str)> =
            found.iter().map(|(table, row, _)| (table.as_str(), row.as_str())).collect();
        for expected in [
            ("risk_calls", "claim-1"),
            ("risk_calls", "claim-2"),
            ("verdicts", "claim-3"),
            ("risk_calls", "claim-3"),
        ] {
            assert!(rows.contains(&expected), "{expected:?}: {found:?}");
        }
        assert_eq!(rows.len(), 4, "{found:?}");
    })
    .await;
}

/// The chain goes on over batches, failures and writers.
#[tokio::test]
async fn every_seal_follows_another() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        for part in 0..3 {
            record(&office, 10 * part..10 * part + 10).await;
        }
        let another: RealStore = database.store().await;
        let lone = Call { id: Uuid::now_v7(), ..call("undecided") };
        another.record(&close(vec![], vec![lone])).await.expect("recorded");
        let broken =
            "select count(*) from seals left join seals as before on before.id = seals.previous
            where seals.head <> claimgate_seal_head(coalesce(before.head, ''), seals.id,
                seals.sealed_at, seals.verdicts, seals.claim_events, seals.risk_calls,
                seals.dead_letters)
            or (before.id is null and seals.id <> (select min(id) from seals))";
        assert_eq!(database.number(broken).await, 0, "as docs/audit.md says it in SQL");
        assert_eq!(database.number("select count(*) from seals").await, 1 + 3 * 2 + 1);
        as_owner(database, "delete from seals where id = (select max(id) - 1 from seals)").await;
        let kinds: Vec<String> = found(&office).await.into_iter().map(|(.., kind)| kind).collect();
        assert!(kinds.contains(&"seal_removed".to_owned()), "{kinds:?}");
    })
    .await;
}

#[tokio::test]
async fn a_person_is_forgotten_and_what_is_left_can_be_verified() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, 0..450).await;
        // Another person's claim, and a dead letter with a claim of the first.
        let (verdict, answered) = honest(&office, "other", 900);
        let (received, theirs) = following(verdict, &office.keys.current);
        let other = office.keys.current.subject("phone", "13000000000");
        let theirs = claimgate::schema::Verdict { subject: other, ..theirs };
        let refused = claimgate::claim::DeadLetterReason::event(
            claimgate::claim::EventError::Unrecordable,
            "refused".to_owned(),
        );
        let letter = Received { source: event(901).source, ..received.clone() };
        let records = vec![
            (received, RecordOutcome::Decided(Box::new(theirs))),
            (letter, RecordOutcome::DeadLettered(refused)),
        ];
        office.store.record(&close(records, vec![answered])).await.expect("recorded");

        let line = "erase phone 15912345687 --by ann --reason law";
        let would = office.ask_json(&format!("{line} --dry-run")).await;
        assert_eq!((&would["verdicts"], &would["rows"]), (&json!(450), &json!(901)));
        let person = "select count(*) from claim_events where payload like '%15912345687%'";
        let before = database.number(person).await;
        assert_eq!(before, 451, "a dry run erases nothing");
        let done = office.ask_json(line).await;
        assert_eq!((&done["verdicts"], &done["rows"]), (&json!(450), &json!(901)));

        assert_eq!(
            database.number(person).await,
            1,
            "the other claim's event says it too, by test"
        );
        let rest = "select (select count(*) from risk_calls) + (select count(*) from dead_letters
            where convert_from(payload, 'UTF8') like '%15912345687%')";
        assert_eq!(database.number(rest).await, 1, "the other's call");
        let nameless =
            "select count(*) from verdicts where subject = 'erased' and challenge is null";
        assert_eq!(database.number(nameless).await, 450, "the verdicts stay");
        let journal = "select count(*) from removals where removed_by = 'ann' and reason = 'law'";
        assert_eq!(database.number(journal).await, 1);

        let report = office.ask_json("verify --all").await;
        assert_eq!(report["faults"], json!({}), "{report:#}");
        assert_eq!(report["erased"], json!(450 + 901));
        assert!(!office.ask(line).await.1, "nothing is left to erase");
        // A question about a period lists the commands that explain its missing rows, with any time
        // that they claim.
        as_owner(database, "update removals set removed_at = removed_at - interval '1 year'").await;
        let report = office.ask_json("verify --since 1day").await;
        assert_eq!(report["removals"][0]["removed_by"], json!("ann"), "{report:#}");
        // The journal excuses what it names, and nothing else.
        as_owner(database, "update verdicts set decision = 'reject' where claim_id = 'claim-7'")
            .await;
        let altered = ("verdicts".to_owned(), "claim-7".to_owned(), "altered".to_owned());
        assert_eq!(found(&office).await, [altered]);
    })
    .await;
}

/// Retention begins when the first page of seals is read, and is over before the second one is.
#[tokio::test]
async fn what_retention_takes_meanwhile_is_no_finding() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        for number in 0..150 {
            record(&office, number..number + 1).await;
        }
        let mut owner = database.pool.acquire().await.expect("a connection");
        let mut retention = owner.begin().await.expect("a transaction");
        execute(&mut retention, "lock table dead_letters in access exclusive mode").await;
        let take = async {
            let waits = "select count(*) from pg_locks
                where relation = 'dead_letters'::regclass and not granted";
            while database.number(waits).await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let taken = "set local claimgate.removal = 'retention';
                insert into removals (removed_by, reason, relation, before)
                    values ('audit.retention', 'old', 'risk_calls', now());
                delete from risk_calls";
            execute(&mut retention, taken).await;
            retention.commit().await.expect("taken");
        };
        let (report, ()) = tokio::join!(office.ask_json("verify --all"), take);
        assert_eq!(report["faults"], json!({}), "{report:#}");
        assert!(report["expired"].as_u64().is_some_and(|rows| rows > 0), "{report:#}");
        assert_eq!(report["removals"][0]["removed_by"], json!("audit.retention"));
    })
    .await;
}

/// Writers that record while a person with 5,000 claims is erased wait for less than a second in
/// all: each is held up by no more than it would be by another writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_a_person_holds_no_writer_up() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        for part in 0..10 {
            record(&office, 500 * part..500 * part + 500).await;
        }
        let writer = office.store.clone();
        let batches: Vec<_> = (0..2_000)
            .map(|number| close(vec![assessed(verdict(&format!("new-{number}"), 1))], vec![]))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let writing = tokio::spawn(async move {
            let mut waits = Vec::new();
            for batch in batches {
                let started = Instant::now();
                writer.record(&batch).await.expect("recorded");
                waits.push(started.elapsed());
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waits
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let started = Instant::now();
        let done = office.ask_json("erase phone 15912345687 --by ann --reason law").await;
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        let waits = writing.await.expect("it writes");
        assert_eq!(done["verdicts"], json!(5_000));
        let longest = waits.iter().max().copied().unwrap_or_default();
        println!("erased in {took:?}; {} writes, {longest:?} at most", waits.len());
        assert!(waits.len() > 20 && longest < Duration::from_secs(1), "{longest:?}");
        assert_eq!(office.ask_json("verify --all").await["faults"], json!({}));
    })
    .await;
}
