//! A person decides in place of a worker, and the revision is published once.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::exactly_once::simulator;
use super::lab::{Event, Lab, claim};
use super::oracle::{outcome, sealed};

const LONG: Duration = Duration::from_secs(60);

/// Runs `audit override` for claim `a`; its exit code, answer and words.
async fn decide(
    lab: &Lab,
    more: &str,
    decision: &str,
    rest: &[&str],
) -> (Option<i32>, Value, String) {
    let words = ["audit", "override", "a", decision, "--by", "ann", "--reason", "seen", "--json"];
    let output = lab.claimgate(more, &[&words, rest].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

/// The decisions about claim `a` in the topic, each with its revision.
fn published(lab: &Lab) -> Vec<(String, Value)> {
    let decisions = outcome(lab).decisions.remove("a").unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    decisions.iter().map(|one| (text(&one["decision"]), one["revision"].clone())).collect()
}

/// A lab in which claim `a` is decided.
async fn decided(name: &str) -> Option<Lab> {
    let lab = Lab::with(name, simulator()).await?;
    let mut worker = lab.worker("w1", "");
    lab.produce(&[Event { key: Some(b"key".to_vec()), ..Event::of(claim("a", "user-level-1")) }]);
    lab.wait("the decision", LONG, async || published(&lab).len() == 1).await;
    assert_eq!(worker.stop().await, Some(0));
    Some(lab)
}

const ALLOWED: &str = "[audit.overrides]\nchallenge = [\"approve\"]\napprove = [\"reject\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_revised_as_the_settings_allow() {
    let Some(lab) = decided("override").await else { return };
    let (code, _, said) = decide(&lab, "", "approve", &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("audit.overrides.challenge"), "{said}");
    let (code, would, _) = decide(&lab, ALLOWED, "approve", &["--dry-run"]).await;
    assert_eq!((code, &would["revision"], &would["place"]), (Some(0), &json!(1), &json!(null)));
    assert_eq!(published(&lab).len(), 1, "a dry run publishes nothing");

    let (code, done, said) = decide(&lab, ALLOWED, "approve", &[]).await;
    assert_eq!((code, &done["instead_of"]), (Some(0), &json!("challenge")), "{said}");
    let (code, ..) = decide(&lab, ALLOWED, "reject", &[]).await;
    assert_eq!(code, Some(0));
    let expected = [("challenge", json!(null)), ("approve", json!(1)), ("reject", json!(2))];
    assert_eq!(published(&lab), expected.map(|(decision, number)| (decision.to_owned(), number)));
    let ids: Vec<Value> = outcome(&lab).decisions["a"]
        .iter()
        .map(|decision| json!([decision["decision_id"], decision["reasons"][0]["code"]]))
        .collect();
    assert_eq!(ids[0][0], ids[2][0], "one decision id");
    assert_eq!((&ids[0][1], &ids[2][1]), (&json!("level"), &json!("override")));

    let story = lab.claimgate("", &["audit", "claim", "a"]).await;
    let story = String::from_utf8_lossy(&story.stdout).into_owned();
    let revised = "approve instead of challenge, by ann (login ";
    assert!(story.contains(revised) && story.contains("): seen"), "{story}");
    let verdict: String = sqlx::query_scalar("select decision from verdicts")
        .fetch_one(&lab.database)
        .await
        .expect("the verdict");
    assert_eq!(verdict, "challenge", "what the worker decided stays");
    assert_eq!(sealed(&lab).await, None);
    let (code, ..) = decide(&lab, ALLOWED, "review", &[]).await;
    assert_eq!(code, Some(1), "not in the list");
}

/// If the command ends between any two steps, the revision is still published once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_cut_short_is_resumed_and_publishes_once() {
    let Some(lab) = decided("override-cut").await else { return };
    let execute = async |sql: &str| {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&lab.database).await.expect("the test's SQL");
    };
    // Announced, and not published.
    execute(
        "insert into revisions (claim_id, revision, decision, instead_of, revised_by, reason)
        values ('a', 1, 'approve', 'challenge', 'bob', 'seen')",
    )
    .await;
    let (code, _, said) = decide(&lab, ALLOWED, "reject", &[]).await;
    assert!(code == Some(1) && said.contains("to approve, first"), "{said}");
    assert_eq!(decide(&lab, ALLOWED, "approve", &[]).await.0, Some(0));
    assert_eq!(published(&lab).len(), 2);
    // Published, and its place not recorded.
    execute(
        "begin; set local session_replication_role = replica; delete from revision_places; commit",
    )
    .await;
    let (code, done, _) = decide(&lab, ALLOWED, "approve", &[]).await;
    assert_eq!((code, &done["revision"]), (Some(0), &json!(1)));
    assert_eq!(published(&lab).len(), 2, "it was found in the topic");
    let places: i64 = sqlx::query_scalar("select count(*) from revision_places")
        .fetch_one(&lab.database)
        .await
        .expect("a count");
    assert_eq!(places, 1);
}

/// A reader that lost everything gets it again, and can recognise repeats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_published_once_more_with_their_revisions() {
    let Some(lab) = decided("republish").await else { return };
    assert_eq!(decide(&lab, ALLOWED, "approve", &[]).await.0, Some(0));
    let before = published(&lab);
    let words = ["audit", "republish", "--by", "ann", "--reason", "a disk", "--json", "--since"];
    let republish = async |rest: &[&str]| {
        let output = lab.claimgate("", &[&words, rest].concat()).await;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), answer)
    };
    let (code, none) = republish(&["2h", "--until", "1h"]).await;
    assert_eq!((code, &none["claims"]), (Some(3), &json!(0)));
    let (code, would) = republish(&["1h", "--dry-run"]).await;
    assert_eq!(
        (code, &would["claims"], &would["republication"]),
        (Some(0), &json!(1), &json!(null))
    );
    assert_eq!(published(&lab), before, "a dry run publishes nothing");

    let (code, done) = republish(&["1h"]).await;
    assert_eq!((code, &done["claims"], &done["decisions"]), (Some(0), &json!(1), &json!(2)));
    assert_eq!(published(&lab), [before.clone(), before].concat());
    let decisions = lab.read("decisions");
    let without_mark = |seen: &super::lab::Seen| {
        let mut headers = seen.headers.clone();
        headers.remove("claimgate-republished");
        // The trace is the same; the span in it was this claim's first decision's own.
        let traceparent = headers.get_mut("traceparent").expect("a trace");
        traceparent.truncate("00-".len() + 32);
        (seen.key.clone(), seen.payload.clone(), headers)
    };
    for index in [0, 1] {
        assert_eq!(without_mark(&decisions[index]), without_mark(&decisions[index + 2]));
        let mark = |seen: &super::lab::Seen| seen.headers.contains_key("claimgate-republished");
        assert!(!mark(&decisions[index]) && mark(&decisions[index + 2]));
    }
    assert_eq!(sealed(&lab).await, None, "the witness counts each once");
    let policies = lab.claimgate("", &["audit", "policies", "--json"]).await;
    let policies: Value = serde_json::from_slice(&policies.stdout)
        .unwrap_or_else(|error| panic!("{error}: {policies:?}"));
    let decided = outcome(&lab).decisions["a"][0]["policy_version"].clone();
    assert_eq!(policies["policies"][0]["version"], decided, "the worker kept its policy");
}
