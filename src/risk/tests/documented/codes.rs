//! The tables of return codes: the class of each, and what happens to the claim.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::assess::breaker::CallHealth;
use crate::assess::retry::{Context, Retry, Settings, Step};
use crate::decision::{Decision, Policy};
use crate::risk::{Answer, ApiResult, RetryHint, RiskApi};

/// What a table says about a code.
type Entry = (String, String, String);

/// A table of codes, with every code separately, and what it says about all others.
fn documented(section: &str, part: &str) -> (BTreeMap<i64, Entry>, Option<Entry>) {
    let (mut codes, mut other) = (BTreeMap::new(), None);
    for row in table(section, part) {
        let word =
            |index: usize| spans(&row[index]).first().copied().unwrap_or_default().to_owned();
        let entry = (word(2), word(3), row[4].clone());
        if row[0] == "any other" {
            other = Some(entry);
            continue;
        }
        for code in ranges(&row[0]).into_iter().flatten() {
            assert_eq!(codes.insert(code, entry.clone()), None, "{code} is in the table twice");
        }
    }
    (codes, other)
}

/// What the code reads from an answer, in the words of the tables.
fn found(reading: &ApiResult) -> Entry {
    let class = match reading {
        ApiResult::Transient(_, RetryHint::FreshSignature) => "fresh_signature",
        ApiResult::Transient(_, RetryHint::NewToken) => "new_token",
        ApiResult::Transient(_, RetryHint::Lasting) => "lasting",
        other => other.outcome().as_str(),
    };
    let reason = reading.fault().map_or("", |fault| fault.reason.as_str());
    (class.to_owned(), reason.to_owned(), becomes(reading).to_owned())
}

/// What happens to the claim: the test repeats the answer until the claim is deferred.
fn becomes(reading: &ApiResult) -> &'static str {
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let settings: Settings = defaults["retry"].clone().try_into().unwrap();
    let policy = Policy::new(BTreeMap::new(), Decision::Review);
    let (mut retry, mut now) = (Retry::default(), Instant::now());
    let (start, mut at_once) = (now, 0);
    loop {
        retry.begin(now);
        let context =
            Context { now, seed: u32::MAX / 2, retry_after: None, max_attempts: None, seen: true };
        match retry.after(&settings, reading.clone(), &context).1 {
            Step::Assessed(..) => return "decided",
            Step::Unassessable(fault) => {
                let ruling = policy.unassessable(fault.reason.as_str(), fault.provider_code);
                assert_eq!(
                    (ruling.decision, ruling.reasons[0].code.as_str()),
                    (Decision::Review, "unassessable")
                );
                assert_eq!(retry.attempts(), 1);
                return "review";
            }
            Step::RetryAt(at) => {
                at_once += u32::from(at == now);
                now = at;
            }
            Step::GiveUp(fault) => {
                panic!("{fault:?} is given up on after {} attempts", retry.attempts())
            }
            // Its pause is longer than it may stay in the worker.
            Step::Defer(_) if retry.not_before().is_some() => {
                let minute = Some(start + Duration::from_secs(60));
                assert_eq!((retry.not_before(), retry.attempts()), (minute, 1));
                return "asked again after a minute";
            }
            // It waits, comes back, and at the end of its time it gets this ruling.
            Step::Defer(fault) => {
                let ruling = policy.unassessed(fault.reason.as_str(), fault.provider_code);
                assert_eq!(
                    (ruling.decision, ruling.reasons[0].code.as_str()),
                    (Decision::Review, "unassessed")
                );
                assert!(now - start > settings.in_process_for / 2 && retry.attempts() > 3);
                return ["asked again", "asked again at once"][usize::try_from(at_once).unwrap()];
            }
        }
    }
}

/// Every code of a table, and many others.
fn probes(codes: &BTreeMap<i64, Entry>) -> impl Iterator<Item = i64> {
    let near: Vec<i64> = codes.keys().flat_map(|code| [code - 1, *code, code + 1]).collect();
    near.into_iter().chain(-1100..10_000).chain([39_999, 99_999, 9_301_005, i64::MIN, i64::MAX])
}

fn check(
    section: &str,
    part: &str,
    api: &dyn RiskApi,
    skip: &[i64],
    answer: impl Fn(i64) -> String,
) {
    let (codes, other) = documented(section, part);
    for code in probes(&codes).filter(|code| !skip.contains(code)) {
        let reading = api.read(&Answer { status: 200, body: answer(code).as_bytes() });
        let expected =
            codes.get(&code).or(other.as_ref()).unwrap_or_else(|| panic!("{part}: {code}"));
        assert_eq!(found(&reading), *expected, "{}: {part}: {code}", api.name());
        if !matches!(reading, ApiResult::Assessed { .. }) {
            assert_eq!(reading.provider_code(), Some(code), "the code is kept");
        }
    }
}

#[test]
fn every_code_of_tencent_cloud_follows_the_table() {
    for name in apis_that(|api| api.tokens.is_none()) {
        let registry = by_default(name);
        let skip: &[i64] = if name == "captcha_check" { &[5100] } else { &[] };
        let answer = |code: i64| json!({ "code": code, "level": 0, "script": "a()" }).to_string();
        check(
            "What all Tencent Cloud APIs share",
            "Codes of Tencent Cloud",
            only(&registry),
            skip,
            answer,
        );
    }
}

#[test]
fn the_codes_of_captcha_check_are_its_own() {
    let registry = by_default("captcha_check");
    let (codes, _) = documented("captcha_check", "Codes");
    assert_eq!(codes.keys().copied().collect::<Vec<_>>(), [0, 5100]);
    for (code, expected) in codes {
        let reading =
            read(only(&registry), 200, &json!({ "code": code, "is_right": 0 }).to_string());
        assert_eq!(found(&reading), expected);
    }
}

#[test]
fn every_code_of_wechat_follows_the_table() {
    for name in apis_that(|api| api.tokens.is_some()) {
        let registry = by_default(name);
        let section = "What both WeChat APIs share";
        let outer = |code: i64| json!({ "errcode": code, "errmsg": "" }).to_string();
        check(section, "Codes of the market", only(&registry), &[0], outer);
        let inner = |code: i64| {
            let inner = json!({ "code": code, "msg": "", "data": { "risklevel": 0 } });
            json!({ "errcode": 0, "data": inner.to_string() }).to_string()
        };
        check(section, "Codes of the product", only(&registry), &[], inner);
    }
}

#[test]
fn every_code_of_the_access_token_has_its_reason() {
    let registry = by_default("wechat_account");
    let (_, source) = registry.token_sources().next().unwrap();
    let reason = |row: &Vec<String>| spans(&row[1])[0].to_owned();
    let rows = table("What both WeChat APIs share", "Access token");
    let (other, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row[0] == "any other");
    let codes: BTreeMap<i64, String> = rows
        .iter()
        .flat_map(|row| ranges(&row[0]).into_iter().flatten().map(|code| (code, reason(row))))
        .collect();
    for code in
        (-1100..50_000).chain(89_000..90_000).chain(61_000..62_000).filter(|code| *code != 0)
    {
        let body = json!({ "errcode": code, "errmsg": "" }).to_string();
        let fault = source.read_token(&Answer { status: 200, body: body.as_bytes() }).unwrap_err();
        let expected = codes.get(&code).cloned().unwrap_or_else(|| reason(&other[0]));
        assert_eq!((fault.reason.as_str(), fault.provider_code), (expected.as_str(), Some(code)));
    }
}

#[test]
fn an_http_status_without_an_envelope_follows_the_table() {
    let statuses: BTreeMap<u16, Entry> = table("Answers that are no API's", "")
        .iter()
        .flat_map(|row| {
            let word = |index: usize| spans(&row[index])[0].to_owned();
            let entry = (word(1), word(2), row[3].clone());
            ranges(&row[0])
                .into_iter()
                .flatten()
                .map(move |status| (u16::try_from(status).unwrap(), entry.clone()))
        })
        .collect();
    for name in apis() {
        let registry = by_default(name);
        for (status, expected) in &statuses {
            assert_eq!(
                found(&read(only(&registry), *status, "<html>")),
                *expected,
                "{name}: {status}"
            );
        }
    }
}

#[test]
fn the_classes_mean_what_their_table_says() {
    let classes: BTreeMap<String, Vec<String>> = table("How to read the tables", "")
        .into_iter()
        .map(|row| (spans(&row[0])[0].to_owned(), row[2..].to_vec()))
        .collect();
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    let readings = [
        level(0, &[]),
        transient("busy", 1),
        again("request_expired", 1, RetryHint::FreshSignature),
        again("bad_access_token", 1, RetryHint::NewToken),
        lasting("quota_exceeded", 1),
        unassessable("bad_openid", 1),
        access_denied("no_permission", 1),
    ];
    assert_eq!(classes.len(), readings.len());
    for reading in readings {
        let healths = healths(&reading);
        let counts = match healths.map(counts) {
            [false, true] => "if it repeats".to_owned(),
            [first, second] => {
                assert_eq!(first, second);
                yes(first)
            }
        };
        let opens = yes(healths[0] == CallHealth::AccessDenied);
        let expected = vec![becomes(&reading).to_owned(), counts, opens];
        assert_eq!(classes[&found(&reading).0], expected, "{reading:?}");
    }
}

/// What the answer shows about the API's health at a claim's first attempt, and at its second.
fn healths(reading: &ApiResult) -> [CallHealth; 2] {
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let settings: Settings = defaults["retry"].clone().try_into().unwrap();
    let context =
        Context { now: Instant::now(), seed: 0, retry_after: None, max_attempts: None, seen: true };
    let mut retry = Retry::default();
    [(); 2].map(|()| retry.after(&settings, reading.clone(), &context).0)
}

fn counts(health: CallHealth) -> bool {
    match health {
        CallHealth::Failing
        | CallHealth::AccessDenied
        | CallHealth::DeniedByStatus
        | CallHealth::Repeated => true,
        CallHealth::Well | CallHealth::Pending => false,
    }
}
