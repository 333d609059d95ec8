//! Tencent Cloud: signature, clock, replay, parameters, and the shapes of its answers.

use super::*;

const VECTOR_A: &str = "Action=IntelligentQRCode&Nonce=3557156860&Region=ap-guangzhou\
    &SecretId=AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA&Timestamp=1632994483&accountType=2&dayTimes=3\
    &encryptedCode=9b2c0f6e7a1d4c35&goodInfo=red%20packet&postTime=1632994480&share=1&totaltimes=10\
    &uid=oPDER5U0VMARiyXxUruU4SYmyOiw&userIp=121.14.96.121&Signature=2%2FueCu9VIw56cbSPlGnAHPwtAWQ%3D";

async fn without_clock() -> Client {
    Client::start(SimulatorOptions { clock_tolerance: None, ..SimulatorOptions::default() }).await
}

#[tokio::test]
async fn vector_a_is_accepted_once_and_not_with_a_byte_changed() {
    let client = without_clock().await;
    for (one, other) in
        [("share=1", "share=2"), ("red%20packet", "red%20Packet"), ("2%2FueCu", "2%2FueCv")]
    {
        assert_eq!(client.tencent_cloud(&VECTOR_A.replace(one, other)).await["code"], 4100);
    }
    let answer = client.tencent_cloud(VECTOR_A).await;
    assert_eq!(
        (&answer["code"], &answer["uid"]),
        (&json!(0), &json!("oPDER5U0VMARiyXxUruU4SYmyOiw"))
    );
    let call = client.last_call();
    assert_eq!(
        (call.api, &*call.account, &*call.claim),
        (Api::IntelligentQrCode, "oPDER5U0VMARiyXxUruU4SYmyOiw", "9b2c0f6e7a1d4c35")
    );
    assert_eq!(
        (call.nonce, call.timestamp, call.outcome),
        (Some(3_557_156_860), Some(1_632_994_483), Outcome::Answered)
    );
    assert_eq!(
        client.tencent_cloud(VECTOR_A).await["code"],
        4500,
        "the same bytes again are a replay"
    );
    assert_eq!(client.tencent_cloud(&VECTOR_A.replace("Key", "")).await["code"], 4500);
    let signed_plus = VECTOR_A.replace("red%20packet", "red+packet");
    assert_eq!(
        client.tencent_cloud(&signed_plus).await["code"],
        4500,
        "a plus is a space: the signature holds"
    );
    assert_eq!(client.tencent_cloud(&VECTOR_A.replace("AKIDz8", "AKIDz9")).await["code"], 4104);
}

#[tokio::test]
async fn vector_b_is_accepted_as_a_form_and_vector_c_gives_a_script() {
    let client = without_clock().await;
    let form = "Action=IntelligentQRCode&Nonce=3557156860&Region=ap-guangzhou\
        &SecretId=AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA&SignatureMethod=HmacSHA256&Timestamp=1632994483&accountType=10004\
        &address=%E5%B9%BF%E4%B8%9C%E7%9C%81%E6%B7%B1%E5%9C%B3%E5%B8%82%E5%8D%97%E5%B1%B1%E5%8C%BA%20A%26B%2BC%3D1%2F2\
        &goodInfo=%E5%8F%AF%E5%8F%A3%E5%8F%AF%E4%B9%90500ml&latitude=22.5405&longitude=113.9345&postTime=1632994480\
        &randNum=0123456789abcdef&uid=25d55ad283aa400af464c76d713c07ad&userIp=121.14.96.121&wxSubType=2\
        &Signature=jBS6DZ2Vt59MQhqrGGl33rgnDl2poeaIyxTmDjbfyyE%3D";
    let request = client.http.post(client.url("/v2/index.php?Action=Ignored&uid=x"));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer: Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["code"], 0, "{answer}");
    assert_eq!(client.tencent_cloud(form).await["code"], 4100, "signed for POST");
    let plain = client.post("/v2/index.php", form).await.1;
    assert!(plain.contains("4000"), "no form by its content type: {plain}");

    let query = "Action=CaptchaQuery&Nonce=3557156860&Region=ap-guangzhou\
        &SecretId=AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA&Timestamp=1632994484&businessId=1&captchaType=1\
        &registerTime=1632990000&script=0&uid=1&userIp=121.14.96.121&Signature=";
    let vector_c =
        format!("{}H8%2FPkx1WKSrrCckQzYszLMGgH5o%3D", query.replace("2994484", "2994483"));
    let answer = client.tencent_cloud(&vector_c).await;
    assert_eq!(answer["code"], 4500, "vector C has the nonce and timestamp of vector B");
    let client = without_clock().await;
    let answer = client.tencent_cloud(&vector_c).await;
    assert!(
        answer["code"] == 0
            && answer["script"].as_str().is_some_and(|script| script.contains("function"))
    );
}

#[tokio::test]
async fn clock_nonce_and_parameters_are_checked() {
    let client = Client::start(SimulatorOptions::default()).await;
    assert_eq!(client.code("u", &[]).await, 0);
    assert_eq!(client.code("u", &[("Timestamp", "1632994483")]).await, 4200);
    assert_eq!(client.code("u", &[("Nonce", "5")]).await, 0);
    assert_eq!(
        client.code("u", &[("Nonce", "5"), ("uid", "v")]).await,
        4500,
        "whatever else is different"
    );
    for (changes, name) in [
        (&[("uid", "")][..], "uid"),
        (&[("userIp", "")], "userIp"),
        (&[("Region", "")], "Region"),
        (&[("Nonce", "0")], "Nonce"),
        (&[("Nonce", "")], "Nonce"),
        (&[("Timestamp", "now")], "Timestamp"),
        (&[("totalTimes", "3")], "totalTimes"),
        (&[("latitude", "91")], "latitude"),
    ] {
        let answer = client.tencent_cloud(&client.query("u", changes)).await;
        assert_eq!(answer["code"], 4000, "{changes:?}");
        assert!(
            answer["message"].as_str().unwrap().ends_with(&format!("parameter {name}")),
            "{answer}"
        );
    }
    let empty = client.query("u", &[]).replace("goodInfo=red%20packet", "goodInfo=");
    assert_eq!(
        client.tencent_cloud(&empty).await["code"],
        4100,
        "an empty value is signed like any other"
    );
    let lenient =
        Client::start(SimulatorOptions { lenient: true, ..SimulatorOptions::default() }).await;
    assert_eq!(lenient.code("u", &[("totalTimes", "3")]).await, 0);
}

#[tokio::test]
async fn both_schemas_answer_with_their_own_keys() {
    let client = Client::start(SimulatorOptions::default()).await;
    let answer = client
        .tencent_cloud(&client.query("u-level-3-risk-101", &[("associateAccount", "a")]))
        .await;
    assert_eq!(
        (&answer["level"], &answer["riskType"], &answer["postTime"]),
        (&json!(3), &json!([101]), &json!("1632994480"))
    );
    assert_eq!(
        (&answer["codeDesc"], &answer["associateAccount"]),
        (&json!("Success"), &json!("a"))
    );
    let terse = client.tencent_cloud(&client.query("u-level-0", &[])).await;
    assert_eq!(
        terse,
        json!({"code": 0, "message": "No Error", "level": 0, "userIP": "121.14.96.121",
        "postTime": 1_632_994_480, "uid": "u-level-0"})
    );
    let mini = [
        ("userIp", ""),
        ("goodInfo", ""),
        ("encryptedCode", ""),
        ("userIP", "1.2.3.4"),
        ("accessToken", "t"),
        ("Type", "1"),
        ("EncryptedCode", "c"),
    ];
    let answer = client.tencent_cloud(&client.query("u-level-2-risk-202", &mini)).await;
    assert_eq!((&answer["Level"], &answer["riskType"]), (&json!(2), &json!([202])));
    let call = client.last_call();
    assert_eq!((call.api, &*call.claim, call.level), (Api::MiniProgram, "c", Some(2)));
    let inside = client.tencent_cloud(&client.query("u", &[("userIp", "10.0.0.7")])).await;
    assert_eq!((&inside["level"], &inside["riskType"]), (&json!(0), &json!([205])));
}

#[tokio::test]
async fn accounts_get_the_verdict_that_their_id_foretells() {
    let client = Client::start(SimulatorOptions::default()).await;
    for n in 0..100 {
        let account = format!("account-{n}");
        let answer = client.tencent_cloud(&client.query(&account, &[])).await;
        let verdict = expected(Api::IntelligentQrCode, &account);
        assert_eq!(answer["level"], verdict.level);
        assert_eq!(
            answer.get("riskType").cloned().unwrap_or_else(|| json!([])),
            json!(verdict.risk_types)
        );
    }
}

#[tokio::test]
async fn account_words_are_obeyed() {
    let client = Client::start(SimulatorOptions::default()).await;
    assert_eq!(client.code("u-code-6000", &[]).await, 6000);
    assert_eq!(client.code("u-code--3001", &[]).await, -3001);
    let codes = [
        client.code("t-transient-2", &[]).await,
        client.code("t-transient-2", &[]).await,
        client.code("t-transient-2", &[]).await,
    ];
    assert_eq!(codes, [6000, 6000, 0]);
    assert_eq!(client.simulator.calls().count(Api::IntelligentQrCode, "t-transient-2"), 3);
    assert!(client.tencent_cloud(&client.query("u-no-level", &[])).await.get("level").is_none());
    assert_eq!(client.tencent_cloud(&client.query("u-string-code", &[])).await["code"], "0");
    assert_eq!(
        client.tencent_cloud(&client.query("u-level-4-level-space", &[])).await["level "],
        4
    );
}

#[tokio::test]
async fn captchas_are_shown_and_checked() {
    let client = Client::start(SimulatorOptions::default()).await;
    let common = [
        ("goodInfo", ""),
        ("postTime", ""),
        ("encryptedCode", ""),
        ("accountType", ""),
        ("registerTime", "1632990000"),
        ("captchaType", "1"),
        ("businessId", "1"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&common[..], more].concat();
    let query = client.query("u", &with(&[("Action", "CaptchaQuery"), ("script", "1")]));
    let (_, script) = client.get(&format!("/v2/index.php?{query}")).await;
    assert!(script.starts_with("(function()"), "{script}");
    let query = client.query(
        "u-code-6000",
        &with(&[("Action", "CaptchaQuery"), ("script", "1"), ("callBack", "oops")]),
    );
    let (_, script) = client.get(&format!("/v2/index.php?{query}")).await;
    assert!(script.starts_with("oops({\"code\":6000"), "{script}");

    let check = |ticket| with(&[("Action", "CaptchaCheck"), ("ticket", ticket)]);
    let answer = client.tencent_cloud(&client.query("u-level-0", &check("t-1"))).await;
    assert_eq!(answer, json!({"code": 0, "message": "No Error", "is_right": 0}));
    assert_eq!(client.code("u-transient-1-level-0", &check("t-1")).await, 6000);
    assert_eq!(client.code("u-level-0", &check("t-1")).await, 0);
    assert_eq!(client.code("u-level-0", &check("t-1")).await, 5100, "the third time");
    assert_eq!(client.code("u-level-0", &check("wrong-2")).await, 5100);
    assert_eq!(client.code("u-level-3", &check("t-3")).await, 5100);
    assert_eq!(client.last_call().claim.as_ref(), "t-3");
}
