//! Messages that their topics do not accept as they are: each gets another form or another outcome,
//! and the others are published.

use serde_json::Value;

use super::{LONG, log, set_max_bytes};
use crate::lab::{Event, Lab, Seen, claim};
use crate::oracle::{Expected, outcome};

/// Claims of many accounts, with what `shape` makes of each.
fn claims(
    lab: &Lab,
    ids: impl Iterator<Item = String>,
    shape: impl Fn(&str, Event) -> Event,
) -> Expected {
    let expected = Expected { claims: ids.collect(), ..Expected::default() };
    let event = |id: &String| shape(id, Event::of(claim(id, &format!("user-{id}"))));
    lab.produce(&expected.claims.iter().map(event).collect::<Vec<_>>());
    expected
}

/// The one decision about a claim, as the topic has it.
fn decision(lab: &Lab, id: &str) -> (Seen, Value) {
    let mut found = lab.read("decisions").into_iter().map(|seen| {
        let value: Value =
            serde_json::from_slice(seen.payload.as_deref().expect("a payload")).expect("JSON");
        (seen, value)
    });
    found.find(|(_, value)| value["claim_id"] == id).expect("it is decided")
}

/// An event that Kafka takes, with a key that leaves no room for the decision beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_key_fills_a_message_is_decided() {
    let Some(lab) = Lab::new("key").await else { return };
    let mut worker = lab.worker("w1", "");
    let expected =
        claims(&lab, (0..100).map(|number| format!("clm-{number}")), |id, event| match id {
            "clm-50" => Event { key: Some(vec![b'k'; 1_047_500]), ..event },
            _ => Event { key: Some(b"short".to_vec()), ..event },
        });
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let (seen, value) = decision(&lab, "clm-50");
    assert_eq!(seen.key.as_deref(), Some(&b"clm-50"[..]), "under the claim's id");
    assert_eq!(value["truncated"], true, "and it says so");
    let (seen, value) = decision(&lab, "clm-51");
    assert_eq!((seen.key.as_deref(), value.get("truncated")), (Some(&b"short"[..]), None));
}

/// The event as a whole has a bound, not its value alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_or_headers_that_are_too_large_make_a_dead_letter() {
    let Some(lab) = Lab::new("event-size").await else { return };
    let (long, fine) = (claim("long-key", "a"), claim("fine", "b"));
    let headers = claim("long-headers", "c");
    lab.produce(&[
        Event { key: Some(vec![b'k'; 20_000]), ..Event::of(long.clone()) },
        Event { headers: vec![("h".to_owned(), vec![b'h'; 20_000])], ..Event::of(headers.clone()) },
        Event { key: Some(vec![b'k'; 5_000]), ..Event::of(fine) },
    ]);
    let dead = [long, headers].map(|event| (event.into_bytes(), "too_large")).to_vec();
    let expected = Expected { claims: ["fine".to_owned()].into(), dead };
    let mut worker = lab.worker("w1", "[kafka]\nmax_event_bytes = 10000");
    lab.wait("every event decided or dead", LONG, async || expected.is_complete(&outcome(&lab)))
        .await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}

/// The topic of decisions suddenly accepts only smaller messages; when it accepts more, messages
/// are complete again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_whose_limit_shrinks_delays_nothing_else() {
    let Some(lab) = Lab::new("less").await else { return };
    let mut worker = lab.worker("w1", "");
    let long_key =
        |id: &str, event| Event { key: Some(format!("{id:x<5000}").into_bytes()), ..event };
    let mut expected = claims(&lab, (0..50).map(|number| format!("before-{number}")), long_key);
    lab.wait("the first decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    set_max_bytes(&lab, "decisions", 3_000).await;
    expected
        .claims
        .extend(claims(&lab, (0..200).map(|number| format!("after-{number}")), long_key).claims);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let (seen, value) = decision(&lab, "after-7");
    assert_eq!(seen.key.as_deref(), Some(&b"after-7"[..]));
    assert_eq!(
        (&value["truncated"], &value["reasons"][0]["code"]),
        (&true.into(), &"level".into())
    );
    assert!(
        log(&lab, "w1").contains("takes messages of at most 3000 bytes"),
        "it says what holds them back"
    );
    set_max_bytes(&lab, "decisions", 1_000_000).await;
    let mut worker = lab.worker("w1", "");
    expected.claims.extend(claims(&lab, std::iter::once("last".to_owned()), long_key).claims);
    lab.wait("the last decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    assert_eq!(decision(&lab, "last").0.key.map(|key| key.len()), Some(5_000));
}

/// A decisions topic that accepts no decision is a configuration fault: the worker names it, and
/// leaves nothing out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_no_decision_is_named_and_waited_for() {
    let Some(lab) = Lab::new("nothing").await else { return };
    set_max_bytes(&lab, "decisions", 300).await;
    let expected = claims(&lab, (0..50).map(|number| format!("clm-{number}")), |_, event| event);
    let mut worker = lab.worker("w1", "");
    let named = async || log(&lab, "w1").contains("rejects messages: MessageSizeTooLarge");
    lab.wait("the topic to be named", LONG, named).await;
    set_max_bytes(&lab, "decisions", 100_000).await;
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}

/// A flush has only one decision, which its topic rejects even when cut. Later ones show that the
/// topic works, and this one is left out.
async fn a_decision_that_is_refused_alone(name: &str, guarantee: &str) {
    let Some(lab) = Lab::new(name).await else { return };
    let mut worker = lab.worker("w1", &format!("[kafka]\nguarantee = {guarantee:?}"));
    let first = claims(&lab, std::iter::once("short".to_owned()), |_, event| event);
    lab.wait("the first decided", LONG, async || first.is_complete(&outcome(&lab))).await;
    let (seen, _) = decision(&lab, "short");
    let headers: usize = seen.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    set_max_bytes(&lab, "decisions", bytes(&seen.key) + bytes(&seen.payload) + headers + 300).await;
    let long = "\u{6f22}".repeat(128);
    lab.produce(&[Event::of(claim(&long, "user-long"))]);
    let named = async || log(&lab, "w1").contains("rejects messages: MessageSizeTooLarge");
    lab.wait("the topic to be named", LONG, named).await;
    let others = claims(&lab, (0..20).map(|number| format!("clm-{number}")), |_, event| event);
    let decided = async || {
        let decided = outcome(&lab).decisions;
        others.claims.iter().all(|id| decided.get(id).is_some_and(|all| all.len() == 1))
    };
    lab.wait("the others decided, once each", LONG, decided).await;
    assert_eq!(worker.stop().await, Some(0));
    assert!(!outcome(&lab).decisions.contains_key(&long), "it was left out");
    assert_eq!(log(&lab, "w1").matches("only its row in Postgres has the content").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_is_refused_alone_blocks_no_other() {
    a_decision_that_is_refused_alone("alone", "exactly_once").await;
}

/// The others are in their topic when this one is left out. Before the fix they were sent again for
/// ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_is_refused_alone_blocks_no_other_without_transactions() {
    a_decision_that_is_refused_alone("alone-once", "at_least_once").await;
}

const IMPATIENT: &str = "[retry]\ninitial_interval = \"50ms\"\nmax_interval = \"200ms\"\n\
    in_process_for = \"500ms\"\ndefer_interval = \"1s\"\n\
    [retry.budget]\nratio = 1.0\nper_second = 1000.0\nreserve = 1000.0\n[breaker]\n\
    min_calls = 1000000";

/// The retry topic takes less than the input topic: a claim that cannot be deferred is decided as
/// unassessed, the others wait for their API. The worker either knows it from the topic, or finds
/// it out.
async fn claims_that_cannot_be_deferred(name: &str, knows: bool) {
    let Some(lab) = Lab::new(name).await else { return };
    if knows {
        set_max_bytes(&lab, "retry", 3_000).await;
    }
    let mut worker = lab.worker("w1", IMPATIENT);
    let first = claims(&lab, std::iter::once("first".to_owned()), |_, event| event);
    lab.wait("the first decided", LONG, async || first.is_complete(&outcome(&lab))).await;
    set_max_bytes(&lab, "retry", 3_000).await;
    let mut expected = first;
    let mut events = Vec::new();
    for number in 0..60 {
        // The API answers for each account only after enough calls that its claim has to be
        // deferred.
        let (id, account) = (format!("clm-{number}"), format!("user-{number}-transient-12"));
        let key = if number % 10 == 0 { vec![b'k'; 6_000] } else { b"short".to_vec() };
        events.push(Event { key: Some(key), ..Event::of(claim(&id, &account)) });
        expected.claims.insert(id);
    }
    lab.produce(&events);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let decided = outcome(&lab).decisions;
    for number in 0..60 {
        let reason = &decided[&format!("clm-{number}")][0]["reasons"][0]["code"];
        let right = if number % 10 == 0 { "unassessed" } else { "level" };
        assert_eq!(reason, right, "claim {number}");
    }
    assert!(lab.read("retry").len() >= 54, "the others were deferred");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_known_to_be_too_large_for_the_retry_topic_is_decided() {
    claims_that_cannot_be_deferred("undeferrable-known", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_the_retry_topic_refuses_is_decided() {
    claims_that_cannot_be_deferred("undeferrable", false).await;
}

/// The dead-letter topic accepts nothing: only the rows exist, which is logged and counted;
/// everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_refused_in_every_form_is_left_out_and_reported() {
    let Some(lab) = Lab::new("no-letters").await else { return };
    let mut worker = lab.worker("w1", "");
    let mut expected =
        claims(&lab, (0..50).map(|number| format!("before-{number}")), |_, event| event);
    lab.wait("the first decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    set_max_bytes(&lab, "dead", 100).await;
    let garbage = (0..100).map(|number| Event::of(format!("garbage {number}")));
    lab.produce(&garbage.collect::<Vec<_>>());
    expected.claims.extend(
        claims(&lab, (0..200).map(|number| format!("after-{number}")), |_, event| event).claims,
    );
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    lab.wait("no lag", LONG, async || crate::outages::lag(&lab) == 0).await;
    assert_eq!(worker.stop().await, Some(0));
    assert!(lab.read("dead").is_empty());
    let rows: i64 = sqlx::query_scalar("select count(*) from dead_letters")
        .fetch_one(&lab.database)
        .await
        .expect("the rows");
    assert_eq!(rows, 100, "Postgres has each of them");
    assert_eq!(log(&lab, "w1").matches("only its row in Postgres has the content").count(), 100);
    assert!(outcome(&lab).decisions.values().all(|decisions| decisions.len() == 1));
}
