//! Error codes, HTTP statuses, and the settings that affect the request.

use serde_json::json;

use crate::risk::signature::encode;
use crate::risk::testing::*;
use crate::risk::{ApiResult, Attempt, Method, RetryHint};

#[test]
fn every_error_code_has_its_class() {
    let registry = api("intelligent_qr_code", "");
    let reading = |code: i64| read(only(&registry), 200, &format!("{{\"code\":{code}}}"));
    for (code, reason) in [
        (5100, "operation_failed"),
        (6000, "internal_error"),
        (6100, "unsupported_or_maintenance"),
        (4, "unknown_code"),
        (1002, "unknown_code"),
        (i64::MIN, "unknown_code"),
    ] {
        assert_eq!(reading(code), transient(reason, code));
    }
    assert_eq!(reading(6200), transient_for_a_minute("maintenance", 6200));
    for (code, reason) in [
        (4000, "bad_parameter"),
        (4600, "bad_protocol"),
        (5000, "resource_missing"),
        (5200, "purchase_failed"),
        (5300, "insufficient_balance"),
        (5400, "partly_failed"),
        (5500, "not_qualified"),
    ] {
        assert_eq!(reading(code), unassessable(reason, code));
    }
    for (code, reason) in [
        (4100, "bad_signature"),
        (4101, "no_permission"),
        (4102, "no_permission"),
        (4103, "no_permission"),
        (4104, "bad_secret_id"),
        (4105, "bad_session_token"),
        (4106, "bad_session_token"),
        (4110, "no_permission"),
        (4300, "access_denied"),
    ] {
        assert_eq!(reading(code), access_denied(reason, code));
    }
    for (code, reason) in [(13, "insufficient_balance"), (4400, "quota_exceeded")] {
        assert_eq!(reading(code), lasting(reason, code));
    }
    assert_eq!(reading(4200), again("request_expired", 4200, RetryHint::FreshSignature));
    assert_eq!(reading(4500), again("request_replayed", 4500, RetryHint::FreshSignature));
}

#[test]
fn the_operators_transient_codes_win_over_the_table() {
    let credentials = CREDENTIALS.replace("[4, ", "[4000, 4100, 4500, ");
    let registry = registry(&format!("{credentials}\n[risk.intelligent_qr_code]")).unwrap();
    let reading = |code: i64| read(only(&registry), 200, &format!("{{\"code\":{code}}}"));
    assert_eq!(reading(4000), transient("bad_parameter", 4000));
    assert_eq!(reading(4100), lasting("bad_signature", 4100));
    assert_eq!(reading(4500), again("request_replayed", 4500, RetryHint::FreshSignature));
}

#[test]
fn an_http_status_without_an_envelope_says_who_is_at_fault() {
    let registry = api("intelligent_qr_code", "");
    for status in [400, 402, 410, 413, 414, 422, 451] {
        assert_eq!(read(only(&registry), status, "<html>"), http_4xx());
    }
    for status in [401, 403, 404, 405, 407, 426] {
        assert_eq!(read(only(&registry), status, "<html>"), http_4xx_of_the_set_up());
    }
    for status in [408, 421, 425, 429] {
        assert!(matches!(read(only(&registry), status, ""), ApiResult::Transient(..)));
    }
    for status in [100, 200, 204, 0] {
        assert_eq!(read(only(&registry), status, "<html>"), malformed());
    }
    for (status, reason) in [(429, "http_429"), (500, "http_5xx"), (u16::MAX, "http_5xx")] {
        let reading = read(only(&registry), status, "<html>");
        assert_eq!(reading.fault().map(|fault| fault.reason.as_str()), Some(reason));
    }
}

#[test]
fn path_method_and_credentials_are_configurable_and_the_signed_host_is_fixed() {
    let credentials =
        CREDENTIALS.replace("[wechat]", "region = 'gz'\ntoken = 'sts+token'\n[wechat]");
    let keys =
        "base_url = 'http://127.0.0.1:8080/'\npath = '/gateway'\nsignature_method = 'HmacSHA256'";
    let registry = registry(&format!("{credentials}\n[risk.intelligent_qr_code]\n{keys}")).unwrap();
    let request = only(&registry).request(&claim(json!({})), &ATTEMPT);
    assert!(request.url.starts_with("http://127.0.0.1:8080/gateway?Action="));
    let sent = wire(&request);
    let value =
        |name: &str| sent.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(value("Region"), Some("gz"));
    assert_eq!(value("Token"), Some("sts+token"));
    assert_eq!(value("SignatureMethod"), Some("HmacSHA256"));
    assert!(request.redacted.contains("&Token=***&"));
    let pairs = sent.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let text = super::string_to_sign(Method::Get, "csec.api.qcloud.com", "/gateway", pairs);
    let signature =
        super::sign(super::SignatureMethod::HmacSha256, "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA", &text);
    assert_eq!(value("Signature"), Some(signature.as_str()));
}

#[test]
fn every_attempt_is_signed_anew() {
    let registry = api("intelligent_qr_code", "");
    let claim = claim(json!({}));
    let first = only(&registry).request(&claim, &ATTEMPT);
    let second = only(&registry).request(&claim, &Attempt { number: 2, nonce: 7, ..ATTEMPT });
    let signature = |request| wire(request).pop().unwrap();
    assert_ne!(signature(&first), signature(&second));
    assert!(wire(&second).contains(&("Nonce".to_owned(), "7".to_owned())));
    let zero = only(&registry).request(&claim, &Attempt { nonce: 0, ..ATTEMPT });
    assert!(wire(&zero).contains(&("Nonce".to_owned(), "1".to_owned())), "a nonce is positive");
}

#[test]
fn nothing_secret_shows_in_debug_output() {
    let registry = api("intelligent_qr_code", "");
    let request = only(&registry).request(&claim(json!({})), &ATTEMPT);
    let signature = wire(&request).pop().unwrap().1;
    let shown = format!("{request:?} {ATTEMPT:?}");
    for secret in [&encode(&signature).to_string(), "AKID", "user%2Btoken", "access"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    let settings = super::Settings {
        secret_key: "hidden".into(),
        token: Some("hidden".into()),
        ..Default::default()
    };
    assert!(!format!("{settings:?}").contains("hidden"));
}
