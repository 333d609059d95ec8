//! WeChat: tokens and their lives, the service market's checks and answers.

use super::*;

async fn classic(client: &Client) -> Value {
    let path =
        format!("/cgi-bin/token?grant_type=client_credential&appid={APP_ID}&secret={APP_SECRET}");
    serde_json::from_str(&client.get(&path).await.1).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_call_is_answered_with_json_in_json() {
    let client = Client::start(SimulatorOptions::default()).await;
    let token = client.token().await;
    let answer = client.market(&token, &marketing("o-level-3", "clm-1-1")).await;
    assert_eq!(
        (&answer["errcode"], &answer["errmsg"], &answer["provider_errmsg"]),
        (&json!(0), &json!("ok"), &json!(""))
    );
    assert!(text(&answer["request_id"]).starts_with("ML"));
    assert_eq!(inner(&answer), json!({"code": 0, "msg": "请求成功", "data": {"risklevel": 3}}));
    let call = client.last_call();
    assert_eq!(
        (call.api, &*call.account, &*call.claim),
        (Api::WechatMarketing, "o-level-3", "clm-1-1")
    );
    let mut account = marketing("o-level-1", "x");
    account["api"] = json!("weopensecuseracctrisklevel");
    account["data"] = json!({"openid": "o-level-1", "serviceid": 2, "login_risk": {}});
    assert_eq!(inner(&client.market(&token, &account).await)["data"]["risklevel"], 1);
    let path = format!("/wxa/servicemarket?access_token={token}");
    let (_, answer) = client.post(&path, &marketing("o", "y").to_string()).await;
    assert!(answer.contains("\"errcode\":0"), "the official path answers too: {answer}");
}

#[tokio::test]
async fn departures_from_the_documents_are_refused() {
    let client = Client::start(SimulatorOptions::default()).await;
    let token = client.token().await;
    let mut as_text = marketing("o", "m");
    as_text["data"] = json!(as_text["data"].to_string());
    assert_eq!(client.market(&token, &as_text).await["errcode"], 9_301_003);
    let mut no_risk = marketing("o", "m");
    no_risk["data"]["sale_risk"] = Value::Null;
    assert_eq!(
        inner(&client.market(&token, &no_risk).await),
        json!({"code": 1, "msg": "data 内参数错误: sale_risk"})
    );
    let mut wrong_service = marketing("o", "m");
    wrong_service["data"]["serviceid"] = json!(2);
    assert_eq!(inner(&client.market(&token, &wrong_service).await)["code"], 9);
    let answer = client.market("nonsense", &marketing("o", "m")).await;
    assert_eq!(answer["errcode"], 40001);
    assert!(text(&answer["errmsg"]).contains("rid: "));
    let path = format!("/tcb/servicemarket?access_token={token}");
    for (path, body, code) in [
        ("/tcb/servicemarket", "{}", 41001),
        (&path, "", 44002),
        (&path, "{\"a\"", 47001),
        (&path, "[]", 47001),
    ] {
        let (_, answer) = client.post(path, body).await;
        assert!(answer.starts_with(&format!("{{\"errcode\":{code},")), "{answer}");
    }
    assert!(client.get(&path).await.1.contains("43002"));
}

#[tokio::test]
async fn account_words_are_obeyed() {
    let client = Client::start(SimulatorOptions::default()).await;
    let token = client.token().await;
    let ask = async |openid: &str| client.market(&token, &marketing(openid, "m")).await;
    assert_eq!(inner(&ask("o-code-13").await)["code"], 13);
    assert_eq!(ask("o-code-45009").await["errcode"], 45009);
    assert_eq!(ask("o-code--1").await["errcode"], -1);
    assert_eq!(inner(&ask("o-transient-1").await), json!({"code": 4, "msg": "内部服务错误"}));
    assert_eq!(inner(&ask("o-transient-1").await)["code"], 0);
    for (code, message) in [
        (1, "data 内参数错误"),
        (2, "非正常的 openid"),
        (3, "该产品尚无权限调用"),
        (9, "serviceid 参数错误"),
        (10, "内部服务错误"),
        (12, "当前用户未登录无法使用该产品"),
    ] {
        let answer = inner(&ask(&format!("o-code-{code}")).await);
        assert_eq!(answer, json!({"code": code, "msg": message}));
    }
    assert_eq!(inner(&ask("o-no-level").await)["data"], json!({}));
    assert_eq!(ask("o-level-2-inner-object").await["data"]["data"]["risklevel"], 2);
    assert!(serde_json::from_str::<Value>(text(&ask("o-inner-truncated").await["data"])).is_err());
    assert_eq!(client.last_call().outcome, Outcome::Malformed);
}

#[tokio::test]
async fn bad_credentials_get_no_token() {
    let client = Client::start(SimulatorOptions::default()).await;
    for (grant_type, appid, secret, code) in [
        ("client_credential", "wx1", APP_SECRET, 40013),
        ("client_credential", APP_ID, "wrong", 40125),
        ("authorization_code", APP_ID, APP_SECRET, 40002),
        ("client_credential", APP_ID, "", 41004),
    ] {
        let expected = format!("{{\"errcode\":{code},");
        let ask = json!({"grant_type": grant_type, "appid": appid, "secret": secret}).to_string();
        assert!(client.post("/cgi-bin/stable_token", &ask).await.1.starts_with(&expected));
        let path = format!("/cgi-bin/token?grant_type={grant_type}&appid={appid}&secret={secret}");
        assert!(client.get(&path).await.1.starts_with(&expected));
    }
    assert!(client.post("/cgi-bin/stable_token", "{").await.1.contains("47001"));
    assert!(client.get("/cgi-bin/stable_token").await.1.contains("43002"));
}

#[tokio::test]
async fn stable_tokens_stay_and_classic_ones_change() {
    let client = Client::start(SimulatorOptions {
        token_grace: Duration::ZERO,
        ..SimulatorOptions::default()
    })
    .await;
    let stable = client.token().await;
    assert_eq!(client.token().await, stable);
    let (first, second) = (classic(&client).await, classic(&client).await);
    assert_eq!(first["expires_in"], 7200);
    assert_eq!(first.get("errcode"), None, "success has no errcode");
    let ask = async |token: &str| {
        client.market(token, &marketing("o", "m")).await["errcode"].as_i64().unwrap()
    };
    assert_eq!(ask(text(&first["access_token"])).await, 40001, "not the latest, and no grace");
    assert_eq!(ask(text(&second["access_token"])).await, 0);
    assert_eq!(ask(&stable).await, 0, "the endpoints do not touch each other's tokens");
    let mut force =
        json!({"grant_type": "client_credential", "appid": APP_ID, "secret": APP_SECRET});
    force["force_refresh"] = json!(true);
    client.post("/cgi-bin/stable_token", &force.to_string()).await;
    assert_eq!(ask(&stable).await, 40001);
    let calls = client.simulator.calls();
    assert_eq!(calls.count(Api::AccessToken, APP_ID), 5);
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_says() {
    let life = Duration::from_millis(150);
    let client =
        Client::start(SimulatorOptions { token_life: life, ..SimulatorOptions::default() }).await;
    let token = client.token().await;
    assert_eq!(client.market(&token, &marketing("o", "m")).await["errcode"], 0);
    tokio::time::sleep(life).await;
    assert_eq!(client.market(&token, &marketing("o", "m")).await["errcode"], 42001);
    let next = client.token().await;
    assert_ne!(next, token);
    client.simulator.expire_tokens();
    assert_eq!(client.market(&next, &marketing("o", "m")).await["errcode"], 42001);
    let next = client.token().await;
    client.simulator.invalidate_tokens();
    assert_eq!(client.market(&next, &marketing("o", "m")).await["errcode"], 40001);
}
