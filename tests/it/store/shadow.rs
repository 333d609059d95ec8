//! What a policy in shadow would have decided otherwise, over the real tables.

use std::time::Duration;

use claimgate::decision::Decision;
use claimgate::outbox::Store;
use claimgate::outbox::postgres::Settings;
use claimgate::schema::Verdict;
use serde_json::json;

use super::answers::Csv;
use super::audit::Office;
use super::build::{assessed, close, shadow, verdict};
use super::derived::record;
use super::{TestDatabase, with_database};

/// A worker has begun with a policy in shadow.
const RULES: &str = "insert into policies (version, content, used, first_used_at)
    select 'sha256:' || encode(sha256('{}'), 'hex'), '{}', 'in_shadow', '2026-01-02T03:04:05Z'";

const ROWS: &str = "select count(*) from shadow_decisions";

/// Records honest claims, of which the policy in shadow rejects those whose names say so.
async fn rejected(office: &Office, claims: &[&str]) {
    record(office, claims, |claim_id, _, verdict, _| {
        if let Some(version) = claim_id.strip_prefix("rejected-by-") {
            let version = version.split('-').next().unwrap_or_default();
            verdict.shadow = shadow(version, Decision::Reject);
        }
    })
    .await;
    office.store.store.finish().await;
}

#[tokio::test]
async fn different_decisions_are_counted_by_policy_and_decision() {
    with_database(async |database| {
        let office = Office::new(database.store().await);
        let (text, found) = office.ask("shadow").await;
        assert!(!found && text.starts_with("no policy ruled in shadow"), "{text}");
        database.execute(RULES).await;
        let (text, found) = office.ask("shadow").await;
        assert!(!found && text.contains("nothing would have been decided otherwise"), "{text}");
        assert!(text.contains("has ruled in shadow since 2026-01-02T"), "{text}");
        let (text, _) =
            office.ask("shadow --since 2026-01-01T00:00:00Z --until 2026-01-02T00:00:00Z").await;
        assert!(text.starts_with("no policy ruled in shadow until then"), "{text}");
        rejected(&office, &["same", "rejected-by-x", "rejected-by-y-1", "rejected-by-y-2"]).await;
        let policy = office.policy.version();
        let count = |version: &str, other: &str, claims: i64, examples: &[&str]| {
            json!({
                "policy_version": policy, "shadow_version": version, "api": "intelligent_qr_code",
                "decision": "approve", "shadow_decision": other, "claims": claims,
                "examples": examples,
            })
        };
        let counts = json!([
            count("y", "reject", 2, &["rejected-by-y-2"]),
            count("x", "reject", 1, &["rejected-by-x"]),
        ]);
        assert_eq!(office.ask_json("shadow --limit 1").await["counts"], counts);
        let (text, found) = office.ask("shadow --since 1h").await;
        let row = "| intelligent_qr_code | approve  | reject          | 2      | rejected-by-y-2, \
                   rejected-by-y-1 |";
        assert!(found && text.contains(row) && text.contains("Decided otherwise  2"), "{text}");
        let rows = Csv::of(&office, "shadow --limit 0").await;
        assert_eq!(rows.column("claims"), ["2", "1"]);
        assert_eq!(rows.column("examples"), ["[]"; 2]);
        assert!(!office.ask("shadow --until 1h --since 2h").await.1, "not so long ago");
        let (exported, _) = office.ask("export shadow-decisions --since 24h").await;
        assert_eq!(exported.lines().count(), 4, "{exported}");
        assert!(office.ask("verify --all").await.1, "no seal misses them, and none covers them");
    })
    .await;
}

async fn refused(database: &TestDatabase, change: &'static str) {
    let refused = sqlx::query(change).execute(&database.pool).await.expect_err("refused");
    assert!(refused.to_string().contains("evidence is append-only"), "{change}: {refused}");
}

#[tokio::test]
async fn shadow_decisions_only_grow_expire_and_are_erased() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        rejected(&office, &["rejected-by-x", "same"]).await;
        record(&office, &["old"], |_, _, verdict: &mut Verdict, _| {
            verdict.decided_at = 1_000_000_000_000_000;
            verdict.shadow = shadow("x", Decision::Reject);
        })
        .await;
        office.store.store.finish().await;
        refused(database, "update shadow_decisions set shadow_decision = 'approve'").await;
        refused(database, "delete from shadow_decisions").await;
        refused(database, "truncate shadow_decisions").await;
        office.retention.shadow_decisions = Some(Duration::from_secs(20 * 365 * 86_400));
        let (text, _) = office.ask("retention").await;
        assert_eq!(text, "deleted 1 rows of shadow_decisions\n");
        assert_eq!(database.number(ROWS).await, 1);
        let line = "erase phone 15912345687 --by ann --reason law";
        office.ask(&format!("{line} --dry-run")).await;
        assert_eq!(database.number(ROWS).await, 1, "a dry run erases nothing");
        office.ask(line).await;
        assert_eq!(database.number(ROWS).await, 0);
        assert_eq!(office.ask_json("verify --all").await["faults"], json!({}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_shadow_table_delays_no_claim() {
    with_database(async |database| {
        let settings = Settings {
            statement_timeout: Duration::from_secs(1),
            ..Settings::at(database.url.clone())
        };
        let store = database.store_with(settings).await;
        let decide = async |claim_id: &str, offset| {
            let shadow = shadow("x", Decision::Reject);
            let batch =
                close(vec![assessed(Verdict { shadow, ..verdict(claim_id, offset) })], vec![]);
            assert!(store.record(&batch).await.expect("recorded").overruled.is_empty());
        };
        let mut maintenance = database.pool.begin().await.expect("a transaction");
        let lock = sqlx::query("lock table shadow_decisions").execute(&mut *maintenance);
        lock.await.expect("locked");
        decide("locked", 1).await;
        store.store.finish().await;
        maintenance.rollback().await.expect("unlocked");

        database.execute("alter table shadow_decisions add constraint c check (false)").await;
        store.store.check_rights().await.expect("no claim depends on it");
        decide("refused", 2).await;
        store.store.finish().await;
        assert_eq!(database.number(ROWS).await, 0, "given up");
        database.execute("alter table shadow_decisions drop constraint c").await;
        decide("kept", 3).await;
        store.store.finish().await;
        assert_eq!(database.number(ROWS).await, 1);
        assert_eq!(database.number("select count(*) from verdicts").await, 3);
    })
    .await;
}
