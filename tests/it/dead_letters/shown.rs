//! Dead letters are shown completely and safely.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Said, dead_letters, header, lab_with, replay};
use crate::lab::{Event, Lab, Seen};

/// No control characters.
fn harmless(said: &Said) {
    let control = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    assert_eq!(said.out.chars().find(control), None, "{}", said.out);
    assert_eq!(said.code, Some(0), "{}", said.error);
}

/// Each event of partition 1 can be shown for people, for programs, and as it is.
async fn shown_whole(lab: &Lab, events: &[Event]) {
    for (offset, event) in events.iter().enumerate() {
        let source = format!("{}/1/{offset}", lab.topic("claims"));
        harmless(&dead_letters(lab, "", &["show", &source]).await);
        let file = dead_letters(lab, "", &["show", &source, "--json"]).await;
        let file: Value = serde_json::from_str(&file.out).expect("JSON");
        assert_eq!(file["dead_letter"]["source_offset"], offset);
        let raw = lab.claimgate("", &["dead-letters", "show", &source, "--raw"]).await;
        match &event.payload {
            Some(payload) => assert_eq!(&raw.stdout, payload),
            None => {
                assert!(String::from_utf8_lossy(&raw.stderr).contains("is a tombstone"), "{raw:?}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_are_shown_safely_and_replayed_exactly() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\r{";
    let events = [
        Event {
            key: Some(b"\x1b[2J\xff\0".to_vec()),
            headers: vec![
                ("\u{1b}[31m".to_owned(), b"\xff\0".to_vec()),
                (String::new(), Vec::new()),
                ("claimgate-replays".to_owned(), b"\x1b many".to_vec()),
                ("tenant".to_owned(), "红\u{1b}".into()),
                ("tenant".to_owned(), vec![0; 10_000]),
            ],
            ..Event::of(hostile)
        },
        Event { key: Some(vec![b'k'; 50_000]), ..Event::default() },
        Event { key: Some(Vec::new()), ..Event::of("") },
    ];
    let Some(lab) = lab_with("hostileletters", &events.clone().map(|event| event.on(1))).await
    else {
        return;
    };
    let list = dead_letters(&lab, "", &["list"]).await;
    harmless(&list);
    assert!(list.out.lines().all(|line| line.len() < 400), "{}", list.out);
    let newest = dead_letters(&lab, "", &["list", "--limit", "2", "--json"]).await;
    assert_eq!(newest.out.lines().count(), 2);
    assert!(newest.error.contains("more than 2"), "{}", newest.error);
    let lines: Vec<Value> =
        newest.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&lines[0]["error"], &lines[1]["error"]),
        (&Value::from("not_json"), &Value::from("tombstone"))
    );

    shown_whole(&lab, &events).await;
    harmless(&replay(&lab, "", &["--partition", "1"]).await);
    let again: Vec<Seen> = lab
        .read("claims")
        .into_iter()
        .filter(|seen| seen.headers.contains_key("claimgate-replayed-from"))
        .collect();
    assert_eq!(again.len(), 3);
    for (offset, (seen, event)) in again.iter().zip(&events).enumerate() {
        assert_eq!((&seen.key, &seen.payload, seen.partition), (&event.key, &event.payload, 1));
        let mut expected: BTreeMap<String, Vec<u8>> = event.headers.iter().cloned().collect();
        expected.insert("claimgate-replays".to_owned(), b"1".to_vec());
        let from = header(seen, "claimgate-replayed-from").expect("a header");
        assert!(from.starts_with(&format!("{}/1/{offset}@", lab.topic("claims"))), "{from}");
        expected.insert("claimgate-replayed-from".to_owned(), from.into());
        assert_eq!(seen.headers, expected);
    }
    let shown = dead_letters(&lab, "", &["show", &format!("{}/1/0", lab.topic("claims"))]).await;
    assert!(
        shown.out.contains("the producer is mended") && shown.out.contains("/1/3"),
        "{}",
        shown.out
    );
}
