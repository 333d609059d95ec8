//! The published JSON Schemas hold for real messages, and say of an event what the worker says.

use std::collections::BTreeSet;

use claimgate::claim::{Claim, DeadLetterReason, EventError};
use claimgate::config::Config;
use claimgate::decision::{Decision, Reason, Source};
use claimgate::intake::{Admission, Assigned, Headers, Input, Ledger, Partition};
use claimgate::outbox::message::{self, Message};
use claimgate::outbox::{Completed, Received, RecordOutcome};
use claimgate::risk::Registry;
use claimgate::schema::Verdict;
use claimgate::trace::TraceContext;
use claimgate_demo::claims;
use jsonschema::Validator;
use serde_json::{Value, json};

const MAX_BYTES: usize = 1_000_000;

fn schema(name: &str) -> Value {
    let path = format!("{}/schemas/{name}.v1.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the schema is there");
    serde_json::from_str(&text).expect("the schema is JSON")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

fn demand(validator: &Validator, instance: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(instance)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{instance}\n{}", errors.join("\n"));
}

fn registry() -> Registry {
    let credentials = "[tencent_cloud]\nsecret_id = 'i'\nsecret_key = 'k'\n[wechat]\n\
        app_id = 'wx'\napp_secret = 's'";
    let (registry, _) =
        Config::from_toml(credentials).expect("good").risk_apis().expect("every API builds");
    registry
}

/// What the worker makes of an event.
fn judged(registry: &Registry, event: &Value) -> Result<(), DeadLetterReason> {
    let claim = Claim::parse(Some(event.to_string().as_bytes()), MAX_BYTES)?;
    registry.route(&claim).map(drop)
}

/// The contract's own example, with every field, as a claim of this kind.
fn full(kind: &str) -> Value {
    json!({
        "claim_id": "clm-20210930-000017", "kind": kind, "claimed_at": 1_632_994_480,
        "account": { "type": "wechat", "id": "oPDER5U0VMARiyXxUruU4SYmyOiw", "app_id": "wx0000000000000001",
                     "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687", "registered_at": 1_436_673_889 },
        "client": { "ip": "121.14.96.121", "device_id": "d", "imei": "i", "mac": "m", "wifi_bssid": "w", "cookie_hash": "c",
                    "referer": "r", "forwarded_for": "f", "address": "a", "latitude": 22.5405, "longitude": 113.9345 },
        "login": { "type": 3, "source": 3, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "t" },
        "reward": { "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10, "merchant": "x" },
        "identity": { "certificate_id": "y" },
        "captcha": { "type": 1, "business_id": 1, "scene_id": 2, "ticket": "z" }
    })
}

const KINDS: &[&str] =
    &["qr_code", "mini_program", "wechat_marketing", "wechat_account", "captcha", "captcha_check"];

fn pointers(event: &Value) -> Vec<String> {
    let mut pointers = Vec::new();
    for (name, value) in event.as_object().expect("an object") {
        pointers.push(format!("/{name}"));
        pointers.extend(
            value.as_object().into_iter().flatten().map(|(field, _)| format!("/{name}/{field}")),
        );
    }
    pointers
}

#[test]
fn the_schemas_are_schemas_and_hold_for_their_own_examples() {
    for name in ["claim", "decision", "dead-letter"] {
        let schema = schema(name);
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        let validator = validator(&schema);
        for example in schema["examples"].as_array().expect("examples") {
            demand(&validator, example);
        }
    }
}

/// One field at a time is given every sort of value, or taken away: schema and worker must agree
/// whether that is a claim. What is put in the place of each field.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(""),
        json!("x"),
        json!("2021-09-30T17:34:40+08:00"),
        json!("phone"),
        json!("email"),
        json!("device"),
        json!("qq"),
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(4),
        json!(8),
        json!(9),
        json!(-1),
        json!(-91),
        json!(300),
        json!(90.01),
        json!(4_294_967_296_i64),
        json!(1_632_994_480_000_i64),
        json!(true),
        json!([]),
        json!({}),
        json!("a\u{0}b"),
        json!("\t121.14.96.121 "),
        json!("121.14.96.121:443"),
        json!("121.14.96.121, 10.0.0.1"),
        json!("[::1]:443"),
        json!("::1"),
        json!("fe80::1%eth0"),
        json!("10.0.0.0/8"),
        json!(" "),
        json!(1.0),
        json!(1_632_994_480.0),
        json!("é".repeat(128)),
        json!("é".repeat(129)),
    ]
}

#[test]
fn the_schema_of_claims_accepts_what_the_worker_accepts() {
    let values = values();
    let (validator, registry) = (validator(&schema("claim")), registry());
    let agree = |event: &Value, what: &str| {
        let judged = judged(&registry, event);
        // The configuration says which kinds there are.
        if judged.as_ref().is_err_and(|malformed| malformed.error == EventError::UnknownKind) {
            return;
        }
        assert_eq!(validator.is_valid(event), judged.is_ok(), "{what}: the worker says {judged:?}");
    };
    for kind in KINDS {
        let whole = full(kind);
        demand(&validator, &whole);
        for pointer in pointers(&whole) {
            for value in &values {
                let mut event = whole.clone();
                *event.pointer_mut(&pointer).expect("it is there") = value.clone();
                agree(&event, &format!("{kind} with {pointer} = {value}"));
            }
            let mut event = whole.clone();
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            event
                .pointer_mut(parent)
                .and_then(Value::as_object_mut)
                .expect("an object")
                .remove(field);
            agree(&event, &format!("{kind} without {pointer}"));
        }
    }
}

#[test]
fn the_schema_accepts_the_demos_claims_only() {
    let (validator, registry) = (validator(&schema("claim")), registry());
    let words: BTreeSet<String> = known_errors();
    for event in claims::generate(1_000, 11) {
        let dead_letter = event.expected.dead_letter().map(|(error, _)| error);
        assert!(
            dead_letter.is_none_or(|error| words.contains(error)),
            "{dead_letter:?} is not in the schema"
        );
        let Some(Ok(json)) = event.payload.as_deref().map(serde_json::from_slice::<Value>) else {
            continue;
        };
        if !matches!(dead_letter, Some("too_large" | "unknown_kind" | "claim_id_conflict")) {
            assert_eq!(validator.is_valid(&json), dead_letter.is_none(), "{dead_letter:?} {json}");
            assert_eq!(judged(&registry, &json).is_ok(), dead_letter.is_none(), "{json}");
        }
    }
}

fn known_errors() -> BTreeSet<String> {
    let schema = schema("dead-letter");
    let examples =
        schema["properties"]["claimgate-error"]["examples"].as_array().expect("examples");
    examples.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}

fn verdict(decision: Decision, reasons: Vec<Reason>) -> Verdict {
    Verdict {
        decision,
        reasons,
        level: None,
        provider_code: None,
        policy_version: format!("sha256:{}", "0f".repeat(32)),
        decided_at: 1_632_994_481_250_001,
        source: source(),
        ..Verdict::ordinary("clm-20210930-000017")
    }
}

fn source() -> Source {
    Source { topic: "reward.claims".to_owned(), partition: 3, offset: 8812 }
}

/// What the worker publishes for a record that ends so.
fn published(outcome: RecordOutcome, headers: Headers, max_bytes: usize) -> Message {
    let mut ledger = Ledger::default();
    let partition = Partition { input: Input::Claims, number: 3 };
    ledger.assign(&Assigned {
        partition,
        epoch: 1,
        offset: Some(8812),
        metadata: String::new(),
        log_end: 9000,
    });
    let Admission::Ticket(ticket) = ledger.admit(partition, 8812, 1) else {
        panic!("the partition is assigned")
    };
    let received = Received {
        source: source(),
        key: Some(b"k".to_vec()),
        headers,
        payload: Some(vec![b'x'; 5_000]),
        received_at: 1,
        trace: TraceContext { trace_id: 0x4bf9, span_id: 7, flags: 1, ..TraceContext::fresh(0) },
    };
    let completed = Completed { ticket, received, claim_id: None, outcome };
    message::of(&completed, false, max_bytes).expect("published")
}

fn verdicts() -> Vec<Verdict> {
    let reason = Reason::new;
    let risk_type = Reason {
        group: Some("behaviour".to_owned()),
        ..reason("risk_type", Some(101), Some("batch_operation"))
    };
    vec![
        Verdict {
            level: Some(2),
            risk_types: vec![101],
            provider_code: Some(0),
            ..verdict(Decision::Challenge, vec![reason("level", Some(2), None), risk_type])
        },
        Verdict {
            challenge: Some("(function(){})();".repeat(400)),
            provider_code: Some(0),
            ..verdict(Decision::Challenge, vec![reason("captcha", None, None)])
        },
        verdict(Decision::Reject, vec![reason("ticket", None, Some("invalid"))]),
        verdict(Decision::Review, vec![reason("unassessable", Some(-1), Some("bad_parameter"))]),
        Verdict {
            attempts: 0,
            ..verdict(Decision::Approve, vec![reason("unassessed", None, Some("timeout"))])
        },
    ]
}

#[test]
fn decisions_match_their_schema_without_extra_fields() {
    let schema = schema("decision");
    let validator = validator(&schema);
    let declared = schema["properties"].as_object().expect("properties");
    for verdict in verdicts() {
        for max_bytes in [MAX_BYTES, 2_048] {
            let message =
                published(RecordOutcome::Decided(Box::new(verdict.clone())), vec![], max_bytes);
            let decision: Value =
                serde_json::from_slice(&message.payload.expect("a payload")).expect("JSON");
            demand(&validator, &decision);
            for (name, _) in decision.as_object().expect("an object") {
                assert!(declared.contains_key(name), "{name} is not in the schema");
            }
            for name in
                schema["required"].as_array().expect("names").iter().filter_map(Value::as_str)
            {
                let mut less = decision.clone();
                less.as_object_mut().expect("an object").remove(name);
                assert!(!validator.is_valid(&less), "without {name} it is no decision");
            }
        }
    }
}

#[test]
fn the_schema_refuses_unusable_decisions() {
    let validator = validator(&schema("decision"));
    let message =
        published(RecordOutcome::Decided(Box::new(verdicts().remove(0))), vec![], MAX_BYTES);
    let decision: Value =
        serde_json::from_slice(&message.payload.expect("a payload")).expect("JSON");
    for (name, value) in [
        ("decision", json!("pay")),
        ("decision_id", json!("17")),
        ("claim_id", json!("")),
        ("level", json!("2")),
        ("claimed_at", json!(1_632_994_480)),
        ("policy_version", json!("v1")),
        ("source", json!("reward.claims/3/8812")),
        ("trace_id", json!("")),
        ("truncated", json!(false)),
    ] {
        let mut other = decision.clone();
        other[name] = value;
        assert!(!validator.is_valid(&other), "{name}");
    }
}

/// docs/settlement.md, "How it may change": a consumer that holds messages against today's schema
/// must not refuse them.
#[test]
fn what_may_be_added_to_decisions_is_valid_to_the_schema_of_today() {
    let validator = validator(&schema("decision"));
    let message =
        published(RecordOutcome::Decided(Box::new(verdicts().remove(0))), vec![], MAX_BYTES);
    let decision: Value =
        serde_json::from_slice(&message.payload.expect("a payload")).expect("JSON");
    let reason = json!({ "code": "later", "name": "later", "group": "later", "later": true });
    for (name, value) in [
        ("later", json!({ "a": [null] })),
        ("reasons", json!([reason])),
        ("kind", json!("later")),
        ("api", json!("later")),
        ("api_schema", json!("later")),
    ] {
        let mut later = decision.clone();
        later[name] = value;
        demand(&validator, &later);
    }
}

#[test]
fn the_headers_of_dead_letters_are_what_their_schema_says() {
    let schema = schema("dead-letter");
    let validator = validator(&schema);
    let own =
        vec![("tenant".to_owned(), Some(b"a".to_vec())), ("claimgate-error".to_owned(), None)];
    let long = "account.".repeat(100);
    for malformed in [
        DeadLetterReason::missing("account.id"),
        DeadLetterReason::event(EventError::Tombstone, "the event has no payload"),
        DeadLetterReason::field(EventError::WrongType, &long, "?"),
    ] {
        for (max_bytes, truncated) in [(MAX_BYTES, false), (4_096, true)] {
            let message =
                published(RecordOutcome::DeadLettered(malformed.clone()), own.clone(), max_bytes);
            let headers: Value = message
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        json!(String::from_utf8_lossy(value.as_deref().unwrap_or_default())),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into();
            demand(&validator, &headers);
            assert_eq!(
                (headers.get("claimgate-truncated").is_some(), headers.get("tenant").is_some()),
                (truncated, !truncated)
            );
            let declared =
                |name: &String| name == "tenant" || schema["properties"].get(name).is_some();
            assert!(headers.as_object().expect("an object").keys().all(declared), "{headers}");
        }
    }
}
