//! Golden requests, the claims that are rejected by its checks, and readings over
//! `tests/fixtures/captcha_query/`.

use serde_json::json;

use super::*;
use crate::risk::testing::*;

#[test]
fn request_is_the_published_vector() {
    let registry = api(REGISTRATION.name, "");
    let claim = parse(&json!({
        "claim_id": "1", "kind": "captcha", "claimed_at": 0,
        "account": { "type": "other", "id": "1", "registered_at": 1_632_990_000 },
        "client": { "ip": "121.14.96.121" }, "captcha": { "type": 1, "business_id": 1 },
    }));
    assert_eq!(fault_of(&registry, &claim), None);
    let sent = wire(&only(&registry).request(&claim, &ATTEMPT));
    // The vector has no account type, but every claim has one.
    let pairs = sent
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name != "accountType");
    let text = crate::risk::signature::string_to_sign(
        Method::Get,
        "csec.api.qcloud.com",
        "/v2/index.php",
        pairs,
    );
    let signature = crate::risk::signature::sign(
        SignatureMethod::HmacSha1,
        "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA",
        &text,
    );
    assert_eq!(signature, "H8/Pkx1WKSrrCckQzYszLMGgH5o=");
    assert!(sent.contains(&("accountType".to_owned(), "0".to_owned())));
}

#[test]
fn every_field_of_the_claim_is_sent_under_its_documented_name() {
    let registry = api(REGISTRATION.name, "script = 1\ncallback = 'failed'");
    let request = only(&registry).request(&claim(json!({ "kind": "captcha" })), &ATTEMPT);
    let sent: Vec<_> =
        wire(&request).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "accountType=2",
        "appId=wx0000000000000001",
        "associateAccount=SpFsjpyvaJ27329",
        "businessId=1",
        "callBack=failed",
        "captchaType=1",
        "imei=imei-1",
        "macAddress=00:11:22:33:44:55",
        "registerTime=1436673889",
        "sceneId=2",
        "script=1",
        "uid=oPDER5U0VMARiyXxUruU4SYmyOiw",
        "userIp=121.14.96.121",
        "xForwardedFor=10.0.0.1, 121.14.96.121",
    ];
    assert_eq!(sent[5..sent.len() - 1], expected);
}

#[test]
fn claims_that_the_api_would_not_take_are_malformed() {
    let registry = api(REGISTRATION.name, "");
    for (changes, error, field) in [
        (json!({ "account": { "type": "device" } }), "invalid_value", "account.type"),
        (json!({ "account": { "type": "phone_md5" } }), "invalid_value", "account.type"),
        (json!({ "account": { "app_id": null } }), "missing_field", "account.app_id"),
        (json!({ "account": { "registered_at": null } }), "missing_field", "account.registered_at"),
        (json!({ "captcha": { "type": null } }), "missing_field", "captcha.type"),
        (json!({ "captcha": { "business_id": null } }), "missing_field", "captcha.business_id"),
    ] {
        let mut claim = claim(changes);
        claim.kind = "captcha".to_owned();
        assert_eq!(fault_of(&registry, &claim), Some((error, field.to_owned())));
    }
    for kind in ["other", "phone", "phone_code", "email"] {
        let claim =
            claim(json!({ "kind": "captcha", "account": { "type": kind, "app_id": null } }));
        assert_eq!(fault_of(&registry, &claim), None);
    }
}

#[test]
fn answers_are_read() {
    let registry = api(REGISTRATION.name, "");
    let no_script = || transient("malformed_answer", 0);
    readings(
        only(&registry),
        REGISTRATION.name,
        &[
            ("answer.json", challenge("var capInit = function () {};".to_owned())),
            ("document_sample.json", malformed()),
            ("script_absent.json", no_script()),
            ("script_empty.json", no_script()),
            ("script_is_html.json", no_script()),
            ("script_with_nul.json", no_script()),
            ("script_with_lone_surrogate.json", malformed()),
            ("raw_script.js", malformed()),
            ("error_4000.json", unassessable("bad_parameter", 4000)),
            ("error_5100.json", transient("operation_failed", 5100)),
            ("html.html", malformed()),
        ],
    );
}

#[test]
fn with_script_1_the_body_is_the_script() {
    let registry = api(REGISTRATION.name, "script = 1\ncallback = 'failed'");
    let reading = |body| read(only(&registry), 200, body);
    let script = "document.write('captcha');";
    assert_eq!(reading(script), challenge(script.to_owned()));
    assert_eq!(reading(r#"{"code":4000}"#), unassessable("bad_parameter", 4000));
    assert_eq!(reading(r#"{"code":0,"script":"a()"}"#), challenge("a()".to_owned()));
    assert_eq!(
        [reading("<html>"), reading(" \n"), reading("a\0b")],
        [malformed(), malformed(), malformed()]
    );
    assert!(
        matches!(reading(" failed({code: 4000})"), ApiResult::Transient(fault, _) if fault.reason.as_str() == "error_callback")
    );
    assert_eq!(read(only(&registry), 400, script), http_4xx());
}

#[test]
fn an_error_code_in_the_error_callback_counts() {
    let registry = api(REGISTRATION.name, "script = 1\ncallback = 'page.failed'");
    let reading = |body: &str| read(only(&registry), 200, body);
    let error = |code: i64| format!(r#"page.failed({{"code":{code},"message":"a) b"}});"#);
    assert_eq!(reading(&error(4000)), unassessable("bad_parameter", 4000));
    assert_eq!(reading(&error(4100)), access_denied("bad_signature", 4100));
    assert_eq!(reading(&error(7)), transient("unknown_code", 7));
    assert_eq!(reading(&error(13)), lasting("insufficient_balance", 13));
    assert_eq!(reading(r#" page.failed ( {"code":"6000"} ) "#), transient("internal_error", 6000));
    let called = ApiResult::transient(FaultReason::ErrorCallback);
    for argument in
        [r#"{"code":0,"script":"a()"}"#, r#"{"code":4000}); other("#, "{code: 4000}", "4000", ""]
    {
        assert_eq!(reading(&format!("page.failed({argument});")), called, "{argument}");
    }
    assert_eq!(reading(r#"page.failed({"code":0"#), called, "cut");
    assert_eq!(reading("page.failedOnce(1)"), challenge("page.failedOnce(1)".to_owned()));
}

#[test]
fn an_error_behind_a_byte_order_mark_is_not_read_as_a_script() {
    let registry = api(REGISTRATION.name, "script = 1\ncallback = 'failed'");
    let reading = |body: &str| read(only(&registry), 200, &format!("\u{feff}{body}"));
    assert_eq!(reading(r#"{"code":4000}"#), unassessable("bad_parameter", 4000));
    assert!(
        matches!(reading("failed({})"), ApiResult::Transient(fault, _) if fault.reason.as_str() == "error_callback")
    );
    assert_eq!(reading("<html>"), malformed());
    assert_eq!(reading("a()"), challenge("a()".to_owned()));
}

#[test]
fn a_script_or_callback_that_makes_no_sense_is_named() {
    let fault = |keys: &str| {
        let toml = format!("{CREDENTIALS}\n[risk.captcha_query]\n{keys}");
        registry(&toml).err().map(|misconfigured| misconfigured.key)
    };
    assert_eq!(fault("script = 2").as_deref(), Some("risk.captcha_query.script"));
    assert_eq!(fault("callback = 'failed'").as_deref(), Some("risk.captcha_query.callback"));
    assert_eq!(
        fault("script = 1\ncallback = 'a(b)'").as_deref(),
        Some("risk.captcha_query.callback")
    );
    assert_eq!(
        fault("script = 1").as_deref(),
        Some("risk.captcha_query.callback"),
        "an error would pass"
    );
}
