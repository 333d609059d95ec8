//! claimgate's own clients against the simulator: two independent readings of the same documents
//! must agree.

use std::cell::Cell;
use std::time::Duration;

use claimgate::claim::Claim;
use claimgate::decision::Assessment;
use claimgate::risk::{
    Answer, ApiResult, Attempt, Fetch, Method, Registry, Request, Shared, tencent_cloud, wechat,
};
use claimgate_simulator::{
    APP_ID, APP_SECRET, Api, Call, SECRET_ID, SECRET_KEY, Simulator, SimulatorOptions, expected,
};
use config::{Config, File, FileFormat};
use serde_json::{Value, json};

const KINDS: [(&str, Api); 6] = [
    ("qr_code", Api::IntelligentQrCode),
    ("mini_program", Api::MiniProgram),
    ("wechat_marketing", Api::WechatMarketing),
    ("wechat_account", Api::WechatAccount),
    ("captcha", Api::CaptchaQuery),
    ("captcha_check", Api::CaptchaCheck),
];

/// A simulator, and an HTTP client that sends it the requests of claimgate's clients.
struct Client {
    simulator: Simulator,
    http: reqwest::Client,
    nonce: Cell<u64>,
}

impl Client {
    async fn start() -> Self {
        let simulator = Simulator::start(SimulatorOptions::default()).await.expect("a free port");
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
        Self { simulator, http, nonce: Cell::new(1000) }
    }

    /// A new access token from the stable endpoint.
    async fn token(&self) -> String {
        let ask = json!({"grant_type": "client_credential", "appid": APP_ID, "secret": APP_SECRET});
        let url = format!("{}/cgi-bin/stable_token", self.simulator.base_url());
        let response = self.http.post(url).body(ask.to_string()).send().await.expect("an answer");
        let answer: Value =
            serde_json::from_str(&response.text().await.expect("a text")).expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    fn last_call(&self) -> Call {
        self.simulator.calls().all().pop().expect("a call")
    }
}

/// Every API on the simulator, Tencent Cloud with these keys on top.
fn registry(simulator: &Simulator, tencent_cloud: &str) -> Registry {
    let base_url = simulator.base_url();
    let mut toml = format!(
        "[tencent_cloud]\nsecret_id = '{SECRET_ID}'\nsecret_key = '{SECRET_KEY}'\n\
         [wechat]\napp_id = '{APP_ID}'\napp_secret = '{APP_SECRET}'\nbase_url = '{base_url}'\n"
    );
    for (_, api) in KINDS {
        let is_wechat = matches!(api, Api::WechatMarketing | Api::WechatAccount);
        let own = if is_wechat {
            String::new()
        } else {
            format!("base_url = '{base_url}'\n{tencent_cloud}\n")
        };
        toml.push_str(&format!("[risk.{api}]\n{own}"));
    }
    let config = Config::builder()
        .add_source(File::from_str(&toml, FileFormat::Toml))
        .build()
        .expect("TOML");
    let shared = Shared {
        tencent_cloud: config.get::<tencent_cloud::Settings>("tencent_cloud").expect("read").into(),
        wechat: config.get::<wechat::Settings>("wechat").expect("read").into(),
        transient_codes: vec![],
    };
    let sections = config.get_table("risk").expect("read").into_iter().collect();
    Registry::new(sections, &shared).expect("every API builds")
}

/// A claim with every field, or only with those that its kind requires.
fn claim(kind: &str, account: &str, full: bool) -> Claim {
    let mut event = json!({
        "claim_id": format!("clm-{account}"), "kind": kind, "claimed_at": 1_632_994_480,
        "account": {"type": "wechat", "id": account, "app_id": "wx1", "registered_at": 1_436_673_889},
        "client": {"ip": "121.14.96.121"},
        "login": {"token": "user token"},
        "reward": {"goods": "红包 A&B+C=1/2"},
        "captcha": {"type": 1, "business_id": 1, "ticket": format!("ticket of {account}")},
    });
    if full {
        event["account"]["associate_id"] = json!("a_b");
        event["account"]["phone"] = json!("15912345687");
        event["client"] = json!({"ip": "121.14.96.121", "device_id": "d", "imei": "i", "mac": "00:11:22:33:44:55",
            "wifi_bssid": "66:77", "cookie_hash": "c", "referer": "https://example.com/?a=b", "latitude": 22.5,
            "forwarded_for": "10.0.0.1, 121.14.96.121", "address": "广东省", "longitude": -113.9345});
        event["login"] = json!({"type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef",
            "token": "user token"});
        event["reward"] = json!({"goods": "12", "code_hash": "h", "share": 1, "daily_limit": 3, "total_limit": 10,
            "merchant": "m"});
        event["identity"] = json!({"certificate_id": "c"});
        event["captcha"]["scene_id"] = json!(2);
    }
    Claim::parse(Some(event.to_string().as_bytes()), 1 << 20).expect("a claim")
}

async fn send(client: &Client, request: Request) -> (u16, Vec<u8>) {
    let builder = match (request.method, request.body) {
        (Method::Get, _) => client.http.get(request.url),
        (Method::Post, None) => client.http.post(request.url),
        (Method::Post, Some((content_type, body))) => {
            client.http.post(request.url).header("content-type", content_type).body(body)
        }
    };
    let response = builder.send().await.expect("an answer");
    (response.status().as_u16(), response.bytes().await.expect("a body").to_vec())
}

/// Calls one API about a claim, with claimgate's own client.
async fn ask(client: &Client, registry: &Registry, claim: &Claim, token: &str) -> ApiResult {
    let api = &registry.get(registry.route(claim).expect("an API of its kind")).api;
    let nonce = client.nonce.replace(client.nonce.get() + 1);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let attempt =
        Attempt { number: 1, now, nonce, token: api.registration().tokens.map(|_| token) };
    let (status, body) = send(client, api.request(claim, &attempt)).await;
    let reading = api.read(&Answer { status, body: &body });
    assert!(reading.provider_code().is_some(), "{}", String::from_utf8_lossy(&body));
    reading
}

#[tokio::test]
async fn every_client_is_understood_and_understands() {
    let client = Client::start().await;
    for (tencent_cloud, full) in
        [("", false), ("", true), ("method = 'POST'\nsignature_method = 'HmacSHA256'", true)]
    {
        let registry = registry(&client.simulator, tencent_cloud);
        let (_, source) = registry.token_sources().next().unwrap();
        let (status, body) = send(&client, source.token_request(Fetch::Plain)).await;
        source.read_token(&Answer { status, body: &body }).unwrap();
        let token = client.token().await;
        for (kind, api) in KINDS {
            for words in
                ["level-0", "level-2", "level-3", "level-1-level-space", "level-3-string-code"]
            {
                let account = format!("{kind}-{full}-{}-{words}", tencent_cloud.len());
                let reading = ask(&client, &registry, &claim(kind, &account, full), &token).await;
                let level = expected(api, &account).level;
                let ApiResult::Assessed { assessment, .. } = reading else {
                    panic!("{account}: {reading:?}")
                };
                match assessment {
                    Assessment::Level { level: given, .. } => {
                        assert_eq!(i64::from(given), level, "{account}")
                    }
                    Assessment::Challenge { script } => {
                        assert!(script.contains("function"), "{account}")
                    }
                    Assessment::Ticket { valid } => assert_eq!(valid, level < 3, "{account}"),
                }
                assert_eq!(
                    (client.last_call().api, &*client.last_call().account),
                    (api, account.as_str())
                );
            }
        }
    }
}

#[tokio::test]
async fn every_client_tells_errors_from_verdicts() {
    let client = Client::start().await;
    let registry = registry(&client.simulator, "");
    let token = client.token().await;
    for (kind, _) in KINDS {
        for code in [4, 5, 6, 7, 8, 10, 6000] {
            let claim = claim(kind, &format!("{kind}-code-{code}"), false);
            let reading = ask(&client, &registry, &claim, &token).await;
            assert!(is_error(&reading), "{kind} {code}: {reading:?}");
        }
    }
    let reading = ask(&client, &registry, &claim("wechat_account", "u", false), "no token").await;
    assert_eq!((reading.provider_code(), is_error(&reading)), (Some(40001), true));
}

/// Whether the API is to be called again.
fn is_error(result: &ApiResult) -> bool {
    matches!(result, ApiResult::Transient(..) | ApiResult::AccessDenied(_))
}
