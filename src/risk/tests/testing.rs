//! What the tests of the risk APIs share: claims, configurations, and tables of fixtures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, File, FileFormat};
use serde_json::{Value, json};

use crate::claim::Claim;
use crate::decision::Assessment;
use crate::risk::{
    Answer, ApiId, ApiResult, Attempt, Fault, FaultReason, Registry, Request, RetryHint, RiskApi,
    SectionError, Shared, tencent_cloud, wechat,
};

/// The credentials of Tencent's documents, and the transient codes.
pub(in crate::risk) const CREDENTIALS: &str = r#"
    [tencent_cloud]
    secret_id = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA"
    secret_key = "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA"
    [wechat]
    app_id = "wx0000000000000001"
    app_secret = "app+secret"
    [retry]
    transient_codes = [4, 5, 6, 7, 8, 9, 10, 13]
"#;

/// A registry from the text of a configuration.
pub(in crate::risk) fn registry(toml: &str) -> Result<Registry, SectionError> {
    build(&Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build().unwrap())
}

pub(in crate::risk) fn build(config: &Config) -> Result<Registry, SectionError> {
    let shared = Shared {
        tencent_cloud: config
            .get::<tencent_cloud::Settings>("tencent_cloud")
            .unwrap_or_default()
            .into(),
        wechat: config.get::<wechat::Settings>("wechat").unwrap_or_default().into(),
        transient_codes: config.get("retry.transient_codes").unwrap_or_default(),
    };
    let sections: BTreeMap<_, _> =
        config.get_table("risk").unwrap_or_default().into_iter().collect();
    Registry::new(sections, &shared).map_err(|mut faults| faults.swap_remove(0))
}

/// One API with these keys in its section.
pub(in crate::risk) fn api(name: &str, keys: &str) -> Registry {
    registry(&format!("{CREDENTIALS}\n[risk.{name}]\n{keys}")).unwrap()
}

/// The only API of a registry.
pub(in crate::risk) fn only(registry: &Registry) -> &dyn RiskApi {
    assert_eq!(registry.len(), 1);
    registry.iter().next().unwrap().1.api.as_ref()
}

/// The claim of the contract, all fields set, with changes: `null` takes a field away.
pub(in crate::risk) fn claim(changes: Value) -> Claim {
    let mut event = json!({
        "claim_id": "clm-20210930-000017",
        "kind": "qr_code",
        "claimed_at": 1_632_994_480,
        "account": {
            "type": "wechat", "id": "oPDER5U0VMARiyXxUruU4SYmyOiw", "app_id": "wx0000000000000001",
            "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687", "registered_at": 1_436_673_889,
        },
        "client": {
            "ip": "121.14.96.121", "device_id": "device-1", "imei": "imei-1", "mac": "00:11:22:33:44:55",
            "wifi_bssid": "66:77:88:99:aa:bb", "cookie_hash": "c0ffee", "referer": "https://example.com/?a=b",
            "forwarded_for": "10.0.0.1, 121.14.96.121", "address": "广东省深圳市南山区",
            "latitude": 22.5405, "longitude": 113.9345,
        },
        "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "user+token" },
        "reward": {
            "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10,
            "merchant": "merchant-1",
        },
        "identity": { "certificate_id": "certificate-1" },
        "captcha": { "type": 1, "business_id": 1, "scene_id": 2, "ticket": "ticket+1" },
    });
    merge(&mut event, changes);
    parse(&event)
}

/// A claim with only these fields.
pub(in crate::risk) fn parse(event: &Value) -> Claim {
    Claim::parse(Some(event.to_string().as_bytes()), 1 << 20).unwrap()
}

fn merge(into: &mut Value, changes: Value) {
    match changes {
        Value::Object(changes) if into.is_object() => {
            changes.into_iter().for_each(|(key, change)| merge(&mut into[key], change));
        }
        change => *into = change,
    }
}

/// The attempt of the published vectors.
pub(in crate::risk) const ATTEMPT: Attempt<'static> =
    Attempt { number: 1, now: 1_632_994_483, nonce: 3_557_156_860, token: Some("access+token") };

/// The decoded parameters of a Tencent Cloud request, in the order on the wire.
pub(in crate::risk) fn wire(request: &Request) -> Vec<(String, String)> {
    let text = match &request.body {
        Some((_, body)) => body.as_str(),
        None => request.url.split_once('?').unwrap().1,
    };
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    text.split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

/// Asserts that a claim is routed, or else which field is at fault and how.
pub(in crate::risk) fn fault_of(
    registry: &Registry,
    claim: &Claim,
) -> Option<(&'static str, String)> {
    registry
        .route(claim)
        .map(ApiId::index)
        .err()
        .map(|fault| (fault.error.as_str(), fault.field.unwrap_or_default()))
}

/// Reads every file of `tests/fixtures/<folder>/` and compares it with the table, which must name
/// them all. A file whose name begins with `http_<status>_` is an answer with that status.
pub(in crate::risk) fn readings(api: &dyn RiskApi, folder: &str, expected: &[(&str, ApiResult)]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    for (name, reading) in expected {
        let body =
            std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let status = name.strip_prefix("http_").map_or(200, |rest| rest[..3].parse().unwrap());
        assert_eq!(api.read(&Answer { status, body: &body }), *reading, "{name}");
    }
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let named: BTreeSet<_> = expected.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), named, "every fixture is in the table");
}

pub(in crate::risk) fn level(level: u8, risk_types: &[i32]) -> ApiResult {
    ApiResult::Assessed {
        assessment: Assessment::Level { level, risk_types: risk_types.to_vec() },
        provider_code: 0,
    }
}

/// The tests repeat the words literally, because outside systems see them.
pub(in crate::risk) fn fault(reason: &str, code: i64) -> Fault {
    Fault::coded(FaultReason::from_word(reason).expect("a reason"), code)
}

pub(in crate::risk) fn transient(reason: &str, code: i64) -> ApiResult {
    again(reason, code, RetryHint::Backoff)
}

/// A transient fault that is retried after a minute.
pub(in crate::risk) fn transient_for_a_minute(reason: &str, code: i64) -> ApiResult {
    again(reason, code, RetryHint::After(Duration::from_secs(60)))
}

/// A transient fault that opens the breaker.
pub(in crate::risk) fn lasting(reason: &str, code: i64) -> ApiResult {
    again(reason, code, RetryHint::Lasting)
}

pub(in crate::risk) fn again(reason: &str, code: i64, again: RetryHint) -> ApiResult {
    ApiResult::Transient(fault(reason, code), again)
}

pub(in crate::risk) fn unassessable(reason: &str, code: i64) -> ApiResult {
    ApiResult::Unassessable(fault(reason, code))
}

pub(in crate::risk) fn access_denied(reason: &str, code: i64) -> ApiResult {
    ApiResult::AccessDenied(fault(reason, code))
}

/// An unreadable answer with 2xx.
pub(in crate::risk) fn malformed() -> ApiResult {
    ApiResult::transient(FaultReason::MalformedAnswer)
}

/// An unreadable answer with 4xx that means a fault of this request.
pub(in crate::risk) fn http_4xx() -> ApiResult {
    ApiResult::Unassessable(FaultReason::Http4xx.into())
}

/// An unreadable answer with 4xx that means a fault of the configuration.
pub(in crate::risk) fn http_4xx_of_the_set_up() -> ApiResult {
    ApiResult::AccessDenied(FaultReason::Http4xx.into())
}

/// An answer of an API with only a code.
pub(in crate::risk) fn read(api: &dyn RiskApi, status: u16, body: &str) -> ApiResult {
    api.read(&Answer { status, body: body.as_bytes() })
}
