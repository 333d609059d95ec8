//! Decisions that were counted by the hour are counted as they would be one by one.

use claimgate::decision::{Decision, Reason};
use claimgate::outbox::Store;
use claimgate::schema::Verdict;
use sqlx::Connection;

use super::TestDatabase;
use super::audit::{Office, honest};
use super::build::{assessed, close};
use super::database::execute;
use super::with_database;

/// Microseconds of 2026-03-01 09:30 UTC.
const MARCH: i64 = 1_772_357_400_000_000;
const MINUTE: i64 = 60_000_000;

/// Records claims by the minutes from [`MARCH`] to their decision, and from that to their
/// recording.
async fn record(office: &Office, database: &TestDatabase, claims: &[(i64, i64)], name: &str) {
    let verdict = |(n, (minutes, _)): (usize, &(i64, i64))| {
        let n = i64::try_from(n).expect("few");
        let level = Reason::new("level", Some(n % 3), None);
        let reasons = if n % 4 == 0 { vec![level.clone(), level] } else { vec![level] };
        assessed(Verdict {
            decision: Decision::ALL[usize::try_from(n % 4).expect("small")],
            reasons,
            kind: format!("kind {}", n % 2),
            policy_version: format!("sha256:{}", n % 3),
            decided_at: MARCH + minutes * MINUTE,
            ..honest(office, &format!("{name} {n}"), n).0
        })
    };
    let records = claims.iter().enumerate().map(verdict).collect();
    office.store.record(&close(records, vec![])).await.expect("recorded");
    for (n, (_, late)) in claims.iter().enumerate() {
        let change = format!(
            "begin; set local session_replication_role = replica;
            update verdicts set recorded_at = decided_at + interval '{late} minutes'
                where claim_id = '{name} {n}';
            commit"
        );
        database.execute(change).await;
    }
}

/// The periods asked about: whole hours, parts of them, parts of one hour, and all.
const PERIODS: [&str; 6] = [
    "--since 2026-03-01T09:00:00Z --until 2026-03-01T12:00:00Z",
    "--since 2026-03-01T09:35:00Z --until 2026-03-01T11:45:00Z",
    "--since 2026-03-01T10:10:00Z --until 2026-03-01T10:50:00Z",
    "--since 2026-03-01T09:35:00Z --until 2026-03-01T10:50:00Z",
    "--since 2026-03-01T14:35:00+05:30 --until 2026-03-01T17:30:00+05:30",
    "--since 2026-01-01T00:00:00Z",
];

/// Whether all answers are those of a count of every verdict.
async fn agree(office: &Office) {
    for period in PERIODS {
        for by in ["api", "kind", "reason", "policy", "hour", "day"] {
            let question = format!("decisions --by {by} {period}");
            let counted = office.ask_json(&question).await;
            let recounted = office.ask_json(&format!("{question} --recount")).await;
            assert_eq!(counted, recounted, "{question}");
        }
    }
}

#[tokio::test]
async fn counts_agree_with_the_verdicts_whenever_these_were_recorded() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let store = &office.store.store;
        store.count_decisions().await.expect("there is nothing to count");
        agree(&office).await;

        let claims: Vec<_> = (0..40).map(|n| (n * 4, n % 7)).collect();
        record(&office, database, &claims, "first").await;
        assert!(store.count_decisions().await.expect("counted").is_some());
        assert_eq!(store.count_decisions().await.expect("counted"), None, "nothing since");
        agree(&office).await;
        let counted = database.number("select sum(claims)::bigint from decision_counts").await;
        assert_eq!(counted, 40);

        // Decided in an hour that was counted, and recorded since.
        let late = 60 * 24 * 365 * 20;
        record(&office, database, &[(3, late), (70, late), (71, late)], "late").await;
        agree(&office).await;
        let all = office.ask_json("decisions --by day --since 2026-01-01T00:00:00Z").await;
        let claims =
            all["counts"].as_array().expect("rows").iter().map(|row| row["claims"].as_i64());
        assert_eq!(claims.flatten().sum::<i64>(), 43);

        // The counts are used: what is gone from verdicts is counted still.
        let gone = "begin; set local session_replication_role = replica;
            delete from verdicts where claim_id like 'first %'; commit";
        database.execute(gone).await;
        let whole = PERIODS[0];
        let counted = office.ask_json(&format!("decisions {whole}")).await;
        assert_ne!(counted, office.ask_json(&format!("decisions {whole} --recount")).await);
    })
    .await;
}

/// A worker counts while a question is asked: between what was counted, and the answer.
#[tokio::test]
async fn a_verdict_that_is_counted_meanwhile_is_in_the_answer_once() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        record(&office, database, &[(0, 1), (70, 1)], "first").await;
        assert!(office.store.store.count_decisions().await.expect("counted").is_some());
        record(&office, database, &[(3, 1)], "late").await;
        let not_counted = "begin; set local session_replication_role = replica;
            update verdicts set recorded_at = now() - interval '6 hours'
                where claim_id like 'late %';
            update decision_counts set counted_until = counted_until - interval '12 hours';
            commit";
        database.execute(not_counted).await;

        let mut worker = database.pool.acquire().await.expect("a connection");
        let mut counting = worker.begin().await.expect("a transaction");
        execute(&mut counting, "lock table verdicts in access exclusive mode").await;
        let ask = office.ask_json("decisions --by kind --since 2026-01-01T00:00:00Z");
        let count = async {
            let waits = "select count(*) from pg_locks
                where relation = 'verdicts'::regclass and not granted";
            while database.number(waits).await == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            execute(&mut counting, "select claimgate_count_decisions()").await;
            counting.commit().await.expect("counted");
        };
        let (answer, ()) = tokio::join!(ask, count);
        let rows = answer["counts"].as_array().expect("rows");
        assert_eq!(rows.iter().filter_map(|row| row["claims"].as_i64()).sum::<i64>(), 3);
        let counted = database.number("select sum(claims)::bigint from decision_counts").await;
        assert_eq!(counted, 3, "it was counted meanwhile");
    })
    .await;
}
