//! How often an event may be replayed, and what happens then.

use serde_json::Value;

use super::{
    LONG, WARRANT, count, dead_letters, header, lab_with, malformed, replay, replays, source_of,
    wait_for_letters,
};
use crate::lab::{Event, Lab, Seen, claim};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_event_is_replayed_up_to_the_bound() {
    let Some(lab) = Lab::new("replaybound").await else { return };
    let mut events = malformed(2);
    events[0].key = Some(b"k".to_vec());
    events[0].headers = vec![("tenant".to_owned(), b"a".to_vec())];
    lab.produce(&events);
    let mut worker = lab.worker("w1", "");
    for round in 1..=3 {
        wait_for_letters(&lab, 2 * round).await;
        let said = replay(&lab, "", &["--error", "not_json"]).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.error);
        let left_out = 2 * (round - 1);
        assert!(
            said.out.ends_with(&format!("2 replayed; {left_out} left out, 0 refused, 0 failed\n")),
            "{}",
            said.out
        );
    }
    wait_for_letters(&lab, 8).await;
    let refused = replay(&lab, "", &["--error", "not_json", "--not-replayed"]).await;
    assert_eq!(refused.code, Some(4));
    assert!(
        refused.out.contains("refused: it was replayed 3 times (dead_letters.max_replays)"),
        "{}",
        refused.out
    );
    assert!(
        refused.error.starts_with("claimgate: 2 of 2 dead letters were not replayed"),
        "{}",
        refused.error
    );
    // A letter of the first round cannot evade the bound either.
    let source = format!("{}/{}", lab.topic("claims"), source_of(&lab, "no claim 0").await);
    for number in 2..=3 {
        let again = replay(&lab, "", &[&source, "--again"]).await;
        assert!(again.out.contains(&format!("replay {number}\n")), "{}{}", again.out, again.error);
    }
    assert_eq!(replay(&lab, "", &[&source, "--again"]).await.code, Some(4));
    wait_for_letters(&lab, 10).await;
    assert_eq!(worker.stop().await, Some(0));

    let all = lab.read("claims");
    assert_eq!(all.len(), 2 + 6 + 2);
    let first: Vec<&Seen> =
        all.iter().filter(|seen| seen.payload.as_deref() == Some(b"no claim 0")).collect();
    for seen in &first {
        assert_eq!(
            (seen.key.as_deref(), &seen.headers["tenant"][..]),
            (Some(&b"k"[..]), &b"a"[..])
        );
        assert_eq!(seen.partition, first[0].partition, "the partition of its producer's choice");
    }
    assert_journal_of_8(&lab).await;
    let dead = lab.read("dead");
    let counts: Vec<Option<String>> =
        dead.iter().map(|seen| header(seen, "claimgate-replays")).collect();
    assert_eq!(
        (dead.len(), counts.iter().filter(|count| count.as_deref() == Some("3")).count()),
        (10, 3)
    );
}

async fn assert_journal_of_8(lab: &Lab) {
    let rows: Vec<(i32, String, String, bool)> = sqlx::query_as(
        "select number, replayed_by, reason, recorded_by = 'ann' and announced_at <= recorded_at
        from dead_letter_replays
        join dead_letter_replay_places using (source_topic, source_partition, source_offset,
            content, number)",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    assert_eq!(rows.len(), 8);
    assert!(
        rows.iter()
            .all(|(_, by, reason, in_order)| by == "ann" && reason == WARRANT[3] && *in_order),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_kind_is_served_now_gets_its_one_decision() {
    let Some(lab) = Lab::new("newkind").await else { return };
    let event = claim("cap-1", "user").replace("qr_code", "bottle_cap");
    let conflict = claim("fine", "user").replace("red packet", "blue packet");
    lab.produce(&[
        Event::of(event.clone()).on(1),
        Event::of(claim("fine", "user")).on(2),
        Event::of(conflict).on(2),
    ]);
    let mut worker = lab.worker("w1", "");
    wait_for_letters(&lab, 2).await;
    assert_eq!(worker.stop().await, Some(0));

    let mut worker =
        lab.worker("w1", "[risk.intelligent_qr_code]\nserves = [\"qr_code\", \"bottle_cap\"]");
    for _ in 0..3 {
        let said = replay(&lab, "", &["--error", "unknown_kind", "--again"]).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.error);
        // Not before the worker has it: a crash between would be another test.
        lab.wait("the decision", LONG, async || lab.read("decisions").len() >= 2).await;
    }
    // A conflict that is sent again is still a conflict.
    assert_eq!(replay(&lab, "", &["--error", "claim_id_conflict"]).await.code, Some(0));
    wait_for_letters(&lab, 3).await;
    assert_eq!(worker.stop().await, Some(0));

    let decisions: Vec<Value> = lab
        .read("decisions")
        .iter()
        .map(|seen| {
            serde_json::from_slice(seen.payload.as_deref().expect("a payload")).expect("JSON")
        })
        .collect();
    let of = |id: &str| decisions.iter().filter(|decision| decision["claim_id"] == id).count();
    assert_eq!((of("cap-1"), of("fine"), decisions.len()), (1, 1, 2));
    assert_eq!(replays(&lab).into_values().collect::<Vec<_>>(), [vec!["1", "2", "3"], vec!["1"]]);
    let errors: Vec<String> = sqlx::query_scalar("select error from dead_letters order by error")
        .fetch_all(&lab.database)
        .await
        .expect("rows");
    assert_eq!(errors, ["claim_id_conflict", "claim_id_conflict", "unknown_kind"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_sends_nothing_and_a_replay_says_which() {
    let Some(lab) = lab_with("dryrun", &malformed(3)).await else { return };
    // Not even a connection: Kafka is elsewhere.
    let elsewhere = "[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\nrequest_timeout = \"2s\"";
    let said = replay(&lab, elsewhere, &["--all", "--dry-run"]).await;
    assert_eq!(said.code, Some(0), "{}", said.error);
    assert_eq!(
        said.out.matches("would be replayed, replay 1: not_json").count(),
        3,
        "{}",
        said.out
    );
    assert!(
        said.out
            .ends_with("3 would be replayed, nothing was sent; 0 left out, 0 refused, 0 failed\n"),
        "{}",
        said.out
    );
    assert_eq!((count(&lab, "dead_letter_replays").await, lab.read("claims").len()), (0, 3));

    for (arguments, code, named) in [
        (&["--dry-run"][..], 2, "which letters?"),
        (&["a/0/1", "--error", "not_json"], 2, "not both"),
        (&["a/0/1", "--all"], 2, "not both"),
        (&["--since", "1h", "--until", "2h"], 2, "the period is empty"),
        (&["--error", "tombstone"], 3, "no dead letter matches"),
    ] {
        let said = replay(&lab, "", arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}");
        assert!(said.error.contains(named) && said.error.lines().count() == 1, "{}", said.error);
    }
    for warrant in [&["--by", "ann"][..], &["--reason", "x"], &["--by", " ", "--reason", "x"]] {
        let said = dead_letters(&lab, "", &[&["replay", "--all"], warrant].concat()).await;
        assert_eq!(said.code, Some(2), "{warrant:?}");
    }
    let missing = replay(&lab, "", &["nowhere/0/1"]).await;
    assert!(
        missing.out.starts_with("nowhere/0/1: failed: no dead letter was this record"),
        "{}",
        missing.out
    );
    assert_eq!(missing.code, Some(4));
    assert_eq!((count(&lab, "dead_letter_replays").await, lab.read("claims").len()), (0, 3));

    let limited =
        replay(&lab, "", &["--since", "1h", "--until", "2199-01-01T00:00:00Z", "--limit", "2"])
            .await;
    assert!(
        limited.out.ends_with("2 replayed; 0 left out, 0 refused, 0 failed\n"),
        "{}",
        limited.out
    );
    let next = replay(&lab, "", &["--all", "--limit", "2", "--dry-run"]).await;
    let counts = "1 would be replayed, nothing was sent; 2 left out, 0 refused, 0 failed\n";
    assert!(next.out.ends_with(counts), "a limit counts what is sent: {}", next.out);
    let rest = replay(&lab, "", &["--field", "account.id"]).await;
    assert_eq!(rest.code, Some(3), "none has this field");
    let rest = replay(&lab, "", &["--topic", &lab.topic("claims"), "--not-replayed"]).await;
    assert!(rest.out.ends_with("1 replayed; 0 left out, 0 refused, 0 failed\n"), "{}", rest.out);
    assert_eq!(replays(&lab).len(), 3);
}
