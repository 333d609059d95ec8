//! Deferral: a claim that stays transient leaves the worker, survives restarts, and comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate_simulator::{Api, ApiFaults, Faults};
use serde_json::Value;

use super::lab::{Event, Lab, Seen, claim};
use super::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(90);
const QUICK: &str = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"\n\
    in_process_for = \"500ms\"\ndefer_interval = \"2s\"\n\
    [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0\n[breaker]\n\
    min_calls = 1000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_claim_survives_restarts_and_is_decided_once() {
    let Some(lab) = Lab::new("deferral").await else { return };
    let mut expected = Expected::default();
    let mut events = Vec::new();
    for number in 0..300 {
        let id = format!("clm-{number}");
        // For every tenth account the API answers only after enough calls that its claim was
        // deferred at least once.
        let words = if number % 10 == 0 { "-transient-25" } else { "" };
        let headers = vec![("tenant".to_owned(), b"a".to_vec())];
        events.push(Event { headers, ..Event::of(claim(&id, &format!("user-{number}{words}"))) });
        expected.claims.insert(id);
    }
    lab.produce(&events);
    let mut worker = lab.worker("w1", QUICK);
    lab.wait("claims in the retry topic", LONG, async || lab.read("retry").len() >= 30).await;
    worker.kill();
    let deferred = lab.read("retry");
    let first = deferred
        .iter()
        .find(|deferred| deferred.headers["claimgate-deferred"] == b"1")
        .expect("deferred for the first time");
    assert_eq!(first.headers["tenant"], b"a", "the event's own headers stay");
    assert!(
        String::from_utf8_lossy(&first.headers["claimgate-source"])
            .starts_with(&lab.topic("claims"))
    );
    let mut worker = lab.worker("w1", QUICK);
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.kill();
    let mut worker = lab.worker("w1", QUICK);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let attempts: Vec<i32> = sqlx::query_scalar("select attempts from verdicts where attempts > 1")
        .fetch_all(&lab.database)
        .await
        .expect("rows");
    assert_eq!(attempts.len(), 30);
    assert!(
        attempts.iter().all(|attempts| *attempts > 5),
        "attempts of earlier deferrals count: {attempts:?}"
    );
}

/// Its usual deferral is two seconds at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_claim_keeps_the_pause_that_its_answer_asks_for() {
    let Some(lab) = Lab::new("asked-pause").await else { return };
    let mut worker = lab.worker("w1", QUICK);
    let since = time::OffsetDateTime::now_utc();
    lab.produce(&[Event::of(claim("maintenance", "user-code-6200"))]);
    lab.wait("the claim in the retry topic", LONG, async || !lab.read("retry").is_empty()).await;
    worker.kill();
    let deferred = lab.read("retry").remove(0);
    let header = |name: &str| String::from_utf8_lossy(&deferred.headers[name]).into_owned();
    let not_before: i64 = header("claimgate-not-before").parse().expect("milliseconds");
    let not_before = time::OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(not_before);
    assert!(not_before >= since + Duration::from_secs(60), "{not_before:?}, asked at {since:?}");
    assert_eq!(
        (header("claimgate-attempts"), header("claimgate-reason")),
        ("1".into(), "maintenance".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_nobody_answers_ends_as_unassessed() {
    let Some(lab) = Lab::new("unassessed").await else { return };
    lab.produce(&[
        Event::of(claim("hopeless", "user-code-6000")),
        Event::of(claim("fine", "user")),
    ]);
    let mut worker = lab.worker(
        "w1",
        &QUICK
            .replace("[retry]\n", "[retry]\ngive_up_after = \"3s\"\non_unassessed = \"reject\"\n"),
    );
    let expected = Expected {
        claims: ["hopeless".to_owned(), "fine".to_owned()].into(),
        ..Expected::default()
    };
    lab.wait("both decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let outcome = outcome(&lab);
    let hopeless = &outcome.decisions["hopeless"][0];
    assert_eq!(
        (hopeless["decision"].as_str(), hopeless["reasons"][0]["code"].as_str()),
        (Some("reject"), Some("unassessed"))
    );
    assert_eq!(hopeless["source"]["topic"], lab.topic("claims"), "its first position");
    assert!(!lab.read("retry").is_empty(), "it was deferred first");
}

/// One API is down: the others are not affected, no useless calls are made, and all claims are
/// decided in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_api_is_left_alone_and_the_others_do_not_notice() {
    let Some(lab) = Lab::new("dead").await else { return };
    let dead = ApiFaults { down: true, ..ApiFaults::default() };
    lab.simulator
        .set_faults(Faults { apis: [(Api::WechatMarketing, dead)].into(), ..Faults::default() })
        .expect("faults");
    let (mut well, mut all, mut events) = (Expected::default(), Expected::default(), Vec::new());
    for number in 0..2_000 {
        let id = format!("clm-{number}");
        let mut event = claim(&id, &format!("user-{number}"));
        if number % 4 == 0 {
            event = event.replace("qr_code", "wechat_marketing");
        } else {
            well.claims.insert(id.clone());
        }
        all.claims.insert(id);
        events.push(Event::of(event));
    }
    lab.produce(&events);
    let more = "[retry]\nin_process_for = \"3s\"\ndefer_interval = \"2s\"\n\
        defer_max_interval = \"4s\"\n[worker]\nmax_in_flight = 300";
    let mut worker = lab.worker("w1", more);
    lab.wait("the claims of the others", LONG, async || well.is_complete(&outcome(&lab))).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let in_vain =
        lab.simulator.calls().all().iter().filter(|call| call.api == Api::WechatMarketing).count();
    // A window's worth until the breaker opens, then probes.
    assert!(in_vain < 150, "{in_vain} calls of a dead API");
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    lab.wait("all claims after the API came back", LONG, async || all.is_complete(&outcome(&lab)))
        .await;
    assert_eq!(worker.stop().await, Some(0));
    all.verify(&lab).await;
    let calls =
        lab.simulator.calls().all().iter().filter(|call| call.api == Api::WechatMarketing).count();
    assert!(calls - in_vain <= 550, "{} calls for 500 claims", calls - in_vain);
}

/// The ids that `audit deferred` lists.
async fn listed(lab: &Lab) -> Vec<String> {
    let output = lab.claimgate("", &["audit", "deferred", "--json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let claims = found["claims"].as_array().cloned().unwrap_or_default();
    let id = |claim: &Value| claim["claim_id"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<String> = claims.iter().map(id).collect();
    ids.sort();
    ids
}

/// Its records stay in the retry topic for as long as the topic keeps any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_claim_that_became_a_dead_letter_is_not_listed() {
    let Some(lab) = Lab::new("listed").await else { return };
    let slow = QUICK.replace("defer_interval = \"2s\"", "defer_interval = \"30m\"");
    let down = ApiFaults { down: true, ..ApiFaults::default() };
    let faults = Faults { apis: [(Api::IntelligentQrCode, down)].into(), ..Faults::default() };
    lab.simulator.set_faults(faults).expect("faults");
    lab.produce(&["a", "b"].map(|id| Event::of(claim(id, &format!("user-{id}")))));
    let mut worker = lab.worker("w1", &slow);
    lab.wait("both claims in the retry topic", LONG, async || lab.read("retry").len() == 2).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_eq!(listed(&lab).await, ["a", "b"]);

    let retry = lab.read("retry");
    let is_of_a = |seen: &&Seen| seen.payload.as_deref() == Some(claim("a", "user-a").as_bytes());
    let of_a = retry.iter().find(is_of_a).expect("the claim");
    let source = String::from_utf8_lossy(&of_a.headers["claimgate-source"]).into_owned();
    let mut source = source.rsplitn(3, '/');
    let [offset, partition, topic] = std::array::from_fn(|_| source.next().expect("a place"));
    let letter = "insert into dead_letters (source_topic, source_partition, source_offset, error,
            detail, headers, received_at, trace_id, content)
        values ($1, $2::int, $3::bigint, 'unrecordable', 'x', '[]', now() - $4::interval, '', $5)";
    let letter = async |age: &str, content: &str| {
        let insert = sqlx::query(letter).bind(topic).bind(partition).bind(offset);
        insert.bind(age).bind(content).execute(&lab.database).await.expect("written");
    };
    letter("1 year", "0123456789abcdef").await;
    assert_eq!(listed(&lab).await, ["a", "b"], "another event had the place before");
    letter("0", "fedcba9876543210").await;
    assert_eq!(listed(&lab).await, ["b"]);
}

/// An operator fixes the cause of deferrals, and does not want to wait until the claims are due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deferred_claims_are_asked_about_when_a_worker_is_told_so() {
    let Some(lab) = Lab::new("release").await else { return };
    let mut expected = Expected::default();
    // A few of them are in the worker; the others stay in the topic until they are due.
    let slow =
        QUICK.replace("defer_interval = \"2s\"", "defer_interval = \"30m\"\nmax_waiting = 8");
    let down = ApiFaults { down: true, ..ApiFaults::default() };
    let faults = Faults { apis: [(Api::IntelligentQrCode, down)].into(), ..Faults::default() };
    lab.simulator.set_faults(faults).expect("faults");
    expected.produce(&lab, (0..50).map(|number| format!("clm-{number}")));
    let mut worker = lab.worker("w1", &slow);
    lab.wait("claims in the retry topic", LONG, async || lab.read("retry").len() >= 50).await;
    lab.simulator.set_faults(Faults::default()).expect("no faults");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(outcome(&lab).decisions.is_empty(), "their time has not come");
    worker.signal("-USR2");
    let quick = Duration::from_secs(20);
    lab.wait("every claim decided", quick, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}

/// An API is allowed fewer calls than claims come: claims without a permit come back again and
/// again, and keep their age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_a_permit_keeps_its_first_admission() {
    let Some(lab) = Lab::new("permits").await else { return };
    let ids = (0..60).map(|number| format!("clm-{number}"));
    let events = ids.map(|id| Event::of(claim(&id, &format!("user-{id}"))));
    lab.produce(&events.collect::<Vec<_>>());
    let more = "[risk.intelligent_qr_code]\nrate_limit = 1.0\n[retry]\nin_process_for = \"500ms\"\n\
        defer_interval = \"1s\"\ndefer_max_interval = \"1s\"";
    let mut worker = lab.worker("w1", more);
    let number = |seen: &Seen, name: &str| -> i64 {
        String::from_utf8_lossy(&seen.headers[name]).parse().expect("a number")
    };
    let again =
        async || lab.read("retry").iter().any(|seen| number(seen, "claimgate-deferred") >= 3);
    lab.wait("a claim deferred three times", LONG, again).await;
    worker.kill();
    let mut times: BTreeMap<Vec<u8>, Vec<(i64, i64)>> = BTreeMap::new();
    for seen in lab.read("retry") {
        let since = number(&seen, "claimgate-deferred-since");
        let source = seen.headers["claimgate-source"].clone();
        times.entry(source).or_default().push((number(&seen, "claimgate-first-admitted"), since));
    }
    let mut again = 0;
    for times in times.values() {
        assert!(times.iter().all(|(first, _)| *first == times[0].0), "{times:?}");
        again += times.iter().filter(|(first, since)| first < since).count();
    }
    assert!(again > 0, "none was asked about in between, so none is tried since then");
}
