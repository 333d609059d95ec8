//! The policy as a table, or as a document. Pure.

use std::io::{self, Write};

use serde::Serialize;

use crate::audit::shown::{optional, sheet, table};
use crate::decision::{Decision, Effect, Levels, Policy, RiskType};
use crate::risk::{Registry, Route};

/// The policy, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    policy_version: &'a str,
    /// The policy in shadow.
    shadow_version: Option<&'a str>,
    /// The decision of a claim that no API assessed.
    on_unassessed: Decision,
    apis: Vec<Api<'a>>,
}

#[derive(Debug, Serialize)]
struct Api<'a> {
    api: &'static str,
    api_schema: &'static str,
    kinds: Vec<&'a str>,
    /// `None` if the API gives no levels: the policy does not apply.
    levels: Option<&'a Levels>,
    /// Those that change the decision of the level.
    risk_types: Vec<RiskType>,
}

pub(super) fn write(
    registry: &Registry,
    (policy, shadow): (&Policy, Option<&Policy>),
    json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let shown = Shown {
        policy_version: policy.version(),
        shadow_version: shadow.map(Policy::version),
        on_unassessed: policy.on_unassessed(),
        apis: registry.iter().map(|(_, route)| api(registry, policy, route)).collect(),
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &shown)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&shown).as_bytes())?;
    }
    out.flush()
}

fn api<'a>(registry: &'a Registry, policy: &'a Policy, route: &'a Route) -> Api<'a> {
    let registration = route.api.registration();
    let serves = |id| registry.api(id).name() == registration.name;
    let kinds = registry.kinds().filter(|(_, id)| serves(*id)).map(|(kind, _)| kind).collect();
    let changes = |risk_type: &&RiskType| risk_type.effect != Effect::Explains;
    Api {
        api: registration.name,
        api_schema: registration.schema,
        kinds,
        levels: policy.levels(registration.name),
        risk_types: registration.risk_types.iter().filter(changes).copied().collect(),
    }
}

fn text(shown: &Shown<'_>) -> String {
    let head = sheet([
        ("Policy", shown.policy_version.to_owned()),
        ("In shadow", optional(shown.shadow_version)),
        ("Unassessed claims", shown.on_unassessed.to_string()),
    ]);
    let rows = shown.apis.iter().map(|api| {
        let levels = |list: fn(&Levels) -> &Vec<u8>| match api.levels {
            Some(levels) => joined(list(levels)),
            None => "–".to_owned(),
        };
        let decisions: [fn(&Levels) -> &Vec<u8>; 4] = [
            |levels| &levels.approve,
            |levels| &levels.challenge,
            |levels| &levels.review,
            |levels| &levels.reject,
        ];
        let [approve, challenge, review, reject] = decisions.map(levels);
        [api.api.to_owned(), api.kinds.join(", "), approve, challenge, review, reject]
    });
    let levels = table(["api", "kinds", "approve", "challenge", "review", "reject"], rows);
    let rows = shown.apis.iter().flat_map(|api| {
        api.risk_types.iter().map(|RiskType { code, name, group, effect }| {
            let effect = match effect {
                Effect::Explains => "none",
                Effect::Approves => "approve",
                Effect::NotAssessed => "at least review",
                Effect::Rejects => "reject",
            };
            [api.api.to_owned(), code.to_string(), format!("{name} ({group})"), effect.to_owned()]
        })
    });
    let risk_types = table(["api", "risk type", "name", "decision"], rows);
    format!("{head}\n{levels}\n{risk_types}")
}

fn joined(levels: &[u8]) -> String {
    levels.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}
