//! Access tokens, codes, and the parts of a claim that are sent to WeChat.

use std::time::Duration;

use config::{Config, File, FileFormat};
use serde_json::{Value, json};

use super::body::message_id;
use super::*;
use crate::risk::testing::*;
use crate::risk::{
    Answer, ApiResult, Fault, FaultReason, Fetch, Method, RetryHint, Shared, TokenSource,
};

fn tokens(endpoint: &str) -> Box<dyn TokenSource> {
    let credentials =
        CREDENTIALS.replace("[retry]", &format!("token_endpoint = '{endpoint}'\n[retry]"));
    let config = Config::builder().add_source(File::from_str(&credentials, FileFormat::Toml));
    let wechat: super::Settings = config.build().unwrap().get("wechat").unwrap();
    token::tokens(&Shared { wechat: wechat.into(), ..Shared::default() })
}

fn token(status: u16, body: &str) -> Result<(String, u64), Fault> {
    let token = tokens("stable").read_token(&Answer { status, body: body.as_bytes() })?;
    assert!(!format!("{token:?}").contains("ACCESS"));
    Ok((token.value.expose_secret().to_owned(), token.expires_in.as_secs()))
}

#[test]
fn a_token_is_asked_for_at_the_configured_endpoint() {
    let stable = tokens("stable").token_request(Fetch::Plain);
    assert_eq!(
        (stable.method, stable.url.as_str()),
        (Method::Post, "https://api.weixin.qq.com/cgi-bin/stable_token")
    );
    let body: Value = serde_json::from_str(&stable.body.unwrap().1).unwrap();
    let expected = json!({
        "grant_type": "client_credential", "appid": "wx0000000000000001", "secret": "app+secret", "force_refresh": false,
    });
    assert_eq!(body, expected);
    let classic = tokens("classic").token_request(Fetch::Plain);
    let url = "https://api.weixin.qq.com/cgi-bin/token?grant_type=client_credential&appid=wx0000000000000001&secret=";
    assert_eq!((classic.method, classic.url), (Method::Get, format!("{url}app%2Bsecret")));
    assert_eq!(classic.redacted, format!("GET {url}***"));
    assert!(!stable.redacted.contains("app+secret") && stable.redacted.contains("***"));
}

#[test]
fn a_token_is_read_from_an_answer_without_errcode() {
    let good = || Ok(("ACCESS".to_owned(), 7200));
    assert_eq!(token(200, r#"{"access_token":"ACCESS","expires_in":7200}"#), good());
    assert_eq!(token(200, r#"{"Access_Token ":"ACCESS","expires_in":"7200","errcode":0}"#), good());
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"access_token":"","expires_in":7200}"#,
        r#"{"access_token":"ACCESS","expires_in":0}"#,
        r#"{"access_token":"ACCESS","expires_in":-1}"#,
        r#"{"access_token":"ACCESS","expires_in":"soon"}"#,
        r#"{"access_token":7,"expires_in":7200}"#,
        r#"{"access_token":"ACCESS","expires_in":7200,"errcode":"?"}"#,
    ] {
        assert_eq!(token(200, body).unwrap_err().reason.as_str(), "malformed_answer", "{body}");
    }
    for (status, word) in
        [(302, "redirected"), (403, "http_4xx"), (429, "http_429"), (502, "http_5xx")]
    {
        assert_eq!(token(status, "<html>").unwrap_err().reason.as_str(), word);
    }
}

#[test]
fn a_token_of_which_no_end_is_said_lives_for_two_hours() {
    let two_hours = || Ok(("ACCESS".to_owned(), 7200));
    assert_eq!(token(200, r#"{"access_token":"ACCESS"}"#), two_hours());
    assert_eq!(token(200, r#"{"access_token":"ACCESS","expires_in":null}"#), two_hours());
}

#[test]
fn a_server_without_the_stable_endpoint_is_asked_at_the_classic_one() {
    let classic = tokens("classic").token_request(Fetch::Plain).url;
    for (status, body) in [
        (404, r#"{"detail":"Not Found"}"#),
        (405, ""),
        (501, "<html>"),
        (200, "\r\n<!DOCTYPE html>"),
        (200, r#"{"errcode":40066,"errmsg":"invalid url rid: 6567ea22-69381671-429cda89"}"#),
        (401, r#"{"errcode":41001,"errmsg":"access_token missing"}"#),
        (200, r#"{"errcode":"43001","errmsg":"require GET method"}"#),
    ] {
        let source = tokens("stable");
        let answer = Answer { status, body: body.as_bytes() };
        assert!(source.can_force() && source.invalidates_others().is_none());
        let told = source.fall_back(&answer).expect("it is not there");
        assert!(told.contains("wechat.token_endpoint = \"classic\""), "{told}");
        assert_eq!(source.token_request(Fetch::Forced).url, classic, "{status}");
        assert!(!source.can_force() && source.invalidates_others().is_some());
        let good = Answer { status: 200, body: br#"{"access_token":"A"}"# };
        assert_eq!(source.fall_back(&good), None);
        assert_eq!(source.token_request(Fetch::Plain).url, classic, "it stays so");
    }
}

#[test]
fn without_either_endpoint_the_stable_one_is_tried_again() {
    let (source, stable) = (tokens("stable"), tokens("stable").token_request(Fetch::Plain).url);
    let page = Answer { status: 200, body: b"<html>" };
    for _ in 0..2 {
        assert!(source.fall_back(&page).is_some());
        assert_ne!(source.token_request(Fetch::Plain).url, stable);
        assert_eq!(source.fall_back(&page), None, "the fetch failed like any other");
        assert_eq!(source.token_request(Fetch::Plain).url, stable);
    }
}

#[test]
fn a_stable_endpoint_that_fails_or_refuses_is_asked_again() {
    let source = tokens("stable");
    for (status, body) in [
        (200, r#"{"errcode":40013,"errmsg":"invalid appid"}"#),
        (200, r#"{"errcode":43002,"errmsg":"require POST method"}"#),
        (503, r#"{"errcode":40066,"errmsg":"invalid url"}"#),
        (200, r#"{"access_token":"AC"#),
        (200, ""),
        (302, "<html>"),
        (403, "<html>"),
        (502, "<html>"),
    ] {
        assert_eq!(source.fall_back(&Answer { status, body: body.as_bytes() }), None, "{status}");
    }
    assert!(source.token_request(Fetch::Plain).url.ends_with("/cgi-bin/stable_token"));
    let gone = Answer { status: 404, body: b"" };
    assert_eq!(tokens("classic").fall_back(&gone), None, "there is no third one");
}

#[test]
fn a_failed_fetch_says_why() {
    for (code, reason) in [
        (-1, "busy"),
        (40001, "bad_app_secret"),
        (40125, "bad_app_secret"),
        (40002, "bad_grant_type"),
        (40013, "bad_app_id"),
        (40066, "unknown_path"),
        (40164, "ip_not_allowed"),
        (40243, "app_secret_frozen"),
        (89503, "ip_not_confirmed"),
        (89506, "ip_not_confirmed"),
        (89507, "ip_not_confirmed"),
        (45009, "quota_exceeded"),
        (45011, "rate_limited"),
        (48001, "not_authorised"),
        (1, "unknown_code"),
    ] {
        assert_eq!(token(200, &format!("{{\"errcode\":{code}}}")), Err(fault(reason, code)));
    }
}

#[test]
fn the_record_of_a_token_exchange_has_everything_but_the_token() {
    let kept =
        |body: &str| String::from_utf8(tokens("stable").redacted(body.as_bytes(), None)).unwrap();
    let cases = [
        (
            r#"{"access_token":"86_se-cret","expires_in":7200}"#,
            r#"{"access_token":"***","expires_in":7200}"#,
        ),
        (
            r#"{"expires_in":1, "Access_Token" : "86_secret"}"#,
            r#"{"expires_in":1, "Access_Token" : "***"}"#,
        ),
        (
            r#"{"data":"{\"access_token\":\"86_secret\"}"}"#,
            r#"{"data":"{\"access_token\":\"***"}"}"#,
        ),
        (r#"{"access_token":"86_sec"#, r#"{"access_token":"***"#),
        (r#"{"access_token":86}"#, r#"{"access_token":***}"#),
        (
            r#"{"access_token":"86_secret","access_token":"87_secret"}"#,
            r#"{"access_token":"***","access_token":"***"}"#,
        ),
        (
            r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4"}"#,
            r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4"}"#,
        ),
        ("", ""),
    ];
    for (body, expected) in cases {
        assert_eq!(kept(body), expected);
    }
    assert_eq!(
        tokens("stable").redacted(&[b'x'; 1 << 20], None).len(),
        4_096,
        "a bounded part of it"
    );
    let elsewhere = tokens("stable")
        .redacted(br#"{"access\u005ftoken":"86_secret","86_secret":1}"#, Some(&"86_secret".into()));
    assert_eq!(String::from_utf8_lossy(&elsewhere), r#"{"access\u005ftoken":"***","***":1}"#);
}

/// A gateway's page has the URL in it, and a refusal may name what it refuses.
#[test]
fn an_answer_that_repeats_the_app_secret_shows_it_nowhere() {
    let source = tokens("classic");
    let page = b"Cannot GET /cgi-bin/token?appid=wx1&secret=app%2Bsecret (app+secret)";
    let kept = source.redacted(page, None);
    assert_eq!(
        String::from_utf8_lossy(&kept),
        "Cannot GET /cgi-bin/token?appid=wx1&secret=*** (***)"
    );
    let refusal = br#"{"errcode":40125,"errmsg":"invalid appsecret app+secret rid: 1-2"}"#;
    let words = source.words(&Answer { status: 200, body: refusal });
    assert_eq!(words.as_deref(), Some("invalid appsecret *** rid: 1-2"));
}

#[test]
fn a_token_refusals_words_are_reported_in_one_line() {
    let words = |body: &str| tokens("stable").words(&Answer { status: 200, body: body.as_bytes() });
    let refusal = r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4\nnot in whitelist rid: 1-2"}"#;
    assert_eq!(words(refusal).as_deref(), Some("invalid ip 1.2.3.4 not in whitelist rid: 1-2"));
    let long = json!({ "errmsg": "x".repeat(9_999) }).to_string();
    assert_eq!(words(&long).map(|words| words.len()), Some(200));
    assert_eq!(words("<html>"), None);
}

#[test]
fn a_redirected_token_request_is_a_configuration_fault() {
    let registry = api("wechat_account", "");
    for status in [301, 302, 307, 308] {
        let reading = read(only(&registry), status, "<a href='https://login.example.com'>");
        let fault = Fault::from(FaultReason::Redirected);
        assert_eq!(reading, ApiResult::AccessDenied(fault));
        assert_eq!(token(status, ""), Err(fault));
    }
}

#[test]
fn a_token_lives_for_a_day_at_most() {
    let body = format!(r#"{{"access_token":"a","expires_in":{}}}"#, i64::MAX);
    let answer = Answer { status: 200, body: body.as_bytes() };
    let token = tokens("stable").read_token(&answer).unwrap();
    assert_eq!(token.expires_in, Duration::from_secs(86_400));
}

#[test]
fn every_outer_code_has_its_class() {
    let registry = api("wechat_account", "");
    let reading = |code: i64| read(only(&registry), 200, &format!("{{\"errcode\":{code}}}"));
    for (code, reason) in [
        (-1, "busy"),
        (-1000, "busy"),
        (9_301_002, "service_failed"),
        (9_301_003, "internal_error"),
        (9_301_004, "save_failed"),
        (9_301_009, "result_check_failed"),
        (9_301_011, "rate_limited"),
        (9_301_012, "service_timeout"),
        (9_301_005, "unknown_code"),
        (14, "unknown_code"),
    ] {
        assert_eq!(reading(code), transient(reason, code));
    }
    assert_eq!(reading(45011), transient_for_a_minute("rate_limited", 45011));
    for (code, reason) in
        [(13, "insufficient_balance"), (45009, "quota_exceeded"), (9_301_010, "consumption_failed")]
    {
        assert_eq!(reading(code), lasting(reason, code));
    }
    for code in [40001, 40014, 42001] {
        assert_eq!(reading(code), again("bad_access_token", code, RetryHint::NewToken));
    }
    for (code, reason) in [
        (40003, "bad_openid"),
        (43104, "bad_openid"),
        (43002, "bad_request"),
        (44002, "bad_request"),
        (47001, "bad_request"),
        (40097, "bad_request"),
        (9_301_001, "bad_parameter"),
    ] {
        assert_eq!(reading(code), unassessable(reason, code));
    }
    for code in [48001, 48004, 50002, 61004, 61007] {
        assert_eq!(reading(code), access_denied("not_authorised", code));
    }
    for code in [9_301_006, 9_301_007, 9_301_008] {
        assert_eq!(reading(code), access_denied("service_not_bought", code));
    }
    for code in [40013, 40125, 40164, 40243, 41001] {
        assert_eq!(reading(code), access_denied("bad_credentials", code));
    }
    assert_eq!(reading(9_301_013), access_denied("wrong_api_type", 9_301_013));
    assert_eq!(reading(40066), access_denied("unknown_path", 40066));
}

#[test]
fn a_code_of_the_product_means_the_same_as_errcode() {
    let registry = api("wechat_account", "");
    let reading = |code: i64| read(only(&registry), 200, &format!("{{\"errcode\":{code}}}"));
    let within = |code: i64| {
        let inner = json!({ "code": code, "msg": "" }).to_string();
        read(only(&registry), 200, &json!({ "errcode": 0, "data": inner }).to_string())
    };
    for code in 1..=13 {
        assert_eq!(reading(code), within(code), "{code}");
    }
    assert_eq!(reading(2), unassessable("bad_openid", 2), "no retry gives the user another openid");
    assert_eq!(reading(3), access_denied("no_permission", 3));
    assert_eq!(reading(9), transient("bad_service_id", 9), "listed as transient");
}

#[test]
fn only_a_mobile_apps_claim_sends_the_users_token() {
    let registry = api("wechat_account", "");
    let of = |login: Value| claim(json!({ "kind": "wechat_account", "login": login }));
    let app = of(json!({ "source": 3 }));
    let request = only(&registry).request(&app, &ATTEMPT);
    assert!(
        request
            .body
            .unwrap()
            .1
            .contains(r#""serviceid":2,"user_access_token":"user+token","login_risk":{"#)
    );
    assert!(request.redacted.contains(r#""user_access_token":"***""#));
    assert!(!request.redacted.contains("user+token"));
    let elsewhere = only(&registry).request(&of(json!({ "source": 4 })), &ATTEMPT);
    assert!(!elsewhere.body.unwrap().1.contains("user_access_token"));
    let without = of(json!({ "source": 3, "token": null }));
    assert_eq!(fault_of(&registry, &without), Some(("missing_field", "login.token".to_owned())));
    let phone = claim(json!({ "kind": "wechat_account", "account": { "type": "phone" } }));
    assert_eq!(fault_of(&registry, &phone), Some(("invalid_value", "account.type".to_owned())));
}

#[test]
fn raw_control_characters_in_the_inner_answer_are_tolerated() {
    let registry = api("wechat_account", "");
    let inner = json!({ "code": 0, "msg": "MSG", "data": { "risklevel": 2 } }).to_string();
    // Escaped within the outer text, it is raw within the inner one.
    let answer = |message: &str| {
        json!({ "errcode": 0, "errmsg": "ok", "data": inner.replace("MSG", message) }).to_string()
    };
    let reading = |body: &str| read(only(&registry), 200, body);
    assert_eq!(reading(&answer("a\nb")), level(2, &[]));
    assert_eq!(reading(&answer("ab").replace("ok", "o\u{2}k")), level(2, &[]));
    assert_eq!(reading(&answer("a\nb").replace(":2}", ":2\u{2}}")), malformed());
}

#[test]
fn the_imei_stands_in_for_a_device_id() {
    let registry = api("wechat_account", "");
    let claim = claim(json!({ "client": { "device_id": null } }));
    let request = only(&registry).request(&claim, &ATTEMPT);
    assert!(request.body.unwrap().1.contains(r#""deviceid":"imei-1""#));
}

#[test]
fn a_message_id_is_short_and_safe_and_tells_claims_apart() {
    assert_eq!(message_id("clm-20210930-000017", 3), "clm-20210930-000017-3");
    let ids = ["领取 1", "领取 2", "a/b", "a b", &"x".repeat(128), &"x".repeat(127), "\u{1F9E7}"];
    let mut made: Vec<_> = ids.into_iter().map(|id| message_id(id, u32::MAX)).collect();
    for id in &made {
        assert!(
            id.len() <= 64
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{id}"
        );
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), ids.len());
}
