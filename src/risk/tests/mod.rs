//! Guarantees of every risk API, for any input.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod documented;
mod snapshots;
mod survival;
pub(super) mod testing;

use testing::*;

/// All APIs, with some variety in their settings.
pub(super) fn every_api() -> Registry {
    let keys = |name: &str| match name {
        "mini_program" => "signature_method = 'HmacSHA256'",
        "captcha_check" => "method = 'POST'",
        _ => "",
    };
    let section = |api: &Registration| format!("[risk.{}]\n{}\n", api.name, keys(api.name));
    let sections: String = APIS.iter().map(section).collect();
    testing::registry(&format!("{CREDENTIALS}\n{sections}")).unwrap()
}

/// One good answer of each envelope.
pub(super) const GOOD: [&str; 4] = [
    r#"{"code":0,"codeDesc":"Success","message":"No Error","level":2,"riskType":[101,205],"uid":"oPDER5U0VMARiyXxUruU4SYmyOiw"}"#,
    r#"{"errcode":0,"errmsg":"ok","data":"{\"code\":0,\"msg\":\"请求成功\",\"data\":{\"risklevel\":0}}","request_id":"ML"}"#,
    r#"{"errcode":0,"errmsg":"ok","data":{"code":0,"msg":"","data":{"risklevel":3}}}"#,
    r#"{"code":"0","message":"No Error","script":"document.write('captcha');"}"#,
];

fn read_by_all(registry: &Registry, status: u16, body: &[u8]) -> Vec<ApiResult> {
    let answer = Answer { status, body };
    // The token endpoints are tested, too.
    registry.token_sources().for_each(|(_, source)| drop(source.read_token(&answer)));
    registry.iter().map(|(_, route)| route.api.read(&answer)).collect()
}

fn is_verdict(reading: &ApiResult) -> bool {
    matches!(reading, ApiResult::Assessed { .. })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..512)) {
        for reading in read_by_all(&every_api(), status, &body) {
            prop_assert!(!is_verdict(&reading));
        }
    }

    #[test]
    fn a_damaged_answer_is_survived(
        which in 0..GOOD.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = GOOD[which].as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        read_by_all(&every_api(), 200, &body);
    }

    #[test]
    fn what_is_on_the_wire_is_what_was_signed(
        id in "[^@\0].{0,40}", text in any::<Option<String>>(), latitude in -90.0..=90.0f64, now in 0..i64::MAX, nonce in any::<u64>(),
    ) {
        let registry = every_api();
        let text = text.filter(|text| !text.starts_with('@'));
        let claim = claim(json!({
            "account": { "id": id, "associate_id": text },
            "client": { "referer": text, "forwarded_for": text, "latitude": latitude },
            "login": { "token": "USERTOKEN" },
            "captcha": { "ticket": "TICKET" },
        }));
        let attempt = Attempt { number: 1, now, nonce, token: Some("ACCESSTOKEN") };
        for (_, route) in registry.iter().filter(|(_, route)| route.token.is_none()) {
            let (api, name) = (&route.api, route.api.name());
            prop_assert_eq!(api.check(&claim), Ok(()));
            let request = api.request(&claim, &attempt);
            let sent = wire(&request);
            let (signature, parameters) = sent.split_last().unwrap();
            let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let text = signature::string_to_sign(request.method, "csec.api.qcloud.com", "/v2/index.php", pairs);
            let method = if name == "mini_program" { signature::SignatureMethod::HmacSha256 } else { Default::default() };
            prop_assert_eq!(&signature.1, &signature::sign(method, "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA", &text));
            prop_assert!(sent.iter().all(|(name, value)| !value.is_empty() && !name.contains('_')));
            let names: BTreeSet<_> = sent.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), sent.len(), "no parameter twice");
            for secret in ["USERTOKEN", "TICKET", "AKID"] {
                prop_assert!(!request.redacted.contains(secret));
            }
        }
    }

    #[test]
    fn any_openid_makes_a_json_body(id in ".{1,40}", claim_id in "[^\0]{1,128}", attempt in any::<u32>()) {
        let registry = every_api();
        let claim = claim(json!({ "claim_id": claim_id, "account": { "id": id }, "login": { "source": 3 } }));
        let attempt = Attempt { number: attempt, token: Some("ACCESSTOKEN"), ..ATTEMPT };
        for (_, route) in registry.iter().filter(|(_, route)| route.token.is_some()) {
            let request = route.api.request(&claim, &attempt);
            let body: Value = serde_json::from_str(&request.body.unwrap().1).unwrap();
            prop_assert_eq!(&body["data"]["openid"], &json!(id));
            prop_assert_eq!(&body["data"]["user_access_token"], "user+token");
            let message_id = body["client_msg_id"].as_str().unwrap();
            prop_assert!(message_id.len() <= 64 && message_id.is_ascii());
            prop_assert!(!request.redacted.contains("ACCESSTOKEN") && !request.redacted.contains("user+token"));
            prop_assert!(!request.redacted.contains('\0'), "Postgres keeps no NUL in a text");
        }
    }
}

#[test]
fn half_an_answer_is_never_a_verdict() {
    let registry = every_api();
    for good in GOOD {
        assert!(read_by_all(&registry, 200, good.as_bytes()).iter().any(is_verdict), "{good}");
        for end in 0..good.len() {
            assert!(!read_by_all(&registry, 200, &good.as_bytes()[..end]).iter().any(is_verdict));
        }
    }
}

#[test]
fn no_status_but_2xx_leads_to_a_verdict() {
    let registry = every_api();
    for good in GOOD {
        for status in [0, 199, 300, 302, 400, 404, 500] {
            assert!(!read_by_all(&registry, status, good.as_bytes()).iter().any(is_verdict));
        }
    }
}

#[test]
fn large_and_deep_bodies_cost_no_stack() {
    let registry = every_api();
    let size = 300_000;
    let text_within = |text: String| json!({ "errcode": 0, "data": text }).to_string();
    let deep = format!(
        "{{\"code\":0,\"level\":1,\"x\":{}{}}}",
        "[".repeat(size / 2),
        "]".repeat(size / 2)
    );
    assert!(read_by_all(&registry, 200, deep.as_bytes()).contains(&level(1, &[])));
    for body in [
        "[".repeat(size),
        "{\"level\":".repeat(size / 9),
        "{\"data\":".repeat(size / 8),
        format!("{{\"code\":0,\"riskType\":{}", "[".repeat(size)),
        format!("{{\"errcode\":0,\"data\":{}", "[".repeat(size)),
        text_within("{\"data\":".repeat(size / 8)),
        text_within("[".repeat(size)),
        "\0".repeat(size),
        "<".repeat(size),
        format!("\"{}\"", "\\\"".repeat(size / 2)),
        format!("{{\"code\":{}}}", "9".repeat(size)),
    ] {
        assert!(!read_by_all(&registry, 200, body.as_bytes()).iter().any(is_verdict));
    }
}
