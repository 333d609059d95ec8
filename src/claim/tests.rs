use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MAX_BYTES: usize = 1 << 20;

/// The contract's own example (section 3.1).
fn full() -> Value {
    json!({
        "claim_id": "clm-20210930-000017", "kind": "qr_code", "claimed_at": 1_632_994_480,
        "account": { "type": "wechat", "id": "oPDER5U0VMARiyXxUruU4SYmyOiw", "app_id": "wx0000000000000001",
                     "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687", "registered_at": 1_436_673_889 },
        "client": { "ip": "121.14.96.121", "device_id": "d", "imei": "i", "mac": "m", "wifi_bssid": "w", "cookie_hash": "c",
                    "referer": "r", "forwarded_for": "f", "address": "a", "latitude": 22.5405, "longitude": 113.9345 },
        "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "t" },
        "reward": { "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10, "merchant": "x" },
        "identity": { "certificate_id": "y" },
        "captcha": { "type": 1, "business_id": 1, "scene_id": 2, "ticket": "z" }
    })
}

fn parse(event: &Value) -> Result<Claim, Malformed> {
    Claim::parse(Some(event.to_string().as_bytes()), MAX_BYTES)
}

fn with(pointer: &str, value: Value) -> Value {
    let mut event = full();
    *event.pointer_mut(pointer).expect("the field exists") = value;
    event
}

fn without(pointer: &str) -> Value {
    let mut event = full();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    event.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(field);
    event
}

#[test]
fn the_contracts_example_is_read_whole() {
    let claim = parse(&full()).expect("well-formed");
    assert_eq!(claim.subject(), (AccountType::Wechat, "oPDER5U0VMARiyXxUruU4SYmyOiw"));
    assert_eq!(claim.claimed_at, 1_632_994_480);
    assert_eq!(serde_json::to_value(&claim).expect("serialises"), full(), "no field is lost");
}

#[test]
fn a_time_may_be_a_text() {
    let claim = parse(&with("/claimed_at", json!("2021-09-30T17:34:40+08:00"))).expect("well-formed");
    assert_eq!(claim.claimed_at, 1_632_994_480);
}

#[test]
fn a_missing_null_or_empty_required_field_is_named() {
    let required =
        ["claim_id", "kind", "claimed_at", "account", "account/type", "account/id", "client", "client/ip"];
    for field in required {
        let pointer = format!("/{field}");
        for event in [without(&pointer), with(&pointer, Value::Null), with(&pointer, json!(""))] {
            let malformed = parse(&event).expect_err("incomplete");
            assert_eq!(
                (malformed.error, malformed.field),
                ("missing_field", Some(field.replace('/', "."))),
                "{event}"
            );
        }
    }
}

#[test]
fn an_empty_optional_field_is_as_good_as_none() {
    for pointer in
        ["/login", "/reward", "/account/phone", "/client/latitude", "/reward/share", "/captcha/type"]
    {
        let none = parse(&without(pointer)).expect("optional");
        assert_eq!(parse(&with(pointer, json!(""))).expect("optional"), none, "{pointer}");
        assert_eq!(
            parse(&with(pointer, Value::Null)).expect("optional").fingerprint(),
            none.fingerprint(),
            "{pointer}"
        );
    }
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    let wrong = [
        ("/claim_id", json!(17)),
        ("/account/id", json!(["x"])),
        ("/account/type", json!("fax")),
        ("/claimed_at", json!("yesterday")),
        ("/claimed_at", json!(1.5)),
        ("/client/latitude", json!("north")),
        ("/reward/share", json!(-1)),
        ("/login", json!(3)),
        ("/captcha/type", json!(300)),
        ("/client", json!("x")),
    ];
    for (pointer, value) in wrong {
        let malformed = parse(&with(pointer, value)).expect_err("of the wrong type");
        let field = pointer.trim_start_matches('/').replace('/', ".");
        assert_eq!(
            (malformed.error, malformed.field.as_deref()),
            ("wrong_type", Some(field.as_str())),
            "{}",
            malformed.detail
        );
    }
}

#[test]
fn a_value_out_of_range_is_named() {
    let out = [
        ("/client/latitude", json!(90.01)),
        ("/client/longitude", json!(-180.5)),
        ("/captcha/type", json!(9)),
        ("/captcha/type", json!(0)),
        ("/login/type", json!(4)),
        ("/login/source", json!(5)),
        ("/login/wechat_subtype", json!(3)),
        ("/claimed_at", json!(-1)),
        ("/claimed_at", json!(1_632_994_480_000_i64)),
        ("/claim_id", json!("x".repeat(129))),
    ];
    for (pointer, value) in out {
        let malformed = parse(&with(pointer, value)).expect_err("out of range");
        assert_eq!(malformed.error, "out_of_range", "{pointer}");
    }
    assert!(parse(&with("/claim_id", json!("é".repeat(128)))).is_ok(), "characters are counted, not bytes");
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (b"[]", "not_an_object"),
        (b"\"x\"", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{\"claim_id\":", "not_json"),
        (b"{} {}", "not_json"),
        (b"[\"a\",\"qr_code\",1]", "not_an_object"),
        (b"{\"claim_id\":\"\\ud800\"}", "not_json"),
    ];
    for (payload, error) in cases {
        let malformed = Claim::parse(Some(payload), MAX_BYTES).expect_err("no claim");
        assert_eq!(malformed.error, error, "{}: {}", payload.escape_ascii(), malformed.detail);
    }
    assert_eq!(Claim::parse(None, MAX_BYTES).expect_err("no claim").error, "tombstone");
    assert_eq!(Claim::parse(Some(b"{}   "), 4).expect_err("no claim").error, "too_large");
}

#[test]
fn a_nul_is_no_part_of_an_id_and_survives_elsewhere() {
    assert_eq!(parse(&with("/claim_id", json!("a\0b"))).expect_err("no id").error, "invalid_value");
    assert_eq!(parse(&with("/account/id", json!("a\0b"))).expect("kept").account.id, "a\0b");
}

#[test]
fn an_unknown_field_is_ignored_and_does_not_change_the_fingerprint() {
    let mut event = full();
    event["campaign"] = json!({"deep": [1, 2, {"x": null}]});
    assert_eq!(
        parse(&event).expect("well-formed").fingerprint(),
        parse(&full()).expect("well-formed").fingerprint()
    );
    assert_ne!(
        parse(&with("/reward/share", json!(2))).expect("well-formed").fingerprint(),
        parse(&full()).expect("well-formed").fingerprint()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Claim::parse(Some(&bytes), MAX_BYTES).is_err());
    }

    #[test]
    fn any_damage_to_a_good_event_is_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = full().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(malformed) = Claim::parse(Some(&bytes), MAX_BYTES) {
            prop_assert!(!malformed.error.is_empty());
        }
    }
}
