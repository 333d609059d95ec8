//! The policies that decided, over the real tables.

use claimgate::audit::AuditError;
use claimgate::decision::{Decision, Policy};
use claimgate::schema::PolicyUse;
use serde_json::json;

use super::TestDatabase;
use super::answers::Csv;
use super::audit::Office;
use super::derived::record;
use super::with_database;

/// Keeps a policy as a worker does when it begins.
pub(super) async fn keep(database: &TestDatabase, policy: &Policy, used: PolicyUse) {
    let insert = "insert into policies (version, content, used) values ($1, $2, $3)";
    let insert = sqlx::query(insert).bind(policy.version()).bind(policy.content());
    insert.bind(used.as_str()).execute(&database.pool).await.expect("kept");
}

const TRIAL: &str =
    "policy = { approve = [], challenge = [], review = [1, 2], reject = [0, 3, 4] }";

#[tokio::test]
async fn a_verdict_follows_from_the_policy_of_its_time_or_is_found() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        record(&office, &["honest", "forged"], |claim_id, _, verdict, _| {
            if claim_id == "forged" {
                verdict.decision = Decision::Review;
            }
        })
        .await;
        let then = office.policy.clone();
        office.adopt(TRIAL);
        // As long as the policy of that time is not known, it may be the cause.
        assert_eq!(office.ask_json("rederive").await["findings"], json!({ "drifted": 2 }));
        keep(database, &then, PolicyUse::ToDecide).await;
        let found = office.ask_json("rederive").await;
        assert_eq!(found["findings"], json!({ "differs": 1, "drifted": 1 }), "{found:#}");
        let (text, _) = office.ask("verify forged").await;
        assert!(text.contains("ANOTHER verdict: decision"), "{text}");
        let (text, _) = office.ask("verify honest").await;
        assert!(text.contains("something else under today's policy"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_ruled_in_shadow_alone_decided_nothing() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let in_force = office.policy.clone();
        office.adopt(TRIAL);
        let shadow = office.policy.clone();
        office.adopt("");
        record(&office, &["forged"], |_, _, verdict, _| {
            verdict.decision = Decision::Reject;
            shadow.version().clone_into(&mut verdict.policy_version);
        })
        .await;
        keep(database, &in_force, PolicyUse::ToDecide).await;
        keep(database, &shadow, PolicyUse::InShadow).await;
        assert_eq!(office.ask_json("rederive").await["findings"], json!({ "differs": 1 }));
        // Had it decided, the verdict would follow from it.
        keep(database, &shadow, PolicyUse::ToDecide).await;
        assert_eq!(office.ask_json("rederive").await["findings"], json!({ "drifted": 1 }));
    })
    .await;
}

#[tokio::test]
async fn policies_are_listed_shown_and_compared() {
    with_database(async |database| {
        let mut office = Office::new(database.store().await);
        let (text, found) = office.ask("policies").await;
        assert!(!found && text == "no policy is kept\n");
        let first = office.policy.clone();
        keep(database, &first, PolicyUse::ToDecide).await;
        office.adopt(TRIAL);
        keep(database, &office.policy, PolicyUse::InShadow).await;
        keep(database, &office.policy, PolicyUse::ToDecide).await;
        let forged = "insert into policies (version, content, used)
            values ('sha256:0', '{}', 'to_decide')";
        let refused = sqlx::query(forged).execute(&database.pool).await.expect_err("no hash of it");
        assert!(refused.to_string().contains("policies_are_their_hash"), "{refused}");

        let rows = Csv::of(&office, "policies").await;
        assert_eq!(
            rows.column("version"),
            [office.policy.version(), office.policy.version(), first.version()],
            "newest first"
        );
        assert_eq!(rows.column("used"), ["to_decide", "in_shadow", "to_decide"]);
        let rows = Csv::of(&office, &format!("policies {}", first.version())).await;
        let of = |on: &str| {
            let place = rows.column("on").iter().position(|there| *there == on).expect("a rule");
            rows.column("leads_to")[place].to_owned()
        };
        assert_eq!([of("level 0"), of("risk_type 205")], ["approve", "not_assessed"]);

        let [one, other] =
            [&first, &office.policy].map(|policy| policy.version()[7..15].to_owned());
        let (text, found) = office.ask(&format!("policies {one} {other}")).await;
        assert!(found && text.contains("| level 0 | approve   | reject   |"), "{text}");
        assert!(!text.contains("level 3") && !text.contains("risk_type"), "{text}");
        let (text, _) = office.ask(&format!("policies {one} {one}")).await;
        assert_eq!(text, "both have the same rules\n");
        let store = &office.store.store;
        let error = claimgate::audit::policy_rules(store, "", None).await.expect_err("two");
        assert!(matches!(error, AuditError::Usage(said) if said.contains("several policies")));
        let error = claimgate::audit::policy_rules(store, "xyz", None).await.expect_err("none");
        assert!(error.to_string().contains("`claimgate audit policies` lists them"), "{error}");
    })
    .await;
}
