//! The tables of fields: names, what is required and when, ranges, and the numbers of the account
//! types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::claim::{Claim, DeadLetterReason};
use crate::risk::{Method, RiskApi};

/// One row of a table of fields.
struct Row {
    /// The claim's fields; a later one is used if the earlier ones are missing. None for a
    /// constant.
    claim: Vec<&'static str>,
    wire: &'static str,
    required: Condition,
    sent: Condition,
    value: &'static str,
}

/// `if `field` is `a` or `b``, or `is not`.
#[derive(Debug)]
enum Condition {
    Always,
    Never,
    If { field: &'static str, is: bool, values: Vec<&'static str> },
}

impl Condition {
    fn read(cell: &'static str) -> Self {
        match (cell, &super::spans(cell)[..]) {
            ("yes" | "always" | "if given", _) => Self::Always,
            ("no" | "", _) => Self::Never,
            (_, [field, values @ ..]) => {
                Self::If { field, is: !cell.contains(" is not "), values: values.to_vec() }
            }
            _ => panic!("{cell:?} says nothing"),
        }
    }

    /// A claim for which this condition holds, or does not.
    fn make(&self, event: &mut Value, holds: bool) {
        let Self::If { field, is, values } = self else { return };
        let value = match (holds == *is, *field) {
            (true, _) => values[0],
            (false, "account.type") => "other",
            (false, _) => "1",
        };
        assert!(holds == *is || !values.contains(&value), "{field}: no value beyond {values:?}");
        set(
            event,
            field,
            value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number)),
        );
    }
}

fn rows(api: &str) -> Vec<Row> {
    let leak = |text: String| -> &'static str { text.leak() };
    let row = |cells: Vec<String>| {
        let [claim, wire, required, sent, value] = cells.try_into().unwrap();
        Row {
            claim: spans(leak(claim)),
            wire: spans(leak(wire))[0],
            required: Condition::read(leak(required)),
            sent: Condition::read(leak(sent)),
            value: leak(value),
        }
    };
    table(api, "Fields").into_iter().map(row).collect()
}

fn set(event: &mut Value, path: &str, value: Value) {
    *path.split('.').fold(event, |at, key| &mut at[key]) = value;
}

fn get<'a>(event: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(event, |at, key| &at[key])
}

fn attempt(event: &Value, registry: &Registry) -> Result<Claim, DeadLetterReason> {
    let claim = Claim::parse(Some(event.to_string().as_bytes()), 1 << 20)?;
    registry.route(&claim).map(|_| claim)
}

fn fault(event: &Value, registry: &Registry) -> Option<String> {
    attempt(event, registry).err().map(|fault| fault.field.unwrap_or_default())
}

/// What is sent, by wire name: WeChat's body by the path of each value.
fn sent(event: &Value, registry: &Registry) -> BTreeMap<String, String> {
    let claim = attempt(event, registry).unwrap_or_else(|fault| panic!("{fault}: {event}"));
    let request = only(registry).request(&claim, &ATTEMPT);
    match &request.body {
        Some(("application/json", body)) => {
            let mut flat = BTreeMap::new();
            flatten("", &serde_json::from_str(body).unwrap(), &mut flat);
            flat
        }
        _ => wire(&request)
            .into_iter()
            .filter(|(name, _)| name == "Action" || !common().contains(name))
            .collect(),
    }
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            flatten(&format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), value, into);
        }),
        value => drop(into.insert(path.to_owned(), text(value))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn common() -> BTreeSet<String> {
    let rows = table("What all Tencent Cloud APIs share", "Common parameters");
    rows.iter().map(|row| spans(&row[0])[0].to_owned()).collect()
}

/// The claim with all fields that this API's conditions allow.
fn full(api: &dyn RiskApi, rows: &[Row]) -> Value {
    let kind = APIS.iter().find(|registration| registration.name == api.name()).unwrap().kind;
    let mut event = serde_json::to_value(claim(json!({ "kind": kind }))).unwrap();
    rows.iter().for_each(|row| row.sent.make(&mut event, true));
    event
}

#[test]
fn what_is_sent_of_a_full_claim_is_what_the_table_says() {
    for name in apis() {
        let (registry, rows) = (by_default(name), rows(name));
        let event = full(only(&registry), &rows);
        let types: BTreeMap<_, _> = account_types(name).into_iter().collect();
        let expected: BTreeMap<_, _> = rows
            .iter()
            .map(|row| {
                let value = match row.claim[..] {
                    [] => spans(row.value)[0]
                        .replace("{claim_id}", "clm-20210930-000017")
                        .replace("{attempt}", "1"),
                    ["account.type", ..] => types[&text(&event["account"]["type"])].clone(),
                    [field, ..] => text(get(&event, field)),
                };
                (row.wire.to_owned(), value)
            })
            .collect();
        assert_eq!(sent(&event, &registry), expected, "{name}");
    }
}

#[test]
fn absent_fields_are_not_sent_and_required_ones_are_checked() {
    for name in apis() {
        let (registry, rows) = (by_default(name), rows(name));
        for row in rows.iter().filter(|row| !row.claim.is_empty()) {
            let mut event = full(only(&registry), &rows);
            row.required.make(&mut event, true);
            let before = sent(&event, &registry);
            for (index, field) in row.claim.iter().enumerate() {
                set(&mut event, field, json!(""));
                if let Some(next) = row.claim.get(index + 1) {
                    assert_eq!(
                        sent(&event, &registry)[row.wire],
                        text(get(&event, next)),
                        "{name}: {next}"
                    );
                }
            }
            let first = row.claim[0];
            if !matches!(row.required, Condition::Never) {
                assert_eq!(
                    fault(&event, &registry).as_deref(),
                    Some(first),
                    "{name} without {first}"
                );
            }
            row.required.make(&mut event, false);
            if !matches!(row.required, Condition::Always) {
                let mut names: BTreeSet<_> = before.keys().cloned().collect();
                let given: BTreeSet<_> = sent(&event, &registry).into_keys().collect();
                names.remove(row.wire);
                assert!(given.is_subset(&names), "{name} without {first} sends {given:?}");
            }
        }
    }
}

#[test]
fn what_is_sent_under_a_condition_is_sent_under_no_other() {
    for name in apis() {
        let (registry, rows) = (by_default(name), rows(name));
        for row in rows.iter().filter(|row| matches!(row.sent, Condition::If { .. })) {
            let mut event = full(only(&registry), &rows);
            assert!(sent(&event, &registry).contains_key(row.wire), "{name}: {}", row.wire);
            row.sent.make(&mut event, false);
            assert!(!sent(&event, &registry).contains_key(row.wire), "{name}: {}", row.wire);
        }
    }
}

#[test]
fn ranges_are_as_the_table_says() {
    for name in apis() {
        let (registry, rows) = (by_default(name), rows(name));
        for row in rows.iter().filter(|row| !row.claim.is_empty()) {
            let Some((low, high)) = spans(row.value).first().and_then(|span| bounds(span)) else {
                continue;
            };
            let event = full(only(&registry), &rows);
            for (value, good) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
                let mut event = event.clone();
                set(&mut event, row.claim[0], json!(value));
                let fault = fault(&event, &registry);
                assert_eq!(fault.as_deref(), (!good).then_some(row.claim[0]), "{name}: {value}");
                if good {
                    assert_eq!(sent(&event, &registry)[row.wire], value.to_string());
                }
            }
        }
    }
}

fn bounds(span: &str) -> Option<(i64, i64)> {
    let (low, high) = span.split_once('–')?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

fn account_types(api: &str) -> Vec<(String, String)> {
    let rows = find(api, "Account types").unwrap_or_default();
    rows.iter().map(|row| (spans(&row[0])[0].to_owned(), row[1].clone())).collect()
}

#[test]
fn account_types_follow_the_table_and_others_are_refused() {
    for name in apis() {
        let (registry, rows) = (by_default(name), rows(name));
        let mut types: BTreeMap<_, _> = account_types(name).into_iter().collect();
        if types.is_empty() {
            types.insert("wechat".to_owned(), String::new());
        }
        for word in ["qq", "wechat", "phone", "device", "other", "phone_md5", "phone_code", "email"]
        {
            let mut event = full(only(&registry), &rows);
            set(&mut event, "account.type", json!(word));
            match types.get(word) {
                None => {
                    assert_eq!(
                        fault(&event, &registry).as_deref(),
                        Some("account.type"),
                        "{name}: {word}"
                    )
                }
                Some(number) => {
                    let sent = sent(&event, &registry);
                    assert_eq!(
                        sent.get("accountType").map_or("", String::as_str),
                        number,
                        "{name}: {word}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_common_parameters_are_those_of_the_table() {
    let always: BTreeSet<_> = table("What all Tencent Cloud APIs share", "Common parameters")
        .iter()
        .filter(|row| row[1] == "always")
        .map(|row| spans(&row[0])[0].to_owned())
        .collect();
    let credentials = CREDENTIALS.replace("[wechat]", "token = 'sts'\n[wechat]");
    for (toml, expected) in [(CREDENTIALS.to_owned(), always), (credentials, common())] {
        let method = if expected == common() { "signature_method = 'HmacSHA256'" } else { "" };
        let registry =
            testing::registry(&format!("{toml}\n[risk.mini_program]\n{method}")).unwrap();
        let request = only(&registry).request(&claim(json!({ "kind": "mini_program" })), &ATTEMPT);
        assert_eq!(request.method, Method::Get);
        let names: BTreeSet<_> = wire(&request).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.intersection(&common()).cloned().collect::<BTreeSet<_>>(), expected);
    }
}
