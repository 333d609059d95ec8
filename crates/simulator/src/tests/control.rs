//! `/control/…` and the random faults that it sets.

use super::*;

async fn put(client: &Client, faults: &Value) -> (u16, String) {
    let response = client
        .http
        .put(client.url("/control/faults"))
        .body(faults.to_string())
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn faults_are_set_shown_and_taken_back() {
    let client = Client::start(SimulatorOptions::default()).await;
    let only = json!({"transient": 1, "transient_codes": [7]});
    let faults = json!({"all": {"latency": {"fixed": 1}}, "apis": {"intelligent_qr_code": only}});
    let (status, echo) = put(&client, &faults).await;
    assert_eq!(status, 200, "{echo}");
    assert_eq!(client.get("/control/faults").await, (200, echo));
    assert_eq!(client.code("u", &[]).await, 7);
    assert_eq!(client.simulator.faults().of(Api::CaptchaQuery).latency, Latency::Fixed(1.0));
    for bad in [
        json!({"all": {"hang": 2}}),
        json!({"everything": {}}),
        json!({"apis": {"nonesuch": {}}}),
        json!("all"),
    ] {
        assert_eq!(put(&client, &bad).await.0, 400, "{bad}");
    }
    assert_eq!(client.code("u", &[]).await, 7, "a bad setting changes nothing");
    put(&client, &json!({})).await;
    assert_eq!(client.code("u", &[]).await, 0);
    put(
        &client,
        &json!({"apis": {"mini_program": {"down": true}, "intelligent_qr_code": {"down": true}}}),
    )
    .await;
    let path = client.url(&format!("/v2/index.php?{}", client.query("u", &[])));
    assert!(client.http.get(path).send().await.is_err());
    assert_eq!(client.post("/control/reset", "").await.0, 200);
    assert_eq!(client.code("u", &[]).await, 0);
    assert_eq!(client.simulator.calls().len(), 1);
}

#[tokio::test]
async fn calls_are_listed_filtered_and_counted() {
    let client =
        Client::start(SimulatorOptions { log_capacity: 5000, ..SimulatorOptions::default() }).await;
    for account in ["a", "b", "a-level-4"] {
        client.code(account, &[]).await;
    }
    client.token().await;
    let lines = async |query: &str| {
        let (_, text) = client.get(&format!("/control/calls{query}")).await;
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let all = lines("").await;
    assert_eq!(all.len(), 4);
    assert_eq!(
        (&all[2]["account"], &all[2]["level"], &all[2]["claim"]),
        (&json!("a-level-4"), &json!(4), &json!("code-hash"))
    );
    assert_eq!(lines("?after=2").await.len(), 2);
    assert_eq!(lines("?api=access_token").await.len(), 1);
    assert_eq!(lines("?account=b&api=intelligent_qr_code").await.len(), 1);
    let (_, accounts) = client.get("/control/accounts").await;
    assert!(
        accounts
            .contains("{\"api\":\"intelligent_qr_code\",\"account\":\"a-level-4\",\"calls\":1}\n"),
        "{accounts}"
    );
    let stats: Value = serde_json::from_str(&client.get("/control/stats").await.1).unwrap();
    assert_eq!((&stats["calls"], &stats["forgotten"]), (&json!(4), &json!(0)));
    assert_eq!(stats["apis"]["intelligent_qr_code"]["outcomes"]["answered"], 3);
    assert_eq!(client.post("/control/stats", "").await.0, 405);
    assert_eq!(client.get("/control/nonesuch").await.0, 404);
}

#[tokio::test]
async fn tokens_are_ended_by_hand() {
    let client = Client::start(SimulatorOptions::default()).await;
    let token = client.token().await;
    client.post("/control/tokens/expire", "").await;
    assert_eq!(client.market(&token, &marketing("o", "m")).await["errcode"], 42001);
    let token = client.token().await;
    client.post("/control/tokens/expire?as=invalid", "").await;
    assert_eq!(client.market(&token, &marketing("o", "m")).await["errcode"], 40001);
}

#[tokio::test]
async fn one_seed_makes_the_same_faults_whatever_the_order() {
    let all = ApiFaults { transient: 0.3, malformed: 0.1, ..ApiFaults::default() };
    let faults = Faults { all, ..Faults::default() };
    let mut runs = Vec::new();
    for backwards in [false, true] {
        let client = Client::start(SimulatorOptions {
            faults: faults.clone(),
            seed: 9,
            ..SimulatorOptions::default()
        })
        .await;
        let mut accounts: Vec<_> = (0..60).map(|n| format!("account-{}", n / 3)).collect();
        if backwards {
            accounts.reverse();
        }
        for account in &accounts {
            client.get(&format!("/v2/index.php?{}", client.query(account, &[]))).await;
        }
        let mut outcomes: Vec<_> = client
            .simulator
            .calls()
            .all()
            .into_iter()
            .map(|call| (call.account, call.number, call.outcome, call.code))
            .collect();
        outcomes.sort();
        assert!(outcomes.iter().any(|(_, _, outcome, _)| *outcome == Outcome::ErrorCode));
        runs.push(outcomes);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn callers_are_told_apart_by_their_path_and_answered_alike() {
    let client = Client::start(SimulatorOptions::default()).await;
    for (prefix, caller) in [("", ""), ("/caller/w1", "w1"), ("/caller/w2.3", "w2.3")] {
        let (status, text) =
            client.get(&format!("{prefix}/v2/index.php?{}", client.query("u-level-2", &[]))).await;
        assert_eq!((status, text.contains("\"level\":2")), (200, true), "{text}");
        assert_eq!(&*client.last_call().caller, caller);
    }
    assert_eq!(client.get("/caller/w1").await.0, 404, "a caller without a path");
}
