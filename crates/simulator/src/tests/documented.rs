//! Tests the statements of `docs/simulator.md` that no other test checks: every documented code,
//! the limits of each check, and whole requests.

use super::*;

const PAGE: &str = include_str!("../../../../docs/risk-apis.md");

/// The codes in the first table below these two headings.
fn documented_codes(section: &str, part: &str) -> Vec<i64> {
    let (_, rest) = PAGE.split_once(&format!("\n## {section}\n")).expect("the section is there");
    let section = rest.split("\n## ").next().unwrap();
    let (_, part) = section.split_once(&format!("\n### {part}\n")).expect("the part is there");
    let rows = part.lines().skip_while(|line| !line.starts_with("| "));
    // Behind the head and the line below it.
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let first = rows.map(|row| row.split('|').nth(1).unwrap().trim());
    first.filter(|cell| *cell != "any other").flat_map(numbers).collect()
}

/// `4–8, 10`: the numbers of a cell.
fn numbers(cell: &str) -> Vec<i64> {
    let number =
        |text: &str| text.trim().parse::<i64>().unwrap_or_else(|_| panic!("{cell:?} has {text:?}"));
    let range = |text: &str| match text.split_once('–') {
        Some((low, high)) => number(low)..=number(high),
        None => number(text)..=number(text),
    };
    cell.split(',').filter(|text| !text.trim().is_empty()).flat_map(range).collect()
}

/// A signed request of IntelligentQRCode in which this parameter is empty.
fn with_empty(client: &Client, name: &'static str) -> String {
    let query = client.query("u", &[(name, "x")]);
    let pairs: Vec<(String, String)> = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .filter(|(key, _)| *key != "Signature")
        .map(|(key, value)| {
            (
                key.to_owned(),
                percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned(),
            )
        })
        .collect();
    let mut pairs: BTreeMap<&str, &str> =
        pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    pairs.insert(name, "");
    sign("GET", &pairs)
}

#[tokio::test]
async fn every_documented_code_can_be_had_by_word() {
    let client = Client::start(SimulatorOptions::default()).await;
    for code in documented_codes("What all Tencent Cloud APIs share", "Codes of Tencent Cloud")
        .into_iter()
        .filter(|code| *code != 0)
    {
        assert_eq!(client.code(&format!("u-code-{code}"), &[]).await, code);
    }
    let token = client.token().await;
    let market =
        async |code: i64| client.market(&token, &marketing(&format!("o-code-{code}"), "m")).await;
    // The word gives what is below 100 as a code of the product.
    for code in documented_codes("What both WeChat APIs share", "Codes of the market")
        .into_iter()
        .filter(|code| !(1..100).contains(code))
    {
        assert_eq!(market(code).await["errcode"], code);
    }
    for code in documented_codes("What both WeChat APIs share", "Codes of the product")
        .into_iter()
        .filter(|code| *code != 0)
    {
        assert_eq!(inner(&market(code).await)["code"], code);
    }
}

#[tokio::test]
async fn every_code_of_the_token_can_be_had_by_faults() {
    let client = Client::start(SimulatorOptions::default()).await;
    for code in documented_codes("What both WeChat APIs share", "Access token") {
        let faults =
            ApiFaults { transient: 1.0, transient_codes: vec![code], ..ApiFaults::default() };
        let faults =
            Faults { apis: BTreeMap::from([(Api::AccessToken, faults)]), ..Faults::default() };
        client.simulator.set_faults(faults).unwrap();
        let ask = json!({"grant_type": "client_credential", "appid": APP_ID, "secret": APP_SECRET});
        let (_, text) = client.post("/cgi-bin/stable_token", &ask.to_string()).await;
        assert!(text.starts_with(&format!("{{\"errcode\":{code},")), "{text}");
    }
    client.simulator.reset();
    let nobody = json!({"grant_type": "client_credential", "secret": APP_SECRET}).to_string();
    assert!(client.post("/cgi-bin/stable_token", &nobody).await.1.contains("41002"));
}

#[tokio::test]
async fn an_empty_value_is_refused_though_it_is_signed() {
    let client = Client::start(SimulatorOptions::default()).await;
    for name in ["goodInfo", "referer", "uid"] {
        let answer = client.tencent_cloud(&with_empty(&client, name)).await;
        assert_eq!(answer["code"], 4000, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(name), "{answer}");
    }
}

#[tokio::test]
async fn each_schema_takes_its_own_parameters_only() {
    let client = Client::start(SimulatorOptions::default()).await;
    let mini = [
        ("userIp", ""),
        ("goodInfo", ""),
        ("encryptedCode", ""),
        ("userIP", "1.2.3.4"),
        ("accessToken", "t"),
        ("Type", "1"),
    ];
    let check = [
        ("Action", "CaptchaCheck"),
        ("goodInfo", ""),
        ("postTime", ""),
        ("encryptedCode", ""),
        ("accountType", ""),
        ("registerTime", "1632990000"),
        ("captchaType", "1"),
        ("businessId", "1"),
        ("ticket", "t"),
    ];
    for (base, odd) in [
        (&mini[..], "associateAccount"),
        (&mini, "dayTimes"),
        (&check, "callBack"),
        (&check, "script"),
    ] {
        assert_eq!(client.code("u-level-0", base).await, 0);
        assert_eq!(client.code("u-level-0", &[base, &[(odd, "1")]].concat()).await, 4000, "{odd}");
    }
    assert_eq!(client.code("u", &[("accountType", "1")]).await, 4000, "QQ needs an appId");
    assert_eq!(
        client.code("u", &[("wxSubType", "2")]).await,
        4000,
        "a mini-program needs a randNum"
    );
    assert_eq!(client.code("u", &[("Action", "ActivityAntiRush")]).await, 6100);
}

#[tokio::test]
async fn addresses_are_public_or_not_assessed() {
    let client = Client::start(SimulatorOptions::default()).await;
    let account = (0..)
        .map(|n| format!("account{n}"))
        .find(|id| expected(Api::IntelligentQrCode, id).level == 3)
        .unwrap();
    for (address, level) in
        [("203.0.113.7", 3), ("198.51.100.7", 3), ("192.168.0.1", 0), ("127.0.0.1", 0), ("::1", 0)]
    {
        let answer = client.tencent_cloud(&client.query(&account, &[("userIp", address)])).await;
        assert_eq!(answer["level"], level, "{address}");
        assert_eq!(answer["riskType"] == json!([205]), level == 0, "{address}");
    }
}

#[tokio::test]
async fn whole_requests_are_remembered_when_asked_for() {
    let client =
        Client::start(SimulatorOptions { remember_requests: 2, ..SimulatorOptions::default() })
            .await;
    let token = client.token().await;
    client.code("u 红", &[]).await;
    client.market(&token, &marketing("o", "m")).await;
    let (_, lines) = client.get("/control/requests").await;
    let seen: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        seen.iter().map(|request| &request["sequence"]).collect::<Vec<_>>(),
        [2, 3],
        "the oldest is gone"
    );
    assert_eq!(
        (&seen[0]["method"], &seen[0]["parameters"]["uid"]),
        (&json!("GET"), &json!("u 红"))
    );
    assert_eq!(
        (&seen[1]["path"], &seen[1]["json"]),
        (&json!("/tcb/servicemarket"), &marketing("o", "m"))
    );
    client.post("/control/reset", "").await;
    assert_eq!(client.get("/control/requests").await, (200, String::new()));
    assert_eq!(
        client.market(&token, &marketing("o", "m")).await["errcode"],
        0,
        "a reset leaves the tokens"
    );
    let forgetful = Client::start(SimulatorOptions::default()).await;
    forgetful.code("u", &[]).await;
    assert!(forgetful.simulator.requests().is_empty());
}
