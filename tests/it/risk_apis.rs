//! The six risk APIs through the whole pipeline: their requests on the wire, and the decisions from
//! their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults, Latency, Requested, SimulatorOptions};
use serde_json::{Value, json};
use sqlx::Row;

use super::lab::{Event, Lab, PARTITIONS, answers_after, claim};

const LONG: Duration = Duration::from_secs(60);
/// The values that change with every attempt.
const FRESH: [&str; 4] = ["Nonce", "Timestamp", "Signature", "access_token"];

/// A claim with every field of the contract.
fn full(id: &str, kind: &str, account: &str) -> Value {
    json!({
        "claim_id": id, "kind": kind, "claimed_at": 1_632_994_480,
        "account": {
            "type": "wechat", "id": account, "app_id": "wx0000000000000001", "associate_id": "SpFsjpyvaJ27329",
            "phone": "15912345687", "registered_at": 1_436_673_889,
        },
        "client": {
            "ip": "121.14.96.121", "device_id": "device-1", "imei": "imei-1", "mac": "00:11:22:33:44:55",
            "wifi_bssid": "66:77:88:99:aa:bb", "cookie_hash": "c0ffee", "referer": "https://example.com/?a=b&c",
            "forwarded_for": "10.0.0.1, 121.14.96.121", "address": "广东省深圳市 A&B+C=1/2",
            "latitude": 22.5405, "longitude": -113.9345,
        },
        "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "user+token" },
        "reward": {
            "goods": "12", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10,
            "merchant": "merchant-1",
        },
        "identity": { "certificate_id": "certificate-1" },
        "captcha": { "type": 8, "business_id": 7, "scene_id": 2, "ticket": format!("ticket+{id}") },
    })
}

const QR_CODE: &str = "accountType 2\nuid o-qr_code-level-1\nuserIp 121.14.96.121\npostTime 1632994480
appId wx0000000000000001\ngoodInfo 12\nencryptedCode 9b2c0f6e7a1d4c35\ncookie c0ffee\nshare 1\ndayTimes 3\ntotaltimes 10
phoneNumber 15912345687\naddress 广东省深圳市 A&B+C=1/2\nlatitude 22.5405\nlongitude -113.9345\nimei imei-1
referer https://example.com/?a=b&c\nloginType 3\nloginSource 4\nwxSubType 2\nrandNum 0123456789abcdef\nwxToken user+token
associateAccount SpFsjpyvaJ27329";

const MINI_PROGRAM: &str = "accountType 2\nuid o-mini_program-level-1\naccessToken user+token\nuserIP 121.14.96.121
postTime 1632994480\nType 12\nappid wx0000000000000001\nEncryptedCode 9b2c0f6e7a1d4c35\nShare 1\nDaytimes 3\nTotaltimes 10
phoneNumber 15912345687\nAddress 广东省深圳市 A&B+C=1/2\nLatitude 22.5405\nLongitude -113.9345\nImei imei-1";

/// Of both captcha APIs: the ticket is bound to them.
const CAPTCHA: &str = "accountType 2\nappId wx0000000000000001\nassociateAccount SpFsjpyvaJ27329\nregisterTime 1436673889
userIp 121.14.96.121\nxForwardedFor 10.0.0.1, 121.14.96.121\nmacAddress 00:11:22:33:44:55\nimei imei-1\ncaptchaType 8
businessId 7\nsceneId 2";

/// The parameters of a request of Tencent Cloud, one a line, but for what is fresh: the common ones
/// and these.
fn tencent_cloud(action: &str, own: &str) -> Value {
    let common = [
        ("Action", action),
        ("Region", "ap-guangzhou"),
        ("SecretId", claimgate_simulator::SECRET_ID),
    ];
    let own = own.lines().map(|line| line.split_once(' ').expect("a name and a value"));
    let all: BTreeMap<_, _> = common.into_iter().chain(own).collect();
    json!({ "method": "GET", "path": "/v2/index.php", "parameters": all, "json": null })
}

/// A request of WeChat, but for its token.
fn wechat(api: &str, message: &str, data: &Value) -> Value {
    let body = json!({ "service": "wxd8a88093cf541a77", "api": api, "data": data, "client_msg_id": message });
    json!({ "method": "POST", "path": "/tcb/servicemarket", "parameters": {}, "json": body })
}

fn without_fresh(request: &Requested) -> Value {
    let mut seen = serde_json::to_value(request).expect("serialises");
    seen.as_object_mut().expect("an object").remove("sequence");
    for name in FRESH {
        let given = seen["parameters"].as_object_mut().expect("an object").remove(name);
        let expected = if &*request.path == "/v2/index.php" {
            name != "access_token"
        } else {
            name == "access_token"
        };
        assert_eq!(given.is_some_and(|value| value != ""), expected, "{name} in {request:?}");
    }
    seen
}

/// The claim of each kind, and the request that its documents describe.
fn documented() -> Vec<(Value, Value)> {
    let account = |id: &str| format!("o-{id}-level-1");
    let kind = |kind: &str| full(kind, kind, &account(kind));
    let query = format!("{CAPTCHA}\nuid {}\nscript 0", account("captcha"));
    let check = format!("{CAPTCHA}\nuid {}\nticket ticket+captcha_check", account("captcha_check"));
    let risk = json!({
        "mchcode": "merchant-1", "phonenum": "15912345687", "certid": "certificate-1", "wifibssid": "66:77:88:99:aa:bb",
        "clientip": "121.14.96.121", "deviceid": "device-1",
    });
    let sale = json!({ "openid": account("wechat_marketing"), "serviceid": 3, "sale_risk": risk });
    let login = json!({ "openid": account("wechat_account"), "serviceid": 2, "login_risk": risk });
    // From a mobile app, whose users have a token of their own.
    let mut app = full("app", "wechat_account", &account("app"));
    app["login"]["source"] = json!(3);
    let mut from_app = login.clone();
    from_app["openid"] = json!(account("app"));
    from_app["user_access_token"] = json!("user+token");
    vec![
        (kind("qr_code"), tencent_cloud("IntelligentQRCode", QR_CODE)),
        (kind("mini_program"), tencent_cloud("IntelligentQRCode", MINI_PROGRAM)),
        (kind("captcha"), tencent_cloud("CaptchaQuery", &query)),
        (kind("captcha_check"), tencent_cloud("CaptchaCheck", &check)),
        (kind("wechat_marketing"), wechat("weopensecriskservice", "wechat_marketing-1", &sale)),
        (kind("wechat_account"), wechat("weopensecuseracctrisklevel", "wechat_account-1", &login)),
        (app, wechat("weopensecuseracctrisklevel", "app-1", &from_app)),
    ]
}

/// Sends these claims through a worker; the decisions by claim id.
async fn decide(lab: &Lab, events: &[Value], before: usize) -> BTreeMap<String, Value> {
    lab.produce(&events.iter().map(|event| Event::of(event.to_string())).collect::<Vec<_>>());
    let count = before + events.len();
    lab.wait("every decision", LONG, async || {
        lab.read("decisions").len() + lab.read("dead").len() >= count
    })
    .await;
    assert_eq!(lab.read("dead"), [], "no claim is malformed");
    let decision = |payload: Vec<u8>| serde_json::from_slice::<Value>(&payload).expect("JSON");
    lab.read("decisions")
        .into_iter()
        .map(|seen| decision(seen.payload.expect("a payload")))
        .map(|decision| (decision["claim_id"].as_str().expect("an id").to_owned(), decision))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_sends_the_documented_request_and_gets_its_decision() {
    let options = SimulatorOptions { remember_requests: 100, ..SimulatorOptions::default() };
    let Some(lab) = Lab::with("risk-apis", options).await else { return };
    let mut worker = lab.worker("w1", "");
    let (events, requests): (Vec<_>, Vec<_>) = documented().into_iter().unzip();
    let decisions = decide(&lab, &events, 0).await;

    let sort = |mut requests: Vec<Value>| {
        requests.sort_by_key(Value::to_string);
        requests
    };
    let (tokens, seen): (Vec<_>, Vec<_>) = lab
        .simulator
        .requests()
        .into_iter()
        .partition(|request| request.path.starts_with("/cgi-bin/"));
    assert_eq!(sort(seen.iter().map(without_fresh).collect()), sort(requests));
    let ask = json!({
        "grant_type": "client_credential", "appid": claimgate_simulator::APP_ID, "secret": claimgate_simulator::APP_SECRET,
        "force_refresh": false,
    });
    let fetches: Vec<_> = tokens.iter().map(|request| (&*request.path, request.json())).collect();
    assert_eq!(fetches, [("/cgi-bin/stable_token", Some(ask))], "one token for three claims");

    for (id, api, schema, decision, level, reason) in [
        ("qr_code", "intelligent_qr_code", "2021", "challenge", json!(1), "level"),
        ("mini_program", "mini_program", "2018-12", "challenge", json!(1), "level"),
        ("captcha", "captcha_query", "2017-10", "challenge", json!(null), "captcha"),
        ("captcha_check", "captcha_check", "2016", "approve", json!(null), "ticket"),
        ("wechat_marketing", "wechat_marketing", "servicemarket", "challenge", json!(1), "level"),
        ("wechat_account", "wechat_account", "servicemarket", "challenge", json!(1), "level"),
    ] {
        let found = &decisions[id];
        let shown = ["api", "api_schema", "decision", "level", "provider_code", "attempts"]
            .map(|key| found[key].clone());
        assert_eq!(
            shown,
            [json!(api), json!(schema), json!(decision), level.clone(), json!(0), json!(1)],
            "{found}"
        );
        assert_eq!(found["reasons"][0]["code"], reason);
        assert_eq!(found["challenge"].is_null(), id != "captcha", "{found}");
        let row = sqlx::query(
            "select api, api_schema, decision, level from verdicts where claim_id = $1",
        );
        let row = row.bind(id).fetch_one(&lab.database).await.expect("a row");
        assert_eq!([row.get::<&str, _>(0), row.get(1), row.get(2)], [api, schema, decision]);
        assert_eq!(json!(row.get::<Option<i16>, _>(3)), level);
        let call =
            sqlx::query("select outcome, attempt, request from risk_calls where claim_id = $1");
        let call = call.bind(id).fetch_one(&lab.database).await.expect("one row");
        assert_eq!((call.get::<&str, _>(0), call.get::<i32, _>(1)), ("assessed", 1));
        let stored: &str = call.get(2);
        for secret in ["user%2Btoken", "user+token", "ticket%2B", claimgate_simulator::SECRET_ID] {
            assert!(!stored.contains(secret), "{secret} is in {stored}");
        }
    }
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_is_fetched_for_every_claim_and_a_ticket_decides() {
    let Some(lab) = Lab::new("captchas").await else { return };
    let mut worker = lab.worker("w1", "");
    let mut wrong = full("wrong", "captcha_check", "o-level-0");
    wrong["captcha"]["ticket"] = json!("wrong-1");
    let events = [
        full("first", "captcha", "o-same"),
        full("second", "captcha", "o-same"),
        full("good", "captcha_check", "o-level-0"),
        wrong,
        full("tired", "captcha_check", "o-code-6000"),
        full("mended", "captcha_check", "o-transient-1"),
    ];
    let decisions = decide(&lab, &events, 0).await;
    let script = |id: &str| decisions[id]["challenge"].as_str().map(str::to_owned);
    assert!(
        script("first").is_some_and(|script| script.contains("capInit")),
        "{}",
        decisions["first"]
    );
    assert_ne!(script("first"), script("second"), "each page load has a script of its own");
    let shown =
        |id: &str| ["decision", "provider_code", "attempts"].map(|key| decisions[id][key].clone());
    assert_eq!(shown("good"), [json!("approve"), json!(0), json!(1)]);
    assert_eq!(shown("wrong"), [json!("reject"), json!(5100), json!(1)]);
    assert_eq!(shown("mended"), [json!("approve"), json!(0), json!(2)]);
    assert_eq!(
        shown("tired"),
        [json!("review"), json!(6000), json!(2)],
        "a third check would fail a good ticket"
    );
    assert_eq!(decisions["tired"]["reasons"][0]["code"], "unassessed");
    assert_eq!(worker.stop().await, Some(0));
}

/// Codes and statuses that do not open a breaker; `docs/risk-apis.md` lists all, and
/// `risk::tests::documented` tries all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_lead_where_the_documents_say() {
    let Some(lab) = Lab::new("codes").await else { return };
    let mut worker =
        lab.worker("w1", "[retry]\ninitial_interval = \"20ms\"\n[breaker]\nmin_calls = 1000");
    let mut cases = Vec::new();
    for (kind, codes) in [
        ("qr_code", &[4000, 4600, 5000, 5200, 5300, 5400, 5500][..]),
        ("mini_program", &[4000]),
        ("wechat_marketing", &[1, 2, 11, 12, 40003, 43104, 47001, 9_301_001]),
        ("captcha", &[4000]),
    ] {
        cases.extend(
            codes.iter().map(|code| (kind, format!("code-{code}"), "review", json!(code), 1)),
        );
    }
    for (kind, codes) in [
        ("qr_code", &[4, 9, 10, 4200, 4500, 5100, 6000, 6100, 7777, -3001][..]),
        ("wechat_account", &[4, 8, 9, 10, -1, 9_301_003, 9_301_012]),
        ("captcha", &[5100]),
    ] {
        let decision = if kind == "captcha" { "challenge" } else { "approve" };
        cases.extend(
            codes.iter().map(|code| {
                (kind, format!("transient-1-level-0-code-{code}"), decision, json!(0), 2)
            }),
        );
    }
    for (kind, words) in [
        ("qr_code", &["html", "empty", "truncated", "no-level", "cut", "reset", "http-503"][..]),
        ("wechat_account", &["inner-truncated"]),
    ] {
        cases.extend(
            words
                .iter()
                .map(|word| (kind, format!("transient-1-level-0-{word}"), "approve", json!(0), 2)),
        );
    }
    cases.push(("qr_code", "http-400".to_owned(), "review", json!(null), 1));
    for word in ["string-code", "level-space", "big"] {
        cases.push(("qr_code", format!("level-3-{word}"), "reject", json!(0), 1));
    }
    cases.push(("wechat_account", "level-2-inner-object".to_owned(), "review", json!(0), 1));
    let events: Vec<_> = cases
        .iter()
        .map(|(kind, words, ..)| {
            full(&format!("{kind}-{words}"), kind, &format!("o-{kind}-{words}"))
        })
        .collect();
    let decisions = decide(&lab, &events, 0).await;
    for (kind, words, decision, code, attempts) in &cases {
        let found = &decisions[&format!("{kind}-{words}")];
        let shown = ["decision", "provider_code", "attempts"].map(|key| found[key].clone());
        assert_eq!(shown, [json!(decision), code.clone(), json!(attempts)], "{found}");
    }
    assert_what_broke_off_is_kept(&lab, "qr_code-transient-1-level-0-cut").await;
    assert_eq!(worker.stop().await, Some(0));
}

async fn assert_what_broke_off_is_kept(lab: &Lab, claim_id: &str) {
    let broke_off = sqlx::query_as::<_, (String, String, i32, Option<Vec<u8>>)>(
        "select outcome, reason, http_status, response from risk_calls
        where claim_id = $1 and attempt = 1",
    );
    let (outcome, reason, status, response) =
        broke_off.bind(claim_id).fetch_one(&lab.database).await.expect("a row");
    assert_eq!((&*outcome, &*reason, status), ("unknown", "broken_connection", 200));
    let response = response.expect("what had come is kept");
    assert!(serde_json::from_slice::<Value>(&response).is_err(), "not the whole answer");
}

/// Codes that open the breaker at once: the claim waits for a probe, and no other API notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_must_mend_is_waited_for() {
    let Some(lab) = Lab::new("mended").await else { return };
    let mut worker = lab.worker("w1", "[breaker]\naccess_denied_for = \"300ms\"\nprobes = 1");
    let cases = [
        ("mini_program", 13, "insufficient_balance"),
        ("captcha", 4100, "bad_signature"),
        ("wechat_marketing", 3, "no_permission"),
        ("wechat_account", 45009, "quota_exceeded"),
    ];
    let claim = |(kind, code, _): &(&str, i64, &str)| {
        full(kind, kind, &format!("o-{kind}-transient-1-level-0-code-{code}"))
    };
    let mut events: Vec<_> = cases.iter().map(claim).collect();
    events.push(full("unharmed", "qr_code", "o-unharmed-level-0"));
    let decisions = decide(&lab, &events, 0).await;
    assert_eq!(decisions["unharmed"]["attempts"], 1);
    for (kind, code, reason) in cases {
        let decision = if kind == "captcha" { "challenge" } else { "approve" };
        assert_eq!(
            (&decisions[kind]["decision"], &decisions[kind]["attempts"]),
            (&json!(decision), &json!(2))
        );
        let first = sqlx::query(
            "select provider_code, reason from risk_calls where claim_id = $1 and attempt = 1",
        );
        let first = first.bind(kind).fetch_one(&lab.database).await.expect("a row");
        assert_eq!((first.get::<i64, _>(0), first.get::<&str, _>(1)), (code, reason));
    }
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_claims_that_meet_an_expired_token_fetch_one() {
    meet_an_ended_token("token-expired", 42001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_claims_that_meet_an_invalid_token_fetch_one() {
    meet_an_ended_token("token-invalid", 40001).await;
}

async fn meet_an_ended_token(name: &str, code: i64) {
    // All of them are on their way to the API before the first comes back.
    let slow = ApiFaults { latency: Latency::Fixed(400.0), ..ApiFaults::default() };
    let faults = Faults { apis: BTreeMap::from([(Api::WechatAccount, slow)]), ..Faults::default() };
    let Some(lab) =
        Lab::with(name, SimulatorOptions { faults, ..SimulatorOptions::default() }).await
    else {
        return;
    };
    let mut worker = lab.worker("w1", "");
    decide(&lab, &[full("warm", "wechat_account", "o-warm-level-0")], 0).await;
    let fetches =
        || lab.simulator.calls().all().iter().filter(|call| call.api == Api::AccessToken).count();
    assert_eq!(fetches(), 1);
    if code == 42001 {
        lab.simulator.expire_tokens()
    } else {
        lab.simulator.invalidate_tokens()
    }
    let events: Vec<_> = (0..64)
        .map(|number| {
            full(
                &format!("{code}-{number}"),
                "wechat_account",
                &format!("o-{code}-{number}x-level-0"),
            )
        })
        .collect();
    let decisions = decide(&lab, &events, 1).await;
    assert_eq!(fetches(), 2, "one fetch for {code}");
    let ours: Vec<_> = decisions
        .values()
        .filter(|decision| {
            decision["claim_id"].as_str().is_some_and(|id| id.starts_with(&code.to_string()))
        })
        .collect();
    assert_eq!(ours.len(), 64);
    assert!(
        ours.iter().all(|decision| decision["decision"] == "approve" && decision["attempts"] == 2),
        "{ours:?}"
    );
    let rows = sqlx::query(
        "select provider_code, reason, count(*) from risk_calls where claim_id like $1 group by 1, \
         2 order by 1",
    );
    let rows = rows.bind(format!("{code}-%")).fetch_all(&lab.database).await.expect("rows");
    let counts: Vec<(i64, String, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(
        counts,
        [(0, String::new(), 64), (code, "bad_access_token".to_owned(), 64)],
        "nothing else went wrong"
    );
    assert_eq!(lab.simulator.calls().totals()[&Api::WechatAccount].calls, 1 + 2 * 64);
    assert_eq!(worker.stop().await, Some(0));
}

/// With `concurrency = "auto"` the worker finds out that an API takes more calls than it began
/// with, and stays below the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_takes_more_calls_at_once_gets_them() {
    let Some(lab) = Lab::with("auto", answers_after(Latency::Fixed(50.0))).await else { return };
    let events =
        (0..4_000).map(|number| Event::of(claim(&format!("a-{number}"), &format!("u-{number}"))));
    let spread = |(number, event): (i32, Event)| event.on(number % PARTITIONS);
    lab.produce(&(0..).zip(events).map(spread).collect::<Vec<_>>());
    let auto = "[risk.intelligent_qr_code]\nconcurrency = \"auto\"\nconcurrency_max = 200";
    let mut worker = lab.worker("w1", auto);
    lab.wait("every decision", LONG, async || lab.read("decisions").len() == 4_000).await;
    assert_eq!(worker.stop().await, Some(0));
    let peak = lab.simulator.calls().totals()[&Api::IntelligentQrCode].peak_in_flight;
    assert!((100..=200).contains(&peak), "{peak} calls at once");
}
