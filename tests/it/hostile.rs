//! Records of any content never crash or wedge the worker: each gets exactly one decision or one
//! dead letter.

use std::time::Duration;

use super::lab::{Event, Lab, PARTITIONS, claim};
use super::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(60);

fn hostile() -> Vec<(Option<Vec<u8>>, &'static str)> {
    let good = claim("x", "user");
    let mut events: Vec<(Option<Vec<u8>>, &'static str)> = vec![
        (None, "tombstone"),
        (Some(b"".to_vec()), "not_json"),
        (Some(b"\xff\xfe\x00".to_vec()), "not_utf8"),
        (Some(vec![0; 4096]), "not_json"),
        (Some(b"null".to_vec()), "not_an_object"),
        (Some(b"[]".to_vec()), "not_an_object"),
        (Some("[".repeat(100_000).into_bytes()), "not_json"),
        (Some(format!("{{\"a\":{}", "{\"a\":".repeat(50_000)).into_bytes()), "not_json"),
        (Some(good.replace("\"user\"", "\"\\ud800\"").into_bytes()), "not_json"),
        (Some(good.replace("\"user\"", "\"\"").into_bytes()), "missing_field"),
        (Some(good.replace("\"user\"", "{}").into_bytes()), "wrong_type"),
        (Some(good.replace("qr_code", "no_such_kind").into_bytes()), "unknown_kind"),
        (Some(good.replace("\"x\"", "\"a\\u0000b\"").into_bytes()), "invalid_value"),
        (Some(good.replace("1632994480", "-1").into_bytes()), "out_of_range"),
        (Some(good.replace("1632994480", "1e400").into_bytes()), "not_json"),
        (Some(good.replace("wechat", "phone_code").into_bytes()), "invalid_value"),
        (Some(format!("{}{}", good, " ".repeat(900_000)).into_bytes()), ""),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for length in 1..200 {
        events.push((Some((0..length).map(|_| random.u8(128..)).collect()), "not_utf8"));
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_any_content_are_survived() {
    let Some(lab) = Lab::new("hostile").await else { return };
    let mut expected = Expected::default();
    let mut events = Vec::new();
    for (index, (payload, error)) in hostile().into_iter().enumerate() {
        if error.is_empty() {
            expected.claims.insert("x".to_owned());
        } else {
            expected.dead.push((payload.clone().unwrap_or_default(), error));
        }
        events.push(Event { payload, ..Event::default() }.on(index as i32 % PARTITIONS));
        let id = format!("good-{index}");
        events.push(Event::of(claim(&id, &format!("u-{index}"))).on(index as i32 % PARTITIONS));
        expected.claims.insert(id);
    }
    // Text that JSON allows and Postgres cannot store, and unusual headers.
    let odd = claim("odd \u{1F381} \u{7f}", "a\u{0}b");
    expected.claims.insert("odd \u{1F381} \u{7f}".to_owned());
    let headers = vec![
        ("traceparent".to_owned(), b"\xff\xff".to_vec()),
        (String::new(), Vec::new()),
        ("claimgate-error".to_owned(), b"mine".to_vec()),
        ("\u{1F381}".repeat(50), vec![0; 10_000]),
    ];
    events.push(Event { headers: headers.clone(), key: Some(vec![0xff, 0]), ..Event::of(odd) });
    expected.dead.push((b"{".to_vec(), "not_json"));
    events.push(Event { headers, key: Some(vec![b'k'; 50_000]), ..Event::of("{") });
    lab.produce(&events);
    let mut worker = lab.worker("w1", "[worker]\nmax_in_flight = 20");
    lab.wait("every event decided or dead", LONG, async || expected.is_complete(&outcome(&lab)))
        .await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}

/// An event at the broker's limit has no room for the dead letter's headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_as_large_as_may_be_wedges_nothing() {
    let Some(lab) = Lab::new("large").await else { return };
    let mut expected = Expected::default();
    for (index, size) in [1_040_000, 1_048_400].into_iter().enumerate() {
        let garbage = vec![b'x'; size];
        lab.produce(&[
            Event::of(garbage.clone()),
            Event::of(claim(&format!("behind-{index}"), "u")),
        ]);
        expected.claims.insert(format!("behind-{index}"));
        // The second leaves no room: Postgres has the whole event, the message says where.
        expected.dead.push((if index == 0 { garbage } else { Vec::new() }, "not_json"));
    }
    let mut worker = lab.worker("w1", "");
    lab.wait("every event decided or dead", LONG, async || expected.is_complete(&outcome(&lab)))
        .await;
    assert_eq!(worker.stop().await, Some(0));
    let sizes: Vec<i32> = sqlx::query_scalar("select length(payload) from dead_letters order by 1")
        .fetch_all(&lab.database)
        .await
        .expect("rows");
    assert_eq!(sizes, [1_040_000, 1_048_400]);
    for dead in lab.read("dead") {
        assert!(dead.headers.contains_key("claimgate-source"));
        assert_eq!(dead.headers.contains_key("claimgate-truncated"), dead.payload.is_none());
    }
    expected.verify(&lab).await;
}
