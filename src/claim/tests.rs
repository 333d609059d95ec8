use std::collections::BTreeSet;

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

fn parse(event: &Value) -> Result<Claim, DeadLetterReason> {
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
    let text = full().to_string();
    let kept = without_secrets(text.as_bytes());
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    assert_eq!(serde_json::to_value(&claim).expect("serialises"), kept, "no field is lost");
}

#[test]
fn a_time_may_be_a_text() {
    let claim =
        parse(&with("/claimed_at", json!("2021-09-30T17:34:40+08:00"))).expect("well-formed");
    assert_eq!(claim.claimed_at, 1_632_994_480);
}

/// A payload, and the error word, the field and a part of the sentence that it must lead to.
type Told<'a> = (Vec<u8>, &'a str, Option<&'a str>, &'a str);

fn assert_told(cases: &[Told<'_>]) {
    for (payload, error, field, words) in cases {
        let malformed = Claim::parse(Some(payload), MAX_BYTES).expect_err(words);
        let said = (malformed.error.as_str(), malformed.field.as_deref());
        assert_eq!(said, (*error, *field), "{}", malformed.detail);
        assert!(malformed.detail.contains(words), "{words:?} is not in {:?}", malformed.detail);
    }
}

/// Payloads that producers really sent in place of an event.
#[test]
fn payloads_of_other_formats_are_recognised() {
    let json = full().to_string();
    let text = |event: &str| event.as_bytes().to_vec();
    let utf_16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let connect = json!({"schema": {}, "payload": full()}).to_string();
    assert_told(&[
        (
            [b"\0\0\0\x01\x02", json.as_bytes()].concat(),
            "not_json",
            None,
            "Schema Registry (schema 258)",
        ),
        (
            [b"\0\0\0\x01\xf2", json.as_bytes()].concat(),
            "not_utf8",
            None,
            "Schema Registry (schema 498)",
        ),
        (vec![0x1f, 0x8b, 8, 0], "not_utf8", None, "gzip"),
        ([&[0xff, 0xfe], &utf_16[..]].concat(), "not_utf8", None, "UTF-16"),
        (utf_16, "not_json", None, "UTF-16"),
        (vec![], "not_json", None, "empty"),
        (text("{'claim_id': 'x'}"), "not_json", None, "double"),
        (text(&format!("{json}\n{json}")), "not_json", None, "one event a message"),
        (text("{\"claim_id\":\"a\",\"15912345687\":{\"name\":"), "not_json", None, "EOF"),
        (text("{\"client\":{\"15912345687\":[1,}}"), "not_json", None, "line 1 column"),
        (
            text(&serde_json::to_string(&json).expect("a text")),
            "not_an_object",
            None,
            "encoded twice",
        ),
        (text(&format!("[{json}]")), "not_an_object", None, "one object a message"),
        (text(&connect), "missing_field", Some("claim_id"), "Kafka Connect"),
    ]);
}

/// Values that producers really wrote into a field.
#[test]
fn a_wrong_field_is_named_with_what_it_should_be() {
    let json = full().to_string();
    let twice = json.replacen('{', "{\"claim_id\":\"x\",", 1).into_bytes();
    let twice_within = json.replace("\"app_id\"", "\"id\"").into_bytes();
    let sent = |pointer: &str, value: Value| with(pointer, value).to_string().into_bytes();
    let (at, kind) = ("claimed_at", "account.type");
    assert_told(&[
        (twice, "duplicate_field", Some("claim_id"), "twice"),
        (twice_within, "duplicate_field", Some("account.id"), "twice"),
        (
            sent("/account/type", json!(2)),
            "wrong_type",
            Some(kind),
            "one of the words qq, wechat, phone",
        ),
        (
            sent("/account/type", json!("WeChat")),
            "wrong_type",
            Some(kind),
            "one of the words qq, wechat",
        ),
        (
            sent("/claimed_at", json!(1_632_994_480_123_i64)),
            "out_of_range",
            Some(at),
            "milliseconds",
        ),
        (
            sent("/claimed_at", json!(1_632_994_480_123_456_i64)),
            "out_of_range",
            Some(at),
            "microseconds",
        ),
        (sent("/claimed_at", json!("1632994480")), "wrong_type", Some(at), "number in quotes"),
        (sent("/claimed_at", json!("2021-09-30 17:34:40")), "wrong_type", Some(at), "time zone"),
    ]);
    let registered = sent("/account/registered_at", json!(1_436_673_889_000_i64));
    assert_told(&[(registered, "out_of_range", Some("account.registered_at"), "milliseconds")]);
}

#[test]
fn an_ip_field_takes_exactly_one_address() {
    let sent = |address: &str| with("/client/ip", json!(address)).to_string().into_bytes();
    let ip = Some("client.ip");
    assert_told(&[
        (sent("121.14.96.121:443"), "invalid_value", ip, "port"),
        (sent("[2001:db8::1]:443"), "invalid_value", ip, "port"),
        (sent("121.14.96.121, 10.0.0.1"), "invalid_value", ip, "more than one"),
        (sent("fe80::1%eth0"), "invalid_value", ip, "zone"),
        (sent("121.14.96.0/24"), "invalid_value", ip, "network"),
        (sent("  "), "missing_field", ip, "required"),
    ]);
}

/// A spelling with only one meaning is accepted, and gives the same claim.
#[test]
fn unambiguous_spellings_are_accepted() {
    let plain = parse(&full()).expect("well-formed").fingerprint();
    let marked = [b"\xef\xbb\xbf", full().to_string().as_bytes()].concat();
    assert_eq!(Claim::parse(Some(&marked), MAX_BYTES).expect("read").fingerprint(), plain);
    for event in [
        with("/claimed_at", json!(1_632_994_480.0)),
        with("/reward/share", json!(1.0)),
        with("/client/ip", json!(" 121.14.96.121\t")),
    ] {
        assert_eq!(parse(&event).expect("read").fingerprint(), plain, "{event}");
    }
    for address in ["2001:db8::1", "::ffff:121.14.96.121", "::1"] {
        assert_eq!(parse(&with("/client/ip", json!(address))).expect("read").ip(), address);
    }
    assert!(parse(&with("/claimed_at", json!(1e300))).is_err(), "beyond every whole number");
}

/// The pointers of all values within.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

/// The sentence is stored unencrypted, even if events are encrypted.
#[test]
fn no_sentence_repeats_a_value_or_is_without_a_bound() {
    let mut fields = Vec::new();
    pointers(&full(), "", &mut fields);
    let long = format!("15912345687,{}", "红".repeat(100_000));
    let values = [
        json!(15_912_345_687_000_000_u64),
        json!(-15_912_345_687_i64),
        json!(15_912_345_687.5),
        json!("15912345687:1"),
        json!("15912345687"),
        json!(long),
        json!([15_912_345_687_u64]),
        json!({"15912345687": 15_912_345_687_u64}),
        json!(true),
    ];
    let mut wrong = 0;
    for (field, value) in
        fields.iter().flat_map(|field| values.iter().map(move |value| (field, value)))
    {
        let Err(reason) = parse(&with(field, value.clone())) else { continue };
        wrong += 1;
        assert!(!reason.detail.contains("15912345687"), "{field}: {}", reason.detail);
        assert!(reason.detail.chars().count() < 400, "{field}: {}", reason.detail);
    }
    assert!(wrong > 100, "{wrong} events are wrong");
    let reason = DeadLetterReason::event(EventError::Unrecordable, long);
    assert!(reason.detail.chars().count() <= 2_000, "whoever wrote it");
}

#[test]
fn a_value_of_another_kind_is_told_by_its_kind() {
    for (field, value, words) in [
        ("/account/id", json!(15_912_345_687_u64), "found a number, expected a text"),
        ("/account/type", json!("WeChat"), "found a text, expected one of the words qq"),
        ("/login/token", json!(true), "found a boolean, expected a text"),
        ("/login/type", json!(1.5), "found a fraction or a very large number, expected a whole"),
        ("/reward/share", json!(u64::MAX), "found a very large number, expected a whole number"),
        ("/client/latitude", json!("north"), "found a text, expected a number"),
        ("/login", json!(3), "found a number, expected an object"),
    ] {
        let reason = parse(&with(field, value)).expect_err("of another kind");
        assert!(reason.detail.starts_with(words), "{field}: {}", reason.detail);
    }
}

#[test]
fn a_missing_null_or_empty_required_field_is_named() {
    let required = [
        "claim_id",
        "kind",
        "claimed_at",
        "account",
        "account/type",
        "account/id",
        "client",
        "client/ip",
    ];
    for field in required {
        let pointer = format!("/{field}");
        for event in [without(&pointer), with(&pointer, Value::Null), with(&pointer, json!(""))] {
            let malformed = parse(&event).expect_err("incomplete");
            assert_eq!(
                (malformed.error.as_str(), malformed.field),
                ("missing_field", Some(field.replace('/', "."))),
                "{event}"
            );
        }
    }
}

#[test]
fn an_empty_optional_field_is_as_good_as_none() {
    for pointer in [
        "/login",
        "/reward",
        "/account/phone",
        "/client/latitude",
        "/reward/share",
        "/captcha/type",
    ] {
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
        ("/login", json!(3)),
        ("/client", json!("x")),
    ];
    for (pointer, value) in wrong {
        let malformed = parse(&with(pointer, value)).expect_err("of the wrong type");
        let field = pointer.trim_start_matches('/').replace('/', ".");
        assert_eq!(
            (malformed.error.as_str(), malformed.field.as_deref()),
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
        ("/login/type", json!(300)),
        ("/login/source", json!(5)),
        ("/login/source", json!(-1)),
        ("/login/wechat_subtype", json!(3)),
        ("/reward/share", json!(-1)),
        ("/reward/daily_limit", json!(4_294_967_296_u64)),
        ("/reward/total_limit", json!(-1)),
        ("/captcha/business_id", json!(4_294_967_296_u64)),
        ("/captcha/scene_id", json!(-1)),
        ("/claimed_at", json!(-1)),
        ("/claimed_at", json!(1_632_994_480_000_i64)),
        ("/claim_id", json!("x".repeat(129))),
    ];
    for (pointer, value) in out {
        let malformed = parse(&with(pointer, value)).expect_err("out of range");
        assert_eq!(malformed.error.as_str(), "out_of_range", "{pointer}");
    }
    assert!(
        parse(&with("/claim_id", json!("é".repeat(128)))).is_ok(),
        "characters are counted, not bytes"
    );
}

#[test]
fn the_range_that_is_named_is_the_fields_own() {
    for (field, range) in [
        ("/login/type", "0 and 3"),
        ("/login/source", "0 and 4"),
        ("/login/wechat_subtype", "1 and 2"),
        ("/captcha/type", "1 and 8"),
        ("/captcha/scene_id", "0 and 4294967295"),
    ] {
        let reason = parse(&with(field, json!(-1))).expect_err("negative");
        assert_eq!(reason.detail, format!("it is not between {range}"), "{field}");
    }
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
        assert_eq!(
            malformed.error.as_str(),
            error,
            "{}: {}",
            payload.escape_ascii(),
            malformed.detail
        );
    }
    assert_eq!(Claim::parse(None, MAX_BYTES).expect_err("no claim").error.as_str(), "tombstone");
    assert_eq!(Claim::parse(Some(b"{}   "), 4).expect_err("no claim").error.as_str(), "too_large");
}

#[test]
fn a_nul_is_no_part_of_an_id_and_survives_elsewhere() {
    assert_eq!(
        parse(&with("/claim_id", json!("a\0b"))).expect_err("no id").error.as_str(),
        "invalid_value"
    );
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
            prop_assert!(!malformed.detail.is_empty());
        }
    }
}

#[test]
fn a_field_that_is_not_given_is_not_in_the_fingerprint() {
    let event = r#"{"claim_id":"c","kind":"qr_code","claimed_at":1,"account":{"type":"qq","id":"a"},"client":{"ip":"1.2.3.4"}}"#;
    let claim = Claim::parse(Some(event.as_bytes()), usize::MAX).expect("well-formed");
    // printf %s "$event" | sha256sum
    assert_eq!(hex::encode(claim.fingerprint()), EXPECTED);
}

const EXPECTED: &str = "377f8f8c901dbbe6aef197227f2d71eadecd6cbf9746c73ebb8db60cd36d80fa";

#[test]
fn the_errors_are_those_of_the_page_and_of_the_schema() {
    let errors = BTreeSet::from(EventError::ALL.map(EventError::as_str));
    let page = include_str!("../../docs/dead-letters.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| error | whose fault |")).skip(2);
    let cells = rows.map_while(|row| row.strip_prefix("| ")?.split('|').next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    assert_eq!(words.collect::<BTreeSet<_>>(), errors);
    let schema: Value =
        serde_json::from_str(include_str!("../../schemas/dead-letter.v1.json")).expect("a schema");
    let listed = schema["properties"]["claimgate-error"]["examples"].as_array();
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    assert_eq!(listed.collect::<BTreeSet<_>>(), errors);
}
