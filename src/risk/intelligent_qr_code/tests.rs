//! Golden requests, the claims that are rejected by its checks, and readings over
//! `tests/fixtures/intelligent_qr_code/`.

use serde_json::json;

use super::REGISTRATION;
use crate::risk::testing::*;
use crate::risk::{Method, RetryHint};

#[test]
fn request_is_the_published_vector() {
    let registry = api(REGISTRATION.name, "");
    let claim = parse(&json!({
        "claim_id": "1", "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "wechat", "id": "oPDER5U0VMARiyXxUruU4SYmyOiw" },
        "client": { "ip": "121.14.96.121" },
        "reward": {
            "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10,
        },
    }));
    let request = only(&registry).request(&claim, &ATTEMPT);
    let (id, signature) =
        ("AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA", "2%2FueCu9VIw56cbSPlGnAHPwtAWQ%3D");
    let url = |id: &str, signature: &str| {
        format!(
            "https://csec.api.qcloud.com/v2/index.php?Action=IntelligentQRCode&Nonce=3557156860\
             &Region=ap-guangzhou&SecretId={id}&Timestamp=1632994483&accountType=2&dayTimes=3\
             &encryptedCode=9b2c0f6e7a1d4c35&goodInfo=red%20packet&postTime=1632994480&share=1&totaltimes=10\
             &uid=oPDER5U0VMARiyXxUruU4SYmyOiw&userIp=121.14.96.121&Signature={signature}"
        )
    };
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.url, url(id, signature));
    assert_eq!(request.redacted, format!("GET {}", url("***", "***")));
    assert_eq!(request.body, None);
}

#[test]
fn request_by_post_is_the_published_vector() {
    let registry = api(REGISTRATION.name, "method = 'POST'\nsignature_method = 'HmacSHA256'");
    let claim = parse(&json!({
        "claim_id": "1", "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "phone_md5", "id": "25d55ad283aa400af464c76d713c07ad" },
        "client": {
            "ip": "121.14.96.121", "address": "广东省深圳市南山区 A&B+C=1/2", "latitude": 22.5405, "longitude": 113.9345,
        },
        "login": { "wechat_subtype": 2, "nonce": "0123456789abcdef" },
        "reward": { "goods": "可口可乐500ml" },
    }));
    let request = only(&registry).request(&claim, &ATTEMPT);
    let (content_type, body) = request.body.as_ref().unwrap();
    assert_eq!(request.url, "https://csec.api.qcloud.com/v2/index.php");
    assert_eq!(*content_type, "application/x-www-form-urlencoded");
    assert!(body.contains(
        "address=%E5%B9%BF%E4%B8%9C%E7%9C%81%E6%B7%B1%E5%9C%B3%E5%B8%82%E5%8D%97%E5%B1%B1%E5%8C%BA%20A%26B%2BC%3D1%2F2"
    ));
    let signature =
        ("Signature".to_owned(), "jBS6DZ2Vt59MQhqrGGl33rgnDl2poeaIyxTmDjbfyyE=".to_owned());
    assert!(wire(&request).contains(&signature));
}

#[test]
fn every_field_of_the_claim_is_sent_under_its_documented_name() {
    let registry = api(REGISTRATION.name, "");
    let request = only(&registry).request(&claim(json!({})), &ATTEMPT);
    let sent: Vec<_> =
        wire(&request).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "accountType=2",
        "address=广东省深圳市南山区",
        "appId=wx0000000000000001",
        "associateAccount=SpFsjpyvaJ27329",
        "cookie=c0ffee",
        "dayTimes=3",
        "encryptedCode=9b2c0f6e7a1d4c35",
        "goodInfo=red packet",
        "imei=imei-1",
        "latitude=22.5405",
        "loginSource=4",
        "loginType=3",
        "longitude=113.9345",
        "phoneNumber=15912345687",
        "postTime=1632994480",
        "randNum=0123456789abcdef",
        "referer=https://example.com/?a=b",
        "share=1",
        "totaltimes=10",
        "uid=oPDER5U0VMARiyXxUruU4SYmyOiw",
        "userIp=121.14.96.121",
        "wxSubType=2",
        "wxToken=user+token",
    ];
    // After the five common parameters, before the signature.
    assert_eq!(sent[5..sent.len() - 1], expected);
    assert!(request.redacted.contains("&wxToken=***&"));
    assert!(!request.redacted.contains("user%2Btoken"));
}

#[test]
fn account_types_have_the_documented_numbers() {
    let registry = api(REGISTRATION.name, "");
    for (word, number) in [
        ("qq", "1"),
        ("wechat", "2"),
        ("phone", "4"),
        ("device", "8"),
        ("other", "0"),
        ("phone_md5", "10004"),
    ] {
        let claim = claim(json!({ "account": { "type": word } }));
        assert_eq!(fault_of(&registry, &claim), None);
        let wire = wire(&only(&registry).request(&claim, &ATTEMPT));
        assert!(wire.contains(&("accountType".to_owned(), number.to_owned())), "{word}");
    }
}

#[test]
fn claims_that_the_api_would_not_take_are_malformed() {
    let registry = api(REGISTRATION.name, "");
    for (changes, error, field) in [
        (json!({ "account": { "type": "email" } }), "invalid_value", "account.type"),
        (json!({ "account": { "type": "phone_code" } }), "invalid_value", "account.type"),
        (json!({ "account": { "type": "qq", "app_id": null } }), "missing_field", "account.app_id"),
        (json!({ "reward": { "goods": "" } }), "missing_field", "reward.goods"),
        (json!({ "login": { "nonce": null } }), "missing_field", "login.nonce"),
        (json!({ "client": { "address": "区".repeat(4000) } }), "out_of_range", "client.address"),
    ] {
        assert_eq!(fault_of(&registry, &claim(changes)), Some((error, field.to_owned())));
    }
    let official_account = claim(json!({ "login": { "wechat_subtype": 1, "nonce": null } }));
    assert_eq!(fault_of(&registry, &official_account), None);
}

#[test]
fn a_leading_at_sign_is_refused_on_post_only() {
    let claim = claim(json!({ "account": { "id": "@alice" } }));
    assert_eq!(fault_of(&api(REGISTRATION.name, ""), &claim), None);
    let by_post = api(REGISTRATION.name, "method = 'POST'");
    assert_eq!(fault_of(&by_post, &claim), Some(("invalid_value", "account.id".to_owned())));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one line per fixture")]
fn answers_are_read_tolerantly_and_never_guessed() {
    let registry = api(REGISTRATION.name, "");
    let no_level = || transient("malformed_answer", 0);
    readings(
        only(&registry),
        REGISTRATION.name,
        &[
            ("document_sample.json", level(0, &[])),
            ("document_sample_of_the_family.json", level(1, &[1])),
            ("full_answer.json", level(2, &[101])),
            ("level_capitalised.json", level(3, &[102, 103])),
            ("keys_in_odd_case_and_blanks.json", level(4, &[2, 206])),
            ("numbers_as_text.json", level(2, &[101, -1, 201])),
            ("byte_order_mark.json", level(0, &[])),
            ("risk_type_absent.json", level(1, &[])),
            ("risk_type_null.json", level(1, &[])),
            ("risk_type_empty.json", level(1, &[])),
            ("risk_type_empty_text.json", level(1, &[])),
            ("risk_type_single.json", level(1, &[101])),
            ("risk_type_unknown.json", level(1, &[11, 21, 1011, -1])),
            ("risk_type_not_numbers.json", no_level()),
            ("risk_type_object.json", no_level()),
            ("risk_type_too_large.json", level(0, &[])),
            ("not_a_public_ip.json", level(0, &[205])),
            ("same_key_same_value.json", level(1, &[])),
            ("same_key_other_value.json", no_level()),
            ("code_twice.json", malformed()),
            ("level_absent.json", no_level()),
            ("level_null.json", no_level()),
            ("level_out_of_range.json", no_level()),
            ("level_negative.json", no_level()),
            ("level_fraction.json", no_level()),
            ("level_huge.json", no_level()),
            ("level_word.json", no_level()),
            ("level_boolean.json", no_level()),
            ("level_list.json", no_level()),
            ("code_absent.json", malformed()),
            ("code_null.json", malformed()),
            ("code_word.json", malformed()),
            ("error_as_text.json", transient("operation_failed", 5100)),
            ("error_4000_with_module_code.json", unassessable("bad_parameter", 4000)),
            ("error_4100.json", access_denied("bad_signature", 4100)),
            ("error_4500.json", again("request_replayed", 4500, RetryHint::FreshSignature)),
            ("error_with_level.json", transient("internal_error", 6000)),
            ("error_13.json", lasting("insufficient_balance", 13)),
            ("error_unknown.json", transient("unknown_code", -3001)),
            ("message_in_gbk.json", level(1, &[])),
            ("nul_in_message.json", level(1, &[])),
            ("lone_surrogate_in_message.json", level(1, &[])),
            ("html.html", malformed()),
            ("empty.txt", malformed()),
            ("blank.txt", malformed()),
            ("nul_bytes.bin", malformed()),
            ("truncated.json", malformed()),
            ("truncated_after_level.json", malformed()),
            ("trailing_text.json", malformed()),
            ("array.json", malformed()),
            ("text.json", malformed()),
            ("number.json", malformed()),
            ("deep_nesting.json", level(1, &[])),
            ("deep_nesting_of_level.json", no_level()),
            ("deep_nesting_unclosed.json", malformed()),
            ("http_403_html.html", http_4xx_of_the_set_up()),
            ("http_400_html.html", http_4xx()),
            ("http_400_envelope.json", unassessable("bad_parameter", 4000)),
            ("http_400_claims_success.json", http_4xx()),
        ],
    );
}

#[test]
fn raw_control_characters_in_irrelevant_texts_are_tolerated() {
    let registry = api(REGISTRATION.name, "");
    let reading = |body: &str| read(only(&registry), 200, body);
    for control in ['\n', '\t', '\r', '\0', '\u{1f}'] {
        let message = |text: &str| format!("{{\"code\":0,\"message\":\"{text}\",\"level\":3}}");
        assert_eq!(reading(&message(&format!("a{control}b"))), level(3, &[]), "{control:?}");
        assert_eq!(
            reading(&format!("{{\"code\":\"0{control}x\",\"level\":3}}")),
            malformed(),
            "{control:?}"
        );
        let of_level = reading(&format!("{{\"code\":0,\"level\":\"{control}x\"}}"));
        assert_eq!(of_level, transient("malformed_answer", 0), "{control:?}");
    }
    assert_eq!(
        reading("{\"code\":4000,\"message\":\"uid\u{1}\"}"),
        unassessable("bad_parameter", 4000)
    );
    assert_eq!(
        reading("{\"code\":0,\u{1}\"level\":3}"),
        malformed(),
        "outside of texts it is no JSON"
    );
}

#[test]
fn a_huge_list_of_risk_types_is_cut_and_keeps_those_that_decide() {
    let registry = api(REGISTRATION.name, "");
    let answer = |types: &[i32]| {
        let answer = json!({ "code": 0, "level": 0, "riskType": types });
        read(only(&registry), 200, &answer.to_string())
    };
    let unknown: Vec<i32> = (1_000..100_000).collect();
    assert_eq!(answer(&unknown), level(0, &unknown[..64]));
    let kept = [&unknown[..62], &[4, 205]].concat();
    assert_eq!(answer(&[&unknown[..], &[4, 205]].concat()), level(0, &kept));
    assert_eq!(answer(&vec![1; 500_000]), level(0, &[1]));
}

#[test]
fn risk_types_are_those_of_2021() {
    use crate::decision::Effect::{Approves, Explains, NotAssessed, Rejects};
    let registry = api(REGISTRATION.name, "");
    let effect = |code| only(&registry).risk_type(code).map(|risk_type| risk_type.effect);
    assert_eq!([4, 5].map(effect), [Some(Rejects), Some(Approves)]);
    assert_eq!([3, 104, 205].map(effect), [Some(NotAssessed); 3]);
    assert_eq!([1, 2, 101, 102, 103, 201, 206].map(effect), [Some(Explains); 7]);
    assert_eq!([0, 6, 105, 202, 203, 204, 301].map(effect), [None; 7]);
    assert_eq!(only(&registry).risk_type(101).map(|found| found.name), Some("batch_operation"));
}
