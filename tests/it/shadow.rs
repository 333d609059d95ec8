//! A policy in shadow beside the one in force, on Apache Kafka and PostgreSQL: it decides nothing,
//! and its differences are counted and kept.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::exactly_once::simulator;
use super::lab::{Event, Lab, claim};
use super::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(120);

/// It rejects level 2 as well, which the policy in force challenges.
const HARSH: &str = "[policy.shadow.levels.intelligent_qr_code]
approve = [0]\nchallenge = [1]\nreview = []\nreject = [2, 3, 4]\n";

/// The ids of claims that are kept, and what of them.
async fn kept(lab: &Lab) -> Vec<(String, String)> {
    let rows = "select claim_id, concat_ws(' ', decision, shadow_decision)
        from shadow_decisions order by claim_id";
    sqlx::query_as(rows).fetch_all(&lab.database).await.expect("the rows")
}

/// Claims of these levels, and those of level 2 among them, as they are kept.
fn claims(name: &str, count: usize) -> (Vec<Event>, BTreeSet<String>, Vec<(String, String)>) {
    let (mut events, mut ids, mut differ) = (Vec::new(), BTreeSet::new(), Vec::new());
    for number in 0..count {
        let id = format!("{name}-{number:04}");
        let level = [0, 2, 1, 4, 2][number % 5];
        events.push(Event::of(claim(&id, &format!("user-{name}-{number}-level-{level}"))));
        if level == 2 {
            differ.push((id.clone(), "challenge reject".to_owned()));
        }
        ids.insert(id);
    }
    (events, ids, differ)
}

async fn decided(lab: &Lab, expected: &Expected) {
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(lab))).await;
}

/// Each claim was decided by the policy in force.
fn assert_in_force(lab: &Lab, differ: &[(String, String)]) {
    let decisions = outcome(lab).decisions;
    for (id, _) in differ {
        assert_eq!(decisions[id][0]["decision"], "challenge", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_of_a_shadow_policy_are_counted_and_kept() {
    let Some(lab) = Lab::new("shadow").await else { return };
    let mut expected = Expected::default();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.expect("a free port").port();
    let listen = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let counted = async || {
        let metrics = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await;
        let metrics = metrics.expect("an answer").text().await.expect("text");
        let is_it = |line: &&str| line.starts_with("claimgate_shadow_differences_total{");
        metrics.lines().filter(is_it).map(str::to_owned).collect::<Vec<_>>()
    };

    // Without one nothing is counted and nothing kept.
    let mut worker = lab.worker("w1", &listen);
    let (events, ids, differ) = claims("alone", 10);
    lab.produce(&events);
    expected.claims.extend(ids);
    decided(&lab, &expected).await;
    assert_in_force(&lab, &differ);
    assert_eq!((counted().await, kept(&lab).await), (vec![], vec![]));
    assert_eq!(worker.stop().await, Some(0));

    let mut worker = lab.worker("w1", &format!("{listen}{HARSH}"));
    let (events, ids, differ) = claims("beside", 50);
    lab.produce(&events);
    expected.claims.extend(ids);
    decided(&lab, &expected).await;
    assert_in_force(&lab, &differ);
    assert_eq!(differ.len(), 20);
    // No claim waits for its row.
    lab.wait("every row", LONG, async || kept(&lab).await == differ).await;
    let lines = || async { counted().await.into_iter().filter(|line| !line.ends_with(" 0")) };
    let line = "claimgate_shadow_differences_total{api=\"intelligent_qr_code\",\
                decision=\"challenge\",shadow=\"reject\"} 20";
    assert_eq!(lines().await.collect::<Vec<_>>(), [line]);
    assert_eq!(counted().await.len(), 6 * 12, "all others begin at 0");

    // Sent again, a claim is not ruled on again; nor is one that was decided without it.
    let (more, ids, _) = claims("alone", 11);
    lab.produce(&[more, events].concat());
    expected.claims.extend(ids);
    let same = || async {
        let decided = outcome(&lab).decisions.values().map(Vec::len).sum::<usize>();
        decided == 61 && counted().await.iter().any(|found| found == line)
    };
    lab.wait("the last claim", LONG, same).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_eq!(kept(&lab).await, differ);
    expected.verify(&lab).await;
    let keys = sqlx::query_scalar("select count(*) from subject_keys").fetch_one(&lab.database);
    assert_eq!(keys.await.ok(), Some(1_i64), "each worker had the same key");
    what_operators_see(&lab).await;
}

/// What the commands say of it.
async fn what_operators_see(lab: &Lab) {
    let ask = async |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = lab.claimgate(HARSH, &arguments).await;
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let document = async |line: &str| -> Value {
        serde_json::from_str(&ask(line).await).expect("one document")
    };
    let shown = document("policy show --json").await;
    let shadow = document("policy show --json --shadow").await;
    assert_eq!(shown["shadow_version"], shadow["policy_version"]);
    let apis = shadow["apis"].as_array().expect("a list").iter();
    let mut rejects = apis.filter(|api| api["api"] == "intelligent_qr_code");
    assert_eq!(rejects.next().expect("it serves")["levels"]["reject"], json!([2, 3, 4]));
    let counts = document("audit shadow --since 1h --json --limit 1").await;
    let [count] = counts["counts"].as_array().expect("a list").as_slice() else {
        panic!("{counts:#}")
    };
    assert_eq!((&count["claims"], &count["shadow_decision"]), (&json!(20), &json!("reject")));
    let versions = [&count["policy_version"], &count["shadow_version"]];
    assert_eq!(versions, [&shown["policy_version"], &shadow["policy_version"]]);
    let [policy, shadow] = versions.map(|version| version.as_str().expect("text"));
    let rules = ask(&format!("audit policies {policy} {shadow} --format csv")).await;
    let difference = "intelligent_qr_code,level 2,challenge,reject";
    assert_eq!(rules.lines().skip(1).collect::<Vec<_>>(), [difference], "both are kept");
    let checked = document("check --offline --json").await;
    let said = format!("{shadow} rules in shadow");
    assert!(checked.to_string().contains(&said), "{checked:#}");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy-tests.toml");
    let output = lab.claimgate(HARSH, &["policy", "test", examples, "--shadow"]).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(told.contains("level 2 of a batch") && told.contains("got reject"), "{told}");
    let output = lab.claimgate(HARSH, &["policy", "test", examples]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = lab.claimgate("", &["policy", "show", "--shadow"]).await;
    assert_eq!(output.status.code(), Some(1), "there is none: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_repeat_no_shadow_decision_and_lose_few() {
    let Some(lab) = Lab::with("shadowkills", simulator()).await else { return };
    let mut expected = Expected::default();
    let more = format!("{HARSH}[worker]\nmax_in_flight = 200\n");
    let mut worker = lab.worker("w1", &more);
    let (events, ids, differ) = claims("killed", 1_500);
    expected.claims.extend(ids);
    for events in events.chunks(events.len() / 3) {
        lab.produce(events);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1_000..2_500))).await;
        worker.kill();
        worker = lab.worker("w1", &more);
    }
    decided(&lab, &expected).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_in_force(&lab, &differ);
    let kept = kept(&lab).await;
    assert!(kept.iter().all(|row| differ.contains(row)), "{kept:?}");
    assert!(kept.len() * 2 > differ.len(), "{} of {}", kept.len(), differ.len());
    expected.verify(&lab).await;
}
