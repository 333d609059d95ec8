//! Secrets that are rotated while a worker runs: no restart, no failed claim.

use std::path::Path;
use std::time::Duration;

use claimgate_simulator::{APP_SECRET, SECRET_ID, SECRET_KEY};
use sqlx::AssertSqlSafe;

use super::{LONG, claims, decided, lines};
use crate::lab::{Event, Lab};

/// Renames a new file over the old one: a reader finds the old content or the new one.
fn put(folder: &Path, name: &str, content: &str) {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, content).expect("written");
    std::fs::rename(new, folder.join(name)).expect("renamed");
}

async fn sql(lab: &Lab, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&lab.database).await.expect("done");
}

async fn count(lab: &Lab, query: String) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&lab.database).await.expect("a number")
}

/// A part of a load: claims of a vendor each, with ids of their own.
async fn serve(lab: &Lab, part: usize) {
    let range = part * 20..(part + 1) * 20;
    let events: Vec<Event> = [claims("qr_code", 200), claims("wechat_account", 200)]
        .into_iter()
        .flat_map(|events| events.into_iter().skip(range.start).take(range.len()))
        .collect();
    lab.produce(&events);
    let wanted = i64::try_from(range.end).expect("few");
    for kind in ["qr_code", "wechat_account"] {
        lab.wait("the decisions", LONG, async || decided(lab, kind).await == wanted).await;
    }
}

async fn told(lab: &Lab, words: &str) {
    lab.wait(words, LONG, async || !lines(lab, words).is_empty()).await;
}

fn url(lab: &Lab, role: &str) -> String {
    let (_, server) = lab.postgres.split_once('@').expect("a URL with a user");
    format!("postgres://{role}:secret-of-{role}@{server}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_rotated_under_a_worker_at_work() {
    let Some(lab) = Lab::new("rotation").await else { return };
    let roles = ["one", "two"].map(|name| format!("{name}_{}", std::process::id()));
    let (folder, [one, two]) = (lab.folder.path(), &roles);
    for role in &roles {
        sql(&lab, format!("create role {role} login superuser")).await;
    }
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    put(folder, "id", SECRET_ID);
    put(folder, "key", SECRET_KEY);
    put(folder, "app", APP_SECRET);
    put(folder, "url", &url(&lab, one));
    put(folder, "evidence", &old);
    let mut worker = lab.worker(
        "w1",
        "[tencent_cloud]\nsecret_id = ''\nsecret_key = ''\nsecret_id_file = 'id'\n\
        secret_key_file = 'key'\n\
         [wechat]\napp_secret = ''\napp_secret_file = 'app'\n\
         [postgres]\nurl = ''\nurl_file = 'url'\nevidence_keys_file = 'evidence'\n\
         [audit]\nsubject_key = 'a key of our own'\n",
    );
    serve(&lab, 0).await;

    // The vendors accept both for a while, then only the new ones.
    let (id, key, app) = ("a-new-id", "a-new-key", "a-new-app-secret");
    lab.simulator.accept_credentials(&[(SECRET_ID, SECRET_KEY), (id, key)], &[APP_SECRET, app]);
    put(folder, "id", id);
    put(folder, "key", key);
    put(folder, "app", app);
    serve(&lab, 1).await;
    for changed in ["tencent_cloud.secret_id", "tencent_cloud.secret_key", "wechat.app_secret"] {
        told(&lab, &format!("{changed} is in force")).await;
    }
    lab.simulator.accept_credentials(&[(id, key)], &[app]);
    lab.simulator.expire_tokens();
    serve(&lab, 2).await;

    // An empty file changes nothing; it is logged once.
    put(folder, "key", " \n");
    told(&lab, "tencent_cloud.secret_key_file").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lines(&lab, "tencent_cloud.secret_key_file").len(), 1);
    serve(&lab, 3).await;
    put(folder, "key", key);

    // The old login is refused before the new one is known: the worker waits for it.
    sql(&lab, format!("alter role {one} nologin")).await;
    let mine = format!("from pg_stat_activity where usename = '{one}' and pid <> pg_backend_pid()");
    count(&lab, format!("select count(pg_terminate_backend(pid)) {mine}")).await;
    lab.produce(&claims("qr_code", 100)[90..]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!worker.has_ended(), "a refused login ended it");
    put(folder, "url", &url(&lab, two));
    put(folder, "evidence", &format!("{new},{old}"));
    told(&lab, "postgres.url is in force").await;
    told(&lab, "postgres.evidence_keys is in force").await;
    lab.wait("the rest", LONG, async || decided(&lab, "qr_code").await == 90).await;
    let theirs = format!("select count(*) from pg_stat_activity where usename = '{two}'");
    assert!(count(&lab, theirs).await > 0, "nobody uses the new login");

    assert_eq!(worker.stop().await, Some(0));
    verify(&lab, &[key, app, &old, &new, "secret-of"]).await;
    for role in &roles {
        sql(&lab, format!("drop role {role}")).await;
    }
}

/// The breaker alone would allow no call for four minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_mended_is_tried_at_once() {
    let Some(lab) = Lab::new("mended-key").await else { return };
    put(lab.folder.path(), "key", "wrong");
    let mut worker = lab.worker(
        "w1",
        "[tencent_cloud]\nsecret_key = ''\nsecret_key_file = 'key'\n\
         [breaker]\naccess_denied_for = '4m'\naccess_denied_max = '4m'\nprobes = 1\n",
    );
    lab.produce(&claims("qr_code", 5));
    told(&lab, "the breaker of intelligent_qr_code opened: bad_signature").await;
    put(lab.folder.path(), "key", SECRET_KEY);
    lab.wait("the decisions", LONG, async || decided(&lab, "qr_code").await == 5).await;
    assert_eq!(worker.stop().await, Some(0));
}

/// Each claim has one decision, no call was refused, no line holds a secret, and all evidence is
/// read with the new keys.
async fn verify(lab: &Lab, secrets: &[&str]) {
    let refused = "select count(*) from risk_calls where outcome = 'access_denied'";
    assert_eq!(count(lab, refused.to_owned()).await, 0);
    assert!(lab.read("dead").is_empty());
    let outcome = crate::oracle::outcome(lab);
    assert_eq!(outcome.decisions.len(), 170);
    assert!(outcome.decisions.values().all(|decisions| decisions.len() == 1));
    let undecided = "select count(*) from verdicts where decision <> 'approve'";
    assert_eq!(count(lab, undecided.to_owned()).await, 0);
    for secret in secrets {
        assert!(lines(lab, secret).is_empty(), "the log has a secret");
    }
    // One of the old key and one of the new are of other keys: they begin otherwise.
    let ids = "select count(distinct substr(payload, 1, 8)) from claim_events";
    assert_eq!(count(lab, ids.to_owned()).await, 2, "both keys encrypted");
}
