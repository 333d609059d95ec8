//! Requests and results as complete texts, in `src/risk/tests/snapshots/`, for comparison with the
//! documents.
//!
//! `INSTA_UPDATE=always cargo test risk::tests::snapshots` rewrites them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::testing::*;
use crate::decision::{Assessment, Decision};
use crate::risk::{APIS, Answer, ApiResult, RetryHint, RiskApi};

/// A request in readable form: line, parameters or body, and the stored text.
fn shown(api: &str, keys: &str, changes: Value) -> String {
    let registry = super::testing::api(api, keys);
    let claim = claim(changes);
    assert_eq!(fault_of(&registry, &claim), None);
    let request = only(&registry).request(&claim, &ATTEMPT);
    let mut text = format!(
        "{} {}\n",
        request.method.as_str(),
        request.url.split('?').next().unwrap_or_default()
    );
    match &request.body {
        Some(("application/json", body)) => {
            let body: Value = serde_json::from_str(body).unwrap();
            write!(text, "{body:#}").unwrap();
        }
        _ => wire(&request)
            .iter()
            .for_each(|(name, value)| writeln!(text, "    {name} = {value}").unwrap()),
    }
    format!("{}\n\nStored:\n{}\n", text.trim_end(), request.redacted)
}

/// The result of every fixture of an API, and the decision.
fn readings_of(
    folder: &str,
    api: &dyn RiskApi,
    decide: impl Fn(&Assessment) -> Decision,
) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut lines = BTreeMap::new();
    for file in std::fs::read_dir(path).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let status = name.strip_prefix("http_").map_or(200, |rest| rest[..3].parse().unwrap());
        let body = std::fs::read(file.path()).unwrap();
        let said = match api.read(&Answer { status, body: &body }) {
            ApiResult::Assessed { assessment, provider_code } => {
                format!(
                    "assessed {provider_code}: {} -> {}",
                    found(&assessment),
                    decide(&assessment).as_str()
                )
            }
            ApiResult::Transient(fault, again) => {
                let how = if again == RetryHint::Backoff {
                    String::new()
                } else {
                    format!(", {again:?}")
                };
                format!("transient{how}: {}{}", fault.reason, code(fault.provider_code))
            }
            ApiResult::Unassessable(fault) => {
                format!("unassessable: {}{}", fault.reason, code(fault.provider_code))
            }
            ApiResult::AccessDenied(fault) => {
                format!("access_denied: {}{}", fault.reason, code(fault.provider_code))
            }
        };
        lines.insert(name, said);
    }
    lines.iter().map(|(name, said)| format!("{name:40} {said}\n")).collect()
}

fn found(assessment: &Assessment) -> String {
    match assessment {
        Assessment::Level { level, risk_types } => {
            format!("level {level}, risk types {risk_types:?}")
        }
        Assessment::Challenge { script } => format!("script {script:?}"),
        Assessment::Ticket { valid } => {
            format!("ticket {}", if *valid { "good" } else { "not good" })
        }
    }
}

fn code(code: Option<i64>) -> String {
    code.map(|code| format!(" ({code})")).unwrap_or_default()
}

#[test]
fn requests_of_a_full_claim() {
    let by_post = "method = 'POST'\nsignature_method = 'HmacSHA256'";
    for (name, api, keys, changes) in [
        ("intelligent_qr_code", "intelligent_qr_code", "", json!({})),
        ("intelligent_qr_code_by_post", "intelligent_qr_code", by_post, json!({})),
        (
            "mini_program",
            "mini_program",
            "",
            json!({ "kind": "mini_program", "reward": { "goods": "12" } }),
        ),
        ("wechat_marketing", "wechat_marketing", "", json!({ "kind": "wechat_marketing" })),
        ("wechat_account", "wechat_account", "", json!({ "kind": "wechat_account" })),
        (
            "wechat_account_of_an_app",
            "wechat_account",
            "",
            json!({ "kind": "wechat_account", "login": { "source": 3 } }),
        ),
        ("captcha_query", "captcha_query", "", json!({ "kind": "captcha" })),
        (
            "captcha_query_as_script",
            "captcha_query",
            "script = 1\ncallback = 'failed'",
            json!({ "kind": "captcha" }),
        ),
        ("captcha_check", "captcha_check", "", json!({ "kind": "captcha_check" })),
    ] {
        insta::assert_snapshot!(format!("request_of_{name}"), shown(api, keys, changes));
    }
}

#[test]
fn readings_of_every_fixture() {
    for folder in APIS.iter().map(|registration| registration.name) {
        let registry = super::testing::api(folder, "");
        let (policy, api) = (registry.policy(Decision::Review), only(&registry));
        let decide = |assessment: &Assessment| {
            policy.rule(folder, assessment, |code| api.risk_type(code)).decision
        };
        insta::assert_snapshot!(format!("readings_of_{folder}"), readings_of(folder, api, decide));
    }
}
