//! The tables of levels and risk types, and the decisions of the policy.

use std::collections::BTreeMap;

use super::*;
use crate::decision::{Assessment, Decision, Effect, RiskType};
use crate::risk::{ApiResult, RiskApi};

/// The documented levels of an API, and the decision for each.
fn levels(api: &str) -> Option<BTreeMap<i64, Decision>> {
    let row = table("Policy", "").into_iter().find(|row| spans(&row[0]) == [api])?;
    let decided = |(cell, decision): (&String, Decision)| {
        ranges(cell).into_iter().flatten().map(move |level| (level, decision)).collect::<Vec<_>>()
    };
    Some(row[1..].iter().zip(Decision::ALL).flat_map(decided).collect())
}

fn risk_types(api: &str) -> BTreeMap<i32, RiskType> {
    let effect = |word: &str| match word {
        "explains" => Effect::Explains,
        "approves" => Effect::Approves,
        "not_assessed" => Effect::NotAssessed,
        "rejects" => Effect::Rejects,
        word => panic!("{word} is no effect"),
    };
    let row = |row: Vec<String>| {
        let (code, name) = (row[0].parse().unwrap(), spans(&row[2])[0].to_owned().leak());
        (
            code,
            RiskType {
                code,
                name,
                group: row[1].clone().leak(),
                effect: effect(spans(&row[3])[0]),
            },
        )
    };
    find(api, "Risk types").unwrap_or_default().into_iter().map(row).collect()
}

/// A body that gives this level and these risk types.
fn answer(api: &dyn RiskApi, level: i64, risk_types: &[i32]) -> String {
    if api.registration().tokens.is_some() {
        return format!(r#"{{"errcode":0,"data":{{"code":0,"data":{{"risklevel":{level}}}}}}}"#);
    }
    format!(r#"{{"code":0,"level":{level},"riskType":{risk_types:?}}}"#)
}

/// From the answer's bytes to the decision.
fn decide(registry: &Registry, level: i64, risk_types: &[i32]) -> Option<Decision> {
    let api = only(registry);
    match read(api, 200, &answer(api, level, risk_types)) {
        ApiResult::Assessed { assessment: assessment @ Assessment::Level { .. }, .. } => {
            let policy = registry.policy(Decision::Review);
            Some(policy.rule(api.name(), &assessment, |code| api.risk_type(code)).decision)
        }
        _ => None,
    }
}

#[test]
fn levels_and_decisions_follow_the_table() {
    for name in apis() {
        let registry = by_default(name);
        let Some(levels) = levels(name) else {
            assert_eq!(only(&registry).registration().highest_level(), None, "{name} gives levels");
            assert_eq!(decide(&registry, 0, &[]), None);
            continue;
        };
        for level in -2..300 {
            assert_eq!(
                decide(&registry, level, &[]),
                levels.get(&level).copied(),
                "{name}: {level}"
            );
        }
    }
}

#[test]
fn the_risk_types_are_those_of_the_tables_and_no_others() {
    for name in apis() {
        let (registry, documented) = (by_default(name), risk_types(name));
        for code in (-1000..20_000).chain([i32::MIN, i32::MAX]) {
            assert_eq!(
                only(&registry).risk_type(code),
                documented.get(&code).copied(),
                "{name}: {code}"
            );
        }
    }
}

#[test]
fn the_effects_stand_in_the_order_in_which_they_win() {
    let start = PAGE.find("| effect |").unwrap();
    let words: Vec<_> = PAGE[start..].lines().skip(2).take(4).map(|line| spans(line)[0]).collect();
    assert_eq!(words, ["explains", "approves", "not_assessed", "rejects"]);
    let mut effects = [Effect::Rejects, Effect::NotAssessed, Effect::Approves, Effect::Explains];
    effects.sort_unstable();
    assert_eq!(effects, [Effect::Explains, Effect::Approves, Effect::NotAssessed, Effect::Rejects]);
}

#[test]
fn every_risk_type_has_its_effect_at_every_level() {
    for name in apis_that(|api| !api.risk_types.is_empty()) {
        let (registry, levels) = (by_default(name), levels(name).unwrap());
        let mut types: Vec<_> = risk_types(name).into_values().collect();
        types.push(RiskType { code: 999, name: "", group: "", effect: Effect::Explains });
        for (level, by_level) in levels {
            for risk_type in &types {
                let expected = match risk_type.effect {
                    Effect::Explains => by_level,
                    Effect::Approves => Decision::Approve,
                    Effect::NotAssessed if by_level == Decision::Reject => Decision::Reject,
                    Effect::NotAssessed => Decision::Review,
                    Effect::Rejects => Decision::Reject,
                };
                let decided = decide(&registry, level, &[risk_type.code]);
                assert_eq!(decided, Some(expected), "{name}: level {level}, {}", risk_type.code);
            }
        }
    }
}

#[test]
fn a_policy_in_configuration_replaces_the_whole_row() {
    let start = PAGE.find("`policy = {").unwrap();
    let policy = PAGE[start..].split('`').nth(1).unwrap();
    let registry =
        testing::registry(&format!("{CREDENTIALS}\n[risk.mini_program]\n{policy}")).unwrap();
    let decided: Vec<_> = (0..=4).map(|level| decide(&registry, level, &[]).unwrap()).collect();
    use Decision::{Approve, Challenge, Reject, Review};
    assert_eq!(decided, [Approve, Approve, Challenge, Review, Reject]);
    let by_default = by_default("mini_program");
    let version = |registry: &Registry| registry.policy(Decision::Review).version().to_owned();
    assert_ne!(version(&registry), version(&by_default));
    assert_ne!(by_default.policy(Decision::Reject).version(), version(&by_default));
}
