//! The decisions in Kafka as witnesses against the owner of the tables.

use std::time::Duration;

use claimgate::schema::{NewRow, VERDICTS, Verdict};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::exactly_once::simulator;
use super::lab::Lab;
use super::oracle::{Expected, outcome, sealed};

const LONG: Duration = Duration::from_secs(60);

/// What `audit verify --all --topic` finds: its exit code, and kinds with rows.
async fn found(lab: &Lab) -> (Option<i32>, Vec<(String, String)>) {
    let output = lab
        .claimgate("", &["audit", "verify", "--all", "--topic", "--limit", "1000", "--json"])
        .await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let of = |finding: &Value| (text(&finding["fault"]), text(&finding["row"]));
    (output.status.code(), findings.iter().map(of).collect())
}

async fn as_owner(lab: &Lab, sql: &str) {
    let sql = format!("begin; set local session_replication_role = replica; {sql}; commit");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&lab.database).await.expect("the owner's SQL");
}

/// Whether the tables agree with each other, without Kafka.
async fn is_consistent(lab: &Lab) -> bool {
    lab.claimgate("", &["audit", "verify", "--all"]).await.status.success()
}

/// A verdict that cannot be read is a finding, and no reason to stop.
async fn an_unreadable_verdict_is_found(lab: &Lab) {
    let first = sqlx::query_scalar("select min(claim_id) from verdicts");
    let first: String = first.fetch_one(&lab.database).await.expect("a verdict");
    let unreadable = format!(
        "alter table verdicts drop constraint verdicts_attempts_check;
        update verdicts set attempts = -1 where claim_id = '{first}'"
    );
    as_owner(lab, &unreadable).await;
    let (code, findings) = found(lab).await;
    assert_eq!(code, Some(4), "{findings:?}");
    for fault in ["altered", "contradicted"] {
        assert!(findings.contains(&(fault.to_owned(), first.clone())), "{fault}: {findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_tables_alone_do_not_tell_the_topic_does() {
    let Some(lab) = Lab::with("witness", simulator()).await else { return };
    let mut expected = Expected::default();
    let mut worker = lab.worker("w1", "");
    for round in 0..3 {
        expected.produce(&lab, (0..60).map(|number| format!("clm-{round}-{number}")));
        lab.wait("the decisions", LONG, async || expected.is_complete(&outcome(&lab))).await;
    }
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;

    // A batch is replaced, its seal too: the newest, so that no other seal follows.
    let verdict = VERDICTS.select("order by seal desc, claim_id limit 1");
    let verdict: Verdict =
        sqlx::query_as(verdict).fetch_one(&lab.database).await.expect("a verdict");
    let altered = Verdict { attempts: verdict.attempts + 1, ..verdict.clone() };
    let [before, after] =
        [&verdict, &altered].map(|row| hex::encode(row.digest().expect("a digest")));
    let id = &verdict.claim_id;
    as_owner(
        &lab,
        &format!(
            "update verdicts set attempts = attempts + 1 where claim_id = '{id}';
            update seals set verdicts =
                decode(replace(encode(verdicts, 'hex'), '{before}', '{after}'), 'hex')
                where id = (select seal from verdicts where claim_id = '{id}');
            update seals set head = claimgate_seal_head(before.head, seals.id, seals.sealed_at,
                seals.verdicts, seals.claim_events, seals.risk_calls, seals.dead_letters)
                from seals as before where before.id = seals.previous
                and seals.id = (select seal from verdicts where claim_id = '{id}')"
        ),
    )
    .await;
    assert!(is_consistent(&lab).await, "the tables agree with each other");
    let (code, findings) = found(&lab).await;
    assert_eq!(code, Some(4), "{findings:?}");
    assert!(findings.iter().any(|(fault, _)| fault == "seal_altered"), "{findings:?}");
    assert!(findings.contains(&("contradicted".to_owned(), id.clone())), "{findings:?}");

    // The newest rows are cut off, their seals too.
    as_owner(
        &lab,
        "create temporary table cut as select max(seal) as seal from verdicts;
        delete from verdicts where seal >= (select seal from cut);
        delete from claim_events where seal >= (select seal from cut);
        delete from risk_calls where seal >= (select seal from cut);
        delete from seals where id >= (select seal from cut)",
    )
    .await;
    assert!(is_consistent(&lab).await, "the tables agree with each other");
    let (code, findings) = found(&lab).await;
    assert_eq!(code, Some(4), "{findings:?}");
    assert!(findings.iter().any(|(fault, _)| fault == "seal_removed"), "{findings:?}");
    assert!(findings.contains(&("contradicted".to_owned(), id.clone())), "{findings:?}");
    an_unreadable_verdict_is_found(&lab).await;
    assert!(sealed(&lab).await.is_some(), "so the oracle sees it");
}
