//! The registry of a configuration, and the errors of a wrong one.

use config::{Config, Environment, File, FileFormat};
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::risk::testing::*;
use crate::risk::{Answer, ApiResult, Fault, Fetch, Method, Request, Token};

fn fault(toml: &str) -> SectionError {
    registry(toml).err().unwrap()
}

fn section(name: &str, keys: &str) -> String {
    format!("{CREDENTIALS}\n[risk.{name}]\n{keys}\n")
}

#[test]
fn every_api_is_built_with_its_name_and_policy() {
    for registration in APIS {
        let registry = api(registration.name, "");
        let id = registry.find(registration.name).unwrap();
        assert_eq!(registry.kinds().collect::<Vec<_>>(), [(registration.kind, id)]);
        let route = registry.get(id);
        assert_eq!(route.levels.is_some(), route.api.registration().highest_level().is_some());
        assert_eq!(registry.token_sources().count(), usize::from(route.token.is_some()));
    }
}

#[test]
fn the_contracts_kinds_schemas_and_policies_are_the_defaults() {
    let expected = [
        ("captcha", "captcha_query", "2017-10"),
        ("captcha_check", "captcha_check", "2016"),
        ("mini_program", "mini_program", "2018-12"),
        ("qr_code", "intelligent_qr_code", "2021"),
        ("wechat_account", "wechat_account", "servicemarket"),
        ("wechat_marketing", "wechat_marketing", "servicemarket"),
    ];
    let sections: String = expected.iter().map(|(_, name, _)| format!("[risk.{name}]\n")).collect();
    let registry = registry(&format!("{CREDENTIALS}\n{sections}")).unwrap();
    let api = |id| registry.api(id);
    let served: Vec<_> =
        registry.kinds().map(|(kind, id)| (kind, api(id).name(), api(id).schema())).collect();
    assert_eq!(served, expected);
    let policy = serde_json::to_value(registry.policy(Decision::Review)).unwrap();
    let qr_code = json!({ "approve": [0], "challenge": [1, 2], "review": [], "reject": [3, 4] });
    let wechat = json!({ "approve": [0], "challenge": [1], "review": [2], "reject": [3] });
    let levels = json!({
        "intelligent_qr_code": qr_code, "mini_program": qr_code, "wechat_account": wechat, "wechat_marketing": wechat,
    });
    assert_eq!(policy["levels"], levels);
}

#[test]
fn the_bounds_have_defaults_and_can_be_set() {
    let registry = registry(&section("mini_program", "")).unwrap();
    let route = registry.get(registry.find("mini_program").unwrap());
    assert_eq!(
        (route.timeout, route.concurrency, route.rate_limit),
        (Duration::from_secs(2), 64, None)
    );
    let keys = "timeout = '250ms'\nconcurrency = 3\nrate_limit = 1000\nserves = ['a', 'b']\n\
                policy = { approve = [0, 1], challenge = [], review = [2], reject = [3, 4] }";
    let registry = crate::risk::testing::registry(&section("mini_program", keys)).unwrap();
    let route = registry.get(registry.find("mini_program").unwrap());
    assert_eq!(
        (route.timeout, route.concurrency, route.rate_limit),
        (Duration::from_millis(250), 3, Some(1000.0))
    );
    assert_eq!(route.levels.as_ref().unwrap().review, [2]);
    assert_eq!(registry.kinds().map(|(kind, _)| kind).collect::<Vec<_>>(), ["a", "b"]);
    assert!(registry.token_sources().next().is_none());
}

#[test]
fn text_from_the_environment_becomes_numbers_and_lists() {
    let environment = [
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__CONCURRENCY", "7"),
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__RATE_LIMIT", "12.5"),
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__SERVES", "qr_code, coupon"),
        ("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__METHOD", "POST"),
        ("CLAIMGATE__RISK__CAPTCHA_QUERY__SCRIPT", "1"),
        ("CLAIMGATE__RISK__CAPTCHA_QUERY__CALLBACK", "failed"),
        ("CLAIMGATE__RISK__MINI_PROGRAM__SERVES", ""),
    ];
    let environment =
        environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    let config = Config::builder()
        .add_source(File::from_str(&section("mini_program", ""), FileFormat::Toml))
        .add_source(
            Environment::with_prefix("CLAIMGATE").separator("__").source(Some(environment)),
        );
    let registry = build(&config.build().unwrap()).unwrap();
    let route = registry.get(registry.find("intelligent_qr_code").unwrap());
    assert_eq!((route.concurrency, route.rate_limit), (7, Some(12.5)));
    assert_eq!(
        registry.kinds().map(|(kind, _)| kind).collect::<Vec<_>>(),
        ["captcha", "coupon", "qr_code"]
    );
    assert!(route.api.request(&claim(json!({})), &ATTEMPT).body.is_some());
}

#[test]
fn what_is_wrong_is_named_by_its_whole_key() {
    for (name, keys, key) in [
        ("intelligent_qr_code", "foo = 1", "risk.intelligent_qr_code.foo"),
        ("wechat_account", "foo = 1", "risk.wechat_account.foo"),
        ("captcha_query", "scirpt = 1", "risk.captcha_query.scirpt"),
        ("sixth_api", "", "risk.sixth_api"),
        ("intelligent_qr_code", "timeout = '2 parsecs'", "risk.intelligent_qr_code.timeout"),
        ("intelligent_qr_code", "timeout = '0s'", "risk.intelligent_qr_code.timeout"),
        ("intelligent_qr_code", "concurrency = 0", "risk.intelligent_qr_code.concurrency"),
        ("intelligent_qr_code", "concurrency = 4294967297", "risk.intelligent_qr_code.concurrency"),
        ("intelligent_qr_code", "rate_limit = 0", "risk.intelligent_qr_code.rate_limit"),
        ("intelligent_qr_code", "rate_limit = nan", "risk.intelligent_qr_code.rate_limit"),
        ("intelligent_qr_code", "method = 'PUT'", "risk.intelligent_qr_code.method"),
        ("intelligent_qr_code", "base_url = 'localhost:80'", "risk.intelligent_qr_code.base_url"),
        (
            "intelligent_qr_code",
            "base_url = 'https://user:pass@host'",
            "risk.intelligent_qr_code.base_url",
        ),
        ("intelligent_qr_code", "base_url = 'https://'", "risk.intelligent_qr_code.base_url"),
        ("intelligent_qr_code", "path = 'v2/index.php'", "risk.intelligent_qr_code.path"),
        ("intelligent_qr_code", "path = '/v2?a=b'", "risk.intelligent_qr_code.path"),
        ("intelligent_qr_code", "serves = ['']", "risk.intelligent_qr_code.serves"),
        ("intelligent_qr_code", "serves = ['a', 'a']", "risk.intelligent_qr_code.serves"),
        ("intelligent_qr_code", "serves = 7", "risk.intelligent_qr_code.serves"),
        (
            "intelligent_qr_code",
            "policy = { approve = [0], challenge = [], review = [], reject = [], block = [] }",
            "risk.intelligent_qr_code.policy.block",
        ),
        (
            "intelligent_qr_code",
            "policy = { approve = [0], challenge = [1], review = [2], reject = [3] }",
            "risk.intelligent_qr_code.policy",
        ),
        (
            "captcha_query",
            "policy = { approve = [0], challenge = [], review = [], reject = [] }",
            "risk.captcha_query.policy",
        ),
    ] {
        let fault = fault(&section(name, keys));
        assert_eq!(fault.key, key, "{fault}");
        assert!(!fault.problem.is_empty());
    }
}

#[test]
fn a_base_url_of_which_no_request_could_be_made_is_refused() {
    let with = |url: &str| registry(&section("mini_program", &format!("base_url = '{url}'")));
    for url in [
        "https://host",
        "http://10.0.0.7:80/gateway/",
        "http://127.1",
        "https://7.example",
        "https://[2001:db8::1]:8443",
    ] {
        assert!(with(url).is_ok(), "{url}");
    }
    for url in [
        "https://host:99999",
        "https://host:port",
        "https://host:+80",
        "https://:443",
        "https://[::1",
        "https://[host]:443",
        "https://ho%00st",
        "https://host\\x",
        "https://<host>",
        "https://a|b",
        "http://10.0.0.300:80",
        "http://10.0.0.1.2",
    ] {
        let key = with(url).err().map(|fault| fault.key);
        assert_eq!(key.as_deref(), Some("risk.mini_program.base_url"), "{url}");
    }
}

#[test]
fn one_kind_is_served_by_one_api() {
    let toml = section("intelligent_qr_code", "serves = ['qr_code']")
        + "[risk.mini_program]\nserves = ['qr_code']";
    assert_eq!(fault(&toml).to_string(), "risk.mini_program.serves: `qr_code` is served already");
}

#[test]
fn a_missing_secret_is_named_only_if_it_is_needed() {
    for (name, missing) in [
        ("intelligent_qr_code", "tencent_cloud.secret_id"),
        ("captcha_check", "tencent_cloud.secret_id"),
        ("wechat_account", "wechat.app_id"),
    ] {
        assert_eq!(fault(&format!("[risk.{name}]")).key, missing);
        let unused = registry(&format!("[risk.{name}]\nserves = []")).unwrap();
        assert!(unused.is_empty());
    }
    assert_eq!(
        fault("[tencent_cloud]\nsecret_id = 'x'\n[risk.mini_program]").key,
        "tencent_cloud.secret_key"
    );
    assert_eq!(fault("[wechat]\napp_id = 'x'\n[risk.wechat_account]").key, "wechat.app_secret");
    assert_eq!(fault("[retry]\ntransient_codes = [0]").key, "retry.transient_codes");
}

#[test]
fn the_wechat_apis_share_a_base_url_unless_they_have_their_own() {
    let credentials = CREDENTIALS.replace("[retry]", "base_url = 'https://gateway:1/'\n[retry]");
    let sections = "[risk.wechat_account]\n[risk.wechat_marketing]\nbase_url = 'https://other:2'";
    let registry = registry(&format!("{credentials}\n{sections}")).unwrap();
    let url = |name| {
        registry.get(registry.find(name).unwrap()).api.request(&claim(json!({})), &ATTEMPT).url
    };
    assert!(url("wechat_account").starts_with("https://gateway:1/tcb/servicemarket?"));
    assert!(url("wechat_marketing").starts_with("https://other:2/tcb/servicemarket?"));
}

#[test]
fn plain_http_to_wechat_is_allowed_on_this_host_only() {
    let with = |shared: &str, own: &str| {
        let credentials = CREDENTIALS.replace("[retry]", &format!("{shared}\n[retry]"));
        registry(&format!("{credentials}\n[risk.wechat_account]\n{own}"))
            .err()
            .map(|fault| fault.key)
    };
    for host in
        ["api.weixin.qq.com", "10.0.0.7:80", "localhost.example.com", "127.0.0.1.example.com"]
    {
        let base_url = format!("base_url = 'http://{host}'");
        assert_eq!(with(&base_url, "").as_deref(), Some("wechat.base_url"), "{host}");
        assert_eq!(with("", &base_url).as_deref(), Some("risk.wechat_account.base_url"), "{host}");
        let allowed = format!("{base_url}\nallow_http = true");
        assert_eq!(with(&allowed, &base_url), None, "{host}");
    }
    for host in ["localhost:8080", "127.0.0.1:8080", "127.9.9.9/x", "[::1]:8080"] {
        assert_eq!(with(&format!("base_url = 'http://{host}'"), ""), None, "{host}");
    }
}

#[test]
fn an_unknown_kind_is_malformed_and_harmless_to_show() {
    let registry = registry(&section("intelligent_qr_code", "")).unwrap();
    let kind = format!("a\u{0}b{}", "x".repeat(1000));
    let fault = registry.route(&claim(json!({ "kind": kind }))).unwrap_err();
    assert_eq!((fault.error.as_str(), fault.field.as_deref()), ("unknown_kind", Some("kind")));
    assert!(fault.detail.len() < 200 && !fault.detail.contains('\0'));
}

/// A vendor whose endpoint gives no token.
struct Vendor(&'static str);

impl TokenSource for Vendor {
    fn vendor(&self) -> &'static str {
        self.0
    }

    fn place(&self) -> (&'static str, &str) {
        ("vendor.base_url", "https://example.com")
    }

    fn token_request(&self, _: Fetch) -> Request {
        Request { method: Method::Get, url: String::new(), body: None, redacted: String::new() }
    }

    fn secret(&self) -> SecretString {
        SecretString::from("")
    }

    fn read_token(&self, answer: &Answer<'_>) -> Result<Token, Fault> {
        Err(answer.reason().into())
    }
}

#[test]
fn the_apis_of_one_vendor_share_a_token_and_those_of_two_do_not() {
    let sections = format!("{CREDENTIALS}\n[risk.wechat_account]\n[risk.wechat_marketing]");
    let mut registry = registry(&sections).unwrap();
    let wechat = registry.routes.iter().map(|route| route.token).collect::<Vec<_>>();
    assert_eq!((&*wechat, registry.tokens.len()), (&[Some(TokenId(0)); 2][..], 1));
    let ids = ["a", "b", "a", "WeChat"].map(|vendor| registry.token_id(Box::new(Vendor(vendor))).0);
    assert_eq!(ids, [1, 2, 1, 0]);
}

#[test]
fn an_answer_of_a_code_is_read_as_that_code() {
    for registration in APIS {
        let registry = api(registration.name, "");
        let api = only(&registry);
        for code in [-1, 1, 12, 999, 4000, 5100, 40_003, 9_301_001] {
            let body = api.answer_of_code(code);
            let reading = api.read_any(&Answer { status: 200, body: body.as_bytes() });
            assert_eq!(reading.provider_code(), Some(code), "{}: {body}", registration.name);
        }
        let body = api.answer_of_code(4000);
        let busy = Answer { status: 503, body: body.as_bytes() };
        let result = api.read_any(&busy);
        assert!(matches!(result, ApiResult::Transient(..)), "the status says it all: {result:?}");
    }
}
