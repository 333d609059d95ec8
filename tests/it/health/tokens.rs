//! Access tokens that are refused or not available.

use std::time::Duration;

use claimgate_simulator::{APP_SECRET, Api, Faults, SimulatorOptions};
use sqlx::Row;

use super::{LONG, always, calls, claims, decided, lines, log, metric, with_metrics};
use crate::lab::Lab;

const DENIED: &str = "claimgate_breaker_access_denied{api=\"wechat_account\"} 1";

/// Both APIs refuse every token that the platform issues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_are_fetched_rarely_and_name_the_settings() {
    let Some(lab) = Lab::new("refused-tokens").await else { return };
    lab.simulator
        .set_faults(always(&[Api::WechatMarketing, Api::WechatAccount], 40001))
        .expect("faults");
    let (http, metrics) = with_metrics();
    let mut worker = lab.worker("w1", &http);
    lab.produce(&[claims("wechat_account", 200), claims("qr_code", 200)].concat());
    lab.wait("the other API's claims", LONG, async || decided(&lab, "qr_code").await == 200).await;
    lab.wait("the gauge", LONG, async || metric(&metrics, DENIED).await).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The first, the one after its refusal, and a forced one, because the second had the same text.
    let fetches = calls(&lab, Api::AccessToken);
    assert!(fetches <= 3, "{fetches} fetches within seconds");
    let forced: Vec<bool> = sqlx::query_scalar(
        "select request like '%\"force_refresh\":true%' from token_exchanges order by requested_at",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    assert_eq!(forced, [false, false, true]);
    let warnings = lines(&lab, "the breaker of wechat_account opened");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("bad_access_token") && warnings[0].contains("wechat.app_id"),
        "{}",
        warnings[0]
    );
    assert!(
        calls(&lab, Api::WechatAccount) < 150,
        "{} calls in vain",
        calls(&lab, Api::WechatAccount)
    );
    assert_eq!(worker.stop().await, Some(0));
}

/// The platform denies a token: the address is not on its list, then the quota is used up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_token_is_stored_with_the_platforms_words() {
    let Some(lab) = Lab::new("denied-token").await else { return };
    lab.simulator.set_faults(always(&[Api::AccessToken], 40164)).expect("faults");
    let (http, metrics) = with_metrics();
    let mut worker = lab.worker("w1", &http);
    lab.produce(&[claims("wechat_account", 10), claims("qr_code", 10)].concat());
    lab.wait("the gauge", LONG, async || metric(&metrics, DENIED).await).await;
    lab.wait("the other API's claims", LONG, async || decided(&lab, "qr_code").await == 10).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let warnings = lines(&lab, "no WeChat access token");
    assert_eq!(warnings.len(), 1, "told once: {warnings:?}");
    for words in ["ip_not_allowed", "rid: ", "whitelist"] {
        assert!(warnings[0].contains(words), "{words} is missing in {}", warnings[0]);
    }
    lab.simulator.set_faults(always(&[Api::AccessToken], 45009)).expect("faults");
    lab.wait("the next word", LONG, async || lines(&lab, "no WeChat access token").len() == 2)
        .await;
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    lab.wait("everything", LONG, async || decided(&lab, "wechat_account").await == 10).await;
    assert_eq!(worker.stop().await, Some(0));
    let rows = sqlx::query(
        "select provider_code, outcome, reason, request, convert_from(response, 'UTF8'), http_status
        from token_exchanges order by requested_at",
    );
    let rows = rows.fetch_all(&lab.database).await.expect("rows");
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert_eq!((first.get::<i64, _>(0), first.get::<&str, _>(1)), (40164, "failed"));
    assert!(first.get::<&str, _>(4).contains("\"errcode\":40164"), "{}", first.get::<&str, _>(4));
    assert_eq!((last.get::<Option<i64>, _>(0), last.get::<&str, _>(1)), (None, "fetched"));
    assert!(
        last.get::<&str, _>(4).starts_with("{\"access_token\":\"***\","),
        "{}",
        last.get::<&str, _>(4)
    );
    for row in &rows {
        for kept in [row.get::<&str, _>(3), row.get(4)] {
            assert!(!kept.contains(APP_SECRET) && !kept.contains("86_"), "{kept}");
        }
    }
    assert!(!log(&lab).contains(APP_SECRET));
}

/// A gateway that passes on only the paths on the product's page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_stable_tokens_is_asked_for_classic_ones() {
    let options = SimulatorOptions { has_stable_token: false, ..SimulatorOptions::default() };
    let Some(lab) = Lab::with("classic-token", options).await else { return };
    let mut worker = lab.worker("w1", "");
    lab.produce(&[claims("wechat_account", 10), claims("wechat_marketing", 10)].concat());
    for kind in ["wechat_account", "wechat_marketing"] {
        lab.wait("the decisions", LONG, async || decided(&lab, kind).await == 10).await;
    }
    assert_eq!(worker.stop().await, Some(0));
    let warnings = lines(&lab, "WeChat access token");
    assert_eq!(warnings.len(), 1, "told once: {warnings:?}");
    assert!(warnings[0].contains("wechat.token_endpoint"), "{}", warnings[0]);
    let query = "select http_status from token_exchanges order by requested_at";
    let statuses: Vec<i32> =
        sqlx::query_scalar(query).fetch_all(&lab.database).await.expect("rows");
    assert_eq!(statuses, [404, 200]);
    assert_eq!(lines(&lab, "the breaker of wechat"), Vec::<String>::new());
}

/// A wrong secret: only the gauge shows it, because no call is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_app_secret_sets_the_gauge_and_names_the_key() {
    let Some(lab) = Lab::new("wrong-secret").await else { return };
    let (http, metrics) = with_metrics();
    let mut worker = lab.worker("w1", &format!("{http}[wechat]\napp_secret = \"wrong\"\n"));
    lab.produce(&[claims("wechat_account", 10), claims("wechat_marketing", 10)].concat());
    for api in ["wechat_account", "wechat_marketing"] {
        let line = format!("claimgate_breaker_access_denied{{api=\"{api}\"}} 1");
        lab.wait("the gauge", LONG, async || metric(&metrics, &line).await).await;
    }
    let warnings = lines(&lab, "no WeChat access token");
    assert!(warnings.iter().all(|line| line.contains("check wechat.app_secret")), "{warnings:?}");
    assert_eq!(warnings.len(), 1);
    assert_eq!(worker.stop().await, Some(0));
}
