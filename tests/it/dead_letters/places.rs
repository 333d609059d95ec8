//! Events without room for headers, floods of events, and events at the place of another one.

use serde_json::Value;

use super::{
    LONG, count, dead_letters, header, lab_with, malformed, replay, replays, wait_for_letters,
};
use crate::lab::{Event, Lab, claim};

/// An event at the broker's limit has no room for the headers of its replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_fails_alone() {
    let mut events = malformed(3);
    events.insert(1, Event::of(vec![b'x'; 1_048_460]));
    let events: Vec<Event> = events.into_iter().map(|event| event.on(0)).collect();
    let Some(lab) = lab_with("toolarge", &events).await else { return };
    let said = replay(&lab, "", &["--all"]).await;
    assert_eq!(said.code, Some(4));
    assert!(
        said.out.ends_with("3 replayed; 0 left out, 0 refused, 1 failed\n"),
        "{}{}",
        said.out,
        said.error
    );
    assert!(
        said.out.contains(": failed: with the headers of its replay it is too large for the topic"),
        "{}",
        said.out
    );
    assert_eq!(replays(&lab).len(), 3);
    let again = replay(&lab, "", &["--all"]).await;
    assert!(
        again.out.ends_with("0 replayed; 3 left out, 0 refused, 1 failed\n"),
        "{}{}",
        again.out,
        again.error
    );
}

/// A faulty producer must not turn its whole topic into dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_pauses_intake_until_a_well_formed_event_comes() {
    let Some(lab) = Lab::new("flood").await else { return };
    let deferred = Event::of(claim("deferred", "user-transient-12")).on(0);
    let mut events: Vec<Event> = malformed(300).into_iter().map(|event| event.on(0)).collect();
    events.push(Event::of(claim("behind", "user")).on(0));
    events.extend(malformed(50).into_iter().map(|event| event.on(0)));
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port")
        .port();
    let more = format!(
        "[dead_letters]\nmax_run = 100\nprobe_every = \"50ms\"\n[http]\n\
        listen = \"127.0.0.1:{port}\"\n[breaker]\nmin_calls = 1000000\n\
         [retry]\ninitial_interval = \"50ms\"\nmax_interval = \"100ms\"\n\
         in_process_for = \"300ms\"\ndefer_interval = \"1s\"\n\
         [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0"
    );
    let mut worker = lab.worker("w1", &more);
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    };
    let flood = async |value: &str| {
        let line = format!("claimgate_dead_letter_flood {value}");
        get("/metrics").await.is_some_and(|(_, metrics)| metrics.lines().any(|found| found == line))
    };
    lab.produce(&[deferred]);
    lab.wait("the deferred claim", LONG, async || !lab.read("retry").is_empty()).await;
    lab.produce(&events);
    lab.wait("the flood", LONG, async || flood("1").await).await;
    let letters = count(&lab, "dead_letters").await;
    assert!((90..=140).contains(&letters), "{letters} dead letters at the beginning of the flood");
    let status = get("/readyz").await.map(|(status, _)| status);
    assert_eq!(status, Some(200), "a restart would not mend it");
    let decided = |id: &str| {
        lab.read("decisions").iter().any(|seen| {
            let decision: Value =
                serde_json::from_slice(seen.payload.as_deref().expect("a payload")).expect("JSON");
            decision["claim_id"] == id
        })
    };
    lab.wait("the deferred claim's decision", LONG, async || decided("deferred")).await;
    assert!(
        !decided("behind") && flood("1").await,
        "it came in during the flood and did not end it"
    );
    lab.wait("the claim behind the flood", LONG, async || decided("behind")).await;
    lab.wait("the end of the flood", LONG, async || flood("0").await).await;
    wait_for_letters(&lab, 350).await;
    assert_eq!(worker.stop().await, Some(0));
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    assert!(
        log.contains("a flood of malformed events: 100 in a row (dead_letters.max_run)"),
        "{log}"
    );
    assert!(log.contains("the flood of malformed events is over"), "{log}");
    lab.wait("every dead letter, once", LONG, async || lab.read("dead").len() == 350).await;
    assert_eq!(lab.read("decisions").len(), 2);
}

/// A topic that was deleted and created again, or another cluster, counts from 0: an older event
/// had the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_at_one_place_of_two_topic_generations_differ() {
    let Some(lab) = Lab::new("usedplace").await else { return };
    assert_eq!(lab.claimgate("", &["migrate"]).await.status.code(), Some(0));
    let place = format!("{}/0/0", lab.topic("claims"));
    sqlx::query(
        "insert into dead_letters values
            ($1, 0, 0, 'not_json', null, 'x', null, 'the old event', '[]',
                now() - interval '1 year', '0', '00000000000000aa')",
    )
    .bind(lab.topic("claims"))
    .execute(&lab.database)
    .await
    .expect("inserted");
    let payload = format!("the new event {}", "x".repeat(20_000));
    lab.produce(&[Event { key: Some(b"k".to_vec()), ..Event::of(payload.clone()).on(0) }]);
    let mut worker = lab.worker("w1", "[kafka]\nmax_message_bytes = 16384");
    lab.wait("the dead-letter topic", LONG, async || lab.read("dead").len() == 1).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_eq!(count(&lab, "dead_letters").await, 2, "each event has its row");

    let truncated = &lab.read("dead")[0];
    assert_eq!(truncated.payload, None);
    let [source, content] = ["claimgate-source", "claimgate-content"]
        .map(|name| header(truncated, name).expect("a header"));
    assert_eq!(source, place);
    let raw = dead_letters(&lab, "", &["show", &format!("{source}@{content}"), "--raw"]).await;
    assert_eq!(
        (raw.code, raw.out),
        (Some(0), payload.clone()),
        "the truncated message finds its own row"
    );
    let ambiguous = dead_letters(&lab, "", &["show", &place]).await;
    assert_ne!(ambiguous.code, Some(0));
    for letter in [format!("{place}@{content}"), format!("{place}@00000000000000aa")] {
        assert!(ambiguous.error.contains(&letter), "{}", ambiguous.error);
    }
    let refused = replay(&lab, "", &[&place]).await;
    assert!(refused.out.contains("2 events stood there"), "{}{}", refused.out, refused.error);
    assert_eq!(
        (count(&lab, "dead_letter_replays").await, lab.read("claims").len()),
        (0, 1),
        "nothing was sent"
    );

    let said = replay(&lab, "", &[&format!("{place}@{content}")]).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.error);
    let claims = lab.read("claims");
    assert_eq!((claims.len(), claims[1].payload.as_deref()), (2, Some(payload.as_bytes())));
    let rest = replay(&lab, "", &["--all"]).await;
    assert!(rest.out.ends_with("1 replayed; 1 left out, 0 refused, 0 failed\n"), "{}", rest.out);
    let old = lab.read("claims").pop().expect("the old event");
    assert_eq!(old.payload.as_deref(), Some(&b"the old event"[..]));
    assert_eq!(header(&old, "claimgate-replayed-from"), Some(format!("{place}@00000000000000aa")));
}
