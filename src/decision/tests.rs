use std::collections::BTreeMap;

use super::*;

fn policy() -> Policy {
    let levels =
        Levels { approve: vec![0], challenge: vec![1, 2], review: vec![], reject: vec![3, 4] };
    Policy::new(BTreeMap::from([("qr".to_owned(), levels)]), Decision::Review)
}

fn policy_with_risk_types() -> Policy {
    let known: Vec<RiskType> = (1..=5).filter_map(table).collect();
    policy().with_risk_types("qr", &known)
}

fn table(code: i32) -> Option<RiskType> {
    let effect = match code {
        1 => Effect::Explains,
        3 => Effect::NotAssessed,
        4 => Effect::Rejects,
        5 => Effect::Approves,
        _ => return None,
    };
    Some(RiskType { code, name: "name", group: "account", effect })
}

fn decide(level: u8, risk_types: &[i32]) -> Decision {
    policy_with_risk_types()
        .rule("qr", &Assessment::Level { level, risk_types: risk_types.to_vec() }, table)
        .decision
}

#[test]
fn every_level_has_its_decision() {
    let decided: Vec<Decision> = (0..=5).map(|level| decide(level, &[])).collect();
    use Decision::{Approve, Challenge, Reject, Review};
    assert_eq!(
        decided,
        [Approve, Challenge, Challenge, Reject, Reject, Review],
        "an unknown level is for a person"
    );
}

#[test]
fn risk_types_override_levels() {
    assert_eq!(decide(4, &[5]), Decision::Approve, "whitelisted");
    assert_eq!(decide(0, &[4]), Decision::Reject, "blacklisted");
    assert_eq!(decide(0, &[5, 4]), Decision::Reject, "on both lists: the money stays");
    assert_eq!(
        decide(0, &[1, 999]),
        Decision::Approve,
        "a type that explains changes nothing, nor does an unknown one"
    );
}

#[test]
fn what_was_not_really_assessed_never_approves() {
    assert_eq!(decide(0, &[3]), Decision::Review);
    assert_eq!(decide(1, &[3]), Decision::Review);
    assert_eq!(decide(4, &[3]), Decision::Reject, "at least review: a worse level stays");
    assert_eq!(decide(0, &[3, 5]), Decision::Review);
}

#[test]
fn the_reasons_name_level_and_types() {
    let ruling =
        policy().rule("qr", &Assessment::Level { level: 2, risk_types: vec![1, 999] }, table);
    let json = serde_json::to_value(&ruling.reasons).expect("serialises");
    assert_eq!(
        json,
        serde_json::json!([
            {"code": "level", "value": 2},
            {"code": "risk_type", "value": 1, "name": "name", "group": "account"},
            {"code": "risk_type", "value": 999}
        ])
    );
}

#[test]
fn captchas_challenge_and_tickets_decide() {
    let rule = |assessment| policy().rule("captcha", &assessment, table).decision;
    assert_eq!(rule(Assessment::Challenge { script: "x".to_owned() }), Decision::Challenge);
    assert_eq!(rule(Assessment::Ticket { valid: true }), Decision::Approve);
    assert_eq!(rule(Assessment::Ticket { valid: false }), Decision::Reject);
}

#[test]
fn the_version_changes_with_the_content_alone() {
    let other = Policy::new(BTreeMap::new(), Decision::Review);
    assert_eq!(policy().version(), policy().version());
    assert_ne!(policy().version(), other.version());
    assert!(policy().version().starts_with("sha256:"));
}

#[test]
fn review_low_the_version_covers_what_types_of_risk_do() {
    let risk_type = |code, effect| RiskType { code, name: "x", group: "account", effect };
    let rejects = policy()
        .with_risk_types("qr", &[risk_type(4, Effect::Rejects), risk_type(1, Effect::Explains)]);
    let approves = policy().with_risk_types("qr", &[risk_type(4, Effect::Approves)]);
    let nothing = policy().with_risk_types("qr", &[risk_type(4, Effect::Explains)]);
    assert_ne!(rejects.version(), approves.version(), "the table of effects is part of the policy");
    assert_eq!(
        (nothing.version(), rejects.version() == policy().version()),
        (policy().version(), false)
    );
}

#[test]
fn a_kept_policy_rules_as_it_did_whatever_todays_table_says() {
    let kept = Policy::from_content(&policy_with_risk_types().content()).expect("a policy");
    assert_eq!(kept, policy_with_risk_types());
    let changed = |code| table(code).map(|known| RiskType { effect: Effect::Explains, ..known });
    let assessment = Assessment::Level { level: 0, risk_types: vec![4] };
    assert_eq!(kept.rule("qr", &assessment, changed).decision, Decision::Reject);
    let content = kept.content();
    assert_eq!(Policy::from_content(&content.replace("\"levels\"", "\"limits\"")), None);
    assert_eq!(Policy::from_content(&format!("{content} ")), None, "its hash is another");
    let rules: Vec<_> = kept.rules().collect();
    let has = |on: &str, leads_to| rules.contains(&("qr", on.to_owned(), leads_to));
    assert!(has("level 4", "reject") && has("risk_type 3", "not_assessed"), "{rules:?}");
    assert_eq!(rules.last(), Some(&("any", "unassessed".to_owned(), "review")));
}

#[test]
fn a_policy_gives_every_level_one_decision() {
    let levels = |approve: &[u8], reject: &[u8]| Levels {
        approve: approve.to_vec(),
        challenge: vec![],
        review: vec![],
        reject: reject.to_vec(),
    };
    assert_eq!(levels(&[0, 1], &[2, 3]).check(3), Ok(()));
    assert_eq!(levels(&[0, 1], &[3]).check(3), Err("level 2 has no decision".to_owned()));
    assert_eq!(
        levels(&[0, 1], &[1, 2, 3]).check(3),
        Err("level 1 has more than one decision".to_owned())
    );
    assert_eq!(
        levels(&[0], &[1, 2]).check(1),
        Err("level 2 does not exist: the API's highest is 1".to_owned())
    );
}

#[test]
fn a_decision_id_is_the_same_for_ever() {
    assert_eq!(decision_id("clm-20210930-000017"), decision_id("clm-20210930-000017"));
    assert_eq!(decision_id("clm-20210930-000017").get_version_num(), 5);
    assert_ne!(decision_id("a"), decision_id("b"));
}

#[test]
fn a_shadow_policy_decides_nothing_and_reports_differences() {
    let in_force = policy();
    use Decision::{Challenge, Reject};
    let harsh = Levels::of(&[Reject, Challenge, Challenge, Reject, Reject]);
    let harsh = BTreeMap::from([("qr".to_owned(), harsh)]);
    let shadow = in_force.clone().but_for(&harsh, None);
    let version = shadow.version().to_owned();
    assert_ne!(version, in_force.version());
    let policies = Policies { in_force: in_force.clone(), shadow: Some(shadow) };
    for level in 0..=4 {
        let found = Assessment::Level { level, risk_types: vec![] };
        let rule = |policy: &Policy| policy.rule("qr", &found, |_| None);
        let Ruled { ruling, shadow } = policies.rule(rule);
        assert_eq!(ruling, rule(&in_force), "level {level}");
        let expected = ShadowRuling { version: version.clone(), decision: Reject };
        assert_eq!(shadow, (level == 0).then_some(expected), "level {level}");
    }
    let rule = |policy: &Policy| policy.unassessed("timeout", None);
    assert_eq!(policies.rule(rule).shadow, None, "it is as in the policy in force");
    let approves = in_force.clone().but_for(&BTreeMap::new(), Some(Decision::Approve));
    let policies = Policies { in_force, shadow: Some(approves) };
    let Ruled { ruling, shadow } = policies.rule(rule);
    let shadow = shadow.map(|shadow| shadow.decision);
    assert_eq!((ruling.decision, shadow), (Decision::Review, Some(Decision::Approve)));
    let alone = Policies { shadow: None, ..policies };
    assert_eq!(alone.rule(rule).shadow, None);
}
