//! Captcha tickets: they expire, and a call that the API did not see uses none up.

use std::time::Duration;

use claimgate_simulator::{Api, Simulator, SimulatorOptions};
use serde_json::{Value, json};

use super::{LONG, calls};
use crate::lab::{Event, Lab, claim};

/// A claim of this age, in seconds, with this ticket.
fn check(id: &str, age: i64, ticket: &str) -> Event {
    let mut event: Value =
        serde_json::from_str(&claim(id, &format!("o-{id}-level-0"))).expect("JSON");
    event["kind"] = json!("captcha_check");
    event["claimed_at"] = json!(now() - age);
    event["account"]["app_id"] = json!("wx0000000000000001");
    event["account"]["registered_at"] = json!(1_436_673_889);
    event["captcha"] = json!({ "type": 8, "business_id": 7, "scene_id": 2, "ticket": ticket });
    Event::of(event.to_string())
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Decision, reason and provider code of every claim.
async fn verdicts(lab: &Lab) -> Vec<(String, String, String, Option<i64>)> {
    sqlx::query_as(
        "select claim_id, decision, reasons->0->>'name', provider_code from verdicts order by \
         claim_id",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_captcha_ticket_that_expired_in_the_queue_rejects_nobody() {
    let Some(lab) = Lab::new("ticket-life").await else { return };
    let more =
        "[risk.captcha_check]\nticket_lifetime = \"20m\"\n[retry]\non_unassessed = \"reject\"";
    let mut worker = lab.worker("w1", more);
    let earned = |ago: i64| format!("ticket-at-{}", now() - ago);
    lab.produce(&[
        check("a-prompt", 2, &earned(60)),
        check("b-wrong", 2, "wrong-b"),
        check("c-ended", 900, &earned(1_300)),
        check("d-waited-and-good", 900, &earned(1_000)),
        check("e-too-old", 1_300, &earned(1_400)),
    ]);
    lab.wait("every verdict", LONG, async || verdicts(&lab).await.len() == 5).await;
    let row = |id: &str, decision: &str, name: &str, code| {
        (id.to_owned(), decision.to_owned(), name.to_owned(), code)
    };
    assert_eq!(
        verdicts(&lab).await,
        [
            row("a-prompt", "approve", "valid", Some(0)),
            row("b-wrong", "reject", "invalid", Some(5100)),
            row("c-ended", "review", "ticket_expired", Some(5100)),
            row("d-waited-and-good", "approve", "valid", Some(0)),
            row("e-too-old", "review", "ticket_expired", None),
        ]
    );
    assert_eq!(calls(&lab, Api::CaptchaCheck), 4, "a claim that is too old is not asked about");
    assert_eq!(worker.stop().await, Some(0));
}

/// The API is away for the whole life of a ticket: the claim is deferred no longer than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_is_deferred_beyond_its_captcha_tickets_life() {
    let Some(lab) = Lab::new("ticket-deferred").await else { return };
    let closed = free();
    let more = format!(
        "[risk.captcha_check]\nbase_url = \"http://{closed}\"\nticket_lifetime = \"15s\"\n\
        [retry]\ninitial_interval = \"50ms\"\nin_process_for = \"1s\"\ndefer_interval = \"1m\""
    );
    let mut worker = lab.worker("w1", &more);
    lab.produce(&[check("waits", 0, "ticket")]);
    lab.wait("the retry topic", LONG, async || !lab.read("retry").is_empty()).await;
    lab.wait("the verdict", Duration::from_secs(40), async || !verdicts(&lab).await.is_empty())
        .await;
    let expected = ("waits".to_owned(), "review".to_owned(), "ticket_expired".to_owned(), None);
    assert_eq!(verdicts(&lab).await, [expected]);
    assert_eq!(worker.stop().await, Some(0));
}

/// Connections are refused for a while: the API never saw the ticket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connections_use_up_no_check_of_a_captcha_ticket() {
    let Some(lab) = Lab::new("ticket-unseen").await else { return };
    let address = free();
    let more = format!(
        "[risk.captcha_check]\nbase_url = \"http://{address}\"\n[retry]\n\
        initial_interval = \"50ms\"\n\
        max_interval = \"200ms\"\nin_process_for = \"3s\"\ndefer_interval = \"2s\"\n[breaker]\n\
        min_calls = 1000"
    );
    let mut worker = lab.worker("w1", &more);
    lab.produce(&[check("waits", 0, "ticket")]);
    // This also holds across a deferral, which keeps the history.
    lab.wait("the retry topic", LONG, async || !lab.read("retry").is_empty()).await;
    assert_eq!(verdicts(&lab).await, [], "nobody gave up");
    let options = SimulatorOptions { listen: address, ..SimulatorOptions::default() };
    let simulator = Simulator::start(options).await.expect("the port is free");
    lab.wait("the verdict", LONG, async || !verdicts(&lab).await.is_empty()).await;
    let expected = ("waits".to_owned(), "approve".to_owned(), "valid".to_owned(), Some(0));
    assert_eq!(verdicts(&lab).await, [expected]);
    let unseen: i64 =
        sqlx::query_scalar("select count(*) from risk_calls where reason = 'connect'")
            .fetch_one(&lab.database)
            .await
            .expect("a number");
    assert!(unseen > 2, "{unseen} attempts in vain");
    assert_eq!(worker.stop().await, Some(0));
    simulator.stop().await;
}

/// An address of this host without a listener.
fn free() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
}
