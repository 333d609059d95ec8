//! Risk APIs that fail.

use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults};
use sqlx::Row;
use tokio::time::Instant;

use crate::lab::{Event, Lab, claim};
use crate::oracle::{Expected, outcome};
use crate::tail::Tail;

const LONG: Duration = Duration::from_secs(180);

/// An API is away for a while, under a steady load of claims that need it: how many calls does that
/// cost?
async fn storm(name: &str, away: Duration, defer_interval: &str) {
    let Some(lab) = Lab::new(name).await else { return };
    let worker_settings = format!("[retry]\ndefer_interval = \"{defer_interval}\"");
    let (mut worker, tail) = (lab.worker("w1", &worker_settings), Tail::of(&lab));
    let mut expected = Expected::default();
    let mut produce = |count: usize| {
        let first = expected.claims.len();
        let id = |number| format!("clm-{number}");
        let event = |number| Event::of(claim(&id(number), &format!("user-{number}")));
        lab.produce(&(first..first + count).map(event).collect::<Vec<_>>());
        expected.claims.extend((first..first + count).map(id));
    };
    produce(20);
    lab.wait("the first decisions", LONG, async || tail.count() >= 20).await;
    let hang = ApiFaults { server_error: 0.5, reset: 0.5, ..ApiFaults::default() };
    let faults = Faults { apis: [(Api::IntelligentQrCode, hang)].into(), ..Faults::default() };
    lab.simulator.set_faults(faults).expect("faults");
    let (began, before) = (Instant::now(), lab.simulator.calls().len());
    while began.elapsed() < away {
        produce(20);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let in_vain = lab.simulator.calls().len() - before;
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    let claims = expected.claims.len();
    lab.wait("every claim decided", LONG, async || tail.count() >= claims).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let calls = lab.simulator.calls().len();
    // Probes while it was open, by the defaults: after 0.5, 1, 2, 4 and 8 s, then every 10 s; and
    // three that succeed.
    let probes = 5 + away.as_secs() / 10 + 3;
    println!(
        "{name}: {calls} calls for {claims} claims, {in_vain} of them while the API was away for \
         {away:?}; {probes} probes at most"
    );
    let most = claims as u64 * 11 / 10 + probes;
    assert!(calls <= most, "{calls} calls for {claims} claims: more than {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_outage_causes_no_retry_storm() {
    storm("storm", Duration::from_secs(8), "2s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "at its full length"]
async fn an_api_outage_of_60_s_causes_no_retry_storm() {
    storm("storm-60", Duration::from_secs(60), "5s").await;
}

/// The API never answers about one subject, which has more claims than may be in flight: the others
/// overtake it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_always_fails_does_not_block_the_others() {
    let Some(lab) = Lab::new("poison").await else { return };
    let mut expected = Expected::default();
    let mut events = Vec::new();
    for number in 0..150 {
        let id = format!("bad-{number}");
        events.push(Event::of(claim(&id, "user-code-6000")));
    }
    for number in 0..500 {
        let id = format!("clm-{number}");
        events.push(Event::of(claim(&id, &format!("user-{number}"))));
        expected.claims.insert(id);
    }
    lab.produce(&events);
    let more =
        "[worker]\nmax_in_flight = 100\n[retry]\nin_process_for = \"2s\"\ngive_up_after = \"1h\"";
    let mut worker = lab.worker("w1", more);
    let began = Instant::now();
    lab.wait("the claims of the others", Duration::from_secs(40), async || {
        expected.is_complete(&outcome(&lab))
    })
    .await;
    println!("the others were decided after {} ms", began.elapsed().as_millis());
    assert_eq!(worker.stop().await, Some(0));
}

/// The API acted, but its answer never came: the attempt is recorded with an unknown outcome, and
/// the API is called again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_an_answer_is_kept_as_unknown() {
    let Some(lab) = Lab::new("unknown").await else { return };
    let mut worker = lab.worker("w1", "[risk.intelligent_qr_code]\ntimeout = \"500ms\"");
    lab.produce(&[Event::of(claim("clm", "user-transient-1-hang"))]);
    let expected = Expected { claims: ["clm".to_owned()].into(), ..Expected::default() };
    lab.wait("the decision", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let rows = sqlx::query(
        "select attempt, outcome, reason, request, response from risk_calls order by requested_at",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    let outcomes: Vec<(i32, String)> =
        rows.iter().map(|row| (row.get("attempt"), row.get("outcome"))).collect();
    assert_eq!(outcomes, [(1, "unknown".to_owned()), (2, "assessed".to_owned())]);
    assert_eq!(rows[0].get::<String, _>("reason"), "timeout");
    assert_eq!(rows[0].get::<Option<Vec<u8>>, _>("response"), None);
    let nonce = |row: &sqlx::postgres::PgRow| {
        let request: String = row.get("request");
        request
            .split('&')
            .find(|part| part.contains("Nonce="))
            .map(ToOwned::to_owned)
            .expect("a nonce")
    };
    assert_ne!(nonce(&rows[0]), nonce(&rows[1]), "each has its own");
}
