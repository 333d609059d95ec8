//! Dead letters: shown without harm, and replayed exactly as often as somebody answers for.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::lab::{Event, Lab, Seen, claim};

const LONG: Duration = Duration::from_secs(60);
const WARRANT: [&str; 4] = ["--by", "ann", "--reason", "the producer is mended"];

/// What a command printed, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

async fn dead_letters(lab: &Lab, more: &str, arguments: &[&str]) -> Said {
    let output = lab.claimgate(more, &[&["dead-letters"], arguments].concat()).await;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

async fn replay(lab: &Lab, more: &str, arguments: &[&str]) -> Said {
    dead_letters(lab, more, &[&["replay"], arguments, &WARRANT].concat()).await
}

async fn count(lab: &Lab, table: &'static str) -> i64 {
    let sql = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&lab.database).await.unwrap_or(0)
}

async fn wait_for_letters(lab: &Lab, letters: i64) {
    lab.wait("dead letters", LONG, async || count(lab, "dead_letters").await >= letters).await;
}

/// A lab whose worker made dead letters of these events, and was stopped.
async fn lab_with(name: &str, events: &[Event]) -> Option<Lab> {
    let lab = Lab::new(name).await?;
    lab.produce(events);
    let mut worker = lab.worker("w1", "");
    wait_for_letters(&lab, events.len() as i64).await;
    lab.wait("the dead-letter topic", LONG, async || lab.read("dead").len() == events.len()).await;
    assert_eq!(worker.stop().await, Some(0));
    Some(lab)
}

/// The replays in the input topic: by dead letter, the numbers in the order of their offsets.
fn replays(lab: &Lab) -> BTreeMap<String, Vec<String>> {
    let mut replays: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in lab.read("claims") {
        if let Some(number) = header(&seen, "claimgate-replays") {
            let from = header(&seen, "claimgate-replayed-from").expect("both headers or none");
            replays.entry(from).or_default().push(number);
        }
    }
    replays
}

fn header(seen: &Seen, name: &str) -> Option<String> {
    seen.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn malformed(count: usize) -> Vec<Event> {
    (0..count).map(|number| Event::of(format!("no claim {number}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_stays_malformed_is_replayed_until_the_bound_and_then_refused() {
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
    // A letter of the first round cannot go round the bound either.
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
        "select number, replayed_by, reason, recorded_by = 'ann' and announced_at <= recorded_at from dead_letter_replays
        join dead_letter_replay_places using (source_topic, source_partition, source_offset, content, number)",
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

async fn source_of(lab: &Lab, payload: &str) -> String {
    sqlx::query_scalar(
        "select source_partition || '/' || source_offset || '@' || content from dead_letters where payload = $1 order by recorded_at limit 1",
    )
    .bind(payload.as_bytes())
    .fetch_one(&lab.database)
    .await
    .expect("the letter")
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
    // Sent again, a conflict is one still.
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
        (&["--dry-run"][..], 1, "which letters?"),
        (&["a/0/1", "--error", "x"], 1, "not both"),
        (&["a/0/1", "--all"], 1, "not both"),
        (&["--error", "no_such_word"], 3, "no dead letter matches"),
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
    let rest = replay(&lab, "", &["--field", "account.id"]).await;
    assert_eq!(rest.code, Some(3), "none has this field");
    let rest = replay(&lab, "", &["--topic", &lab.topic("claims"), "--not-replayed"]).await;
    assert!(rest.out.ends_with("1 replayed; 0 left out, 0 refused, 0 failed\n"), "{}", rest.out);
    assert_eq!(replays(&lab).len(), 3);
}

/// Nothing that speaks to a terminal.
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
async fn hostile_bytes_are_shown_without_harm_and_replayed_to_the_byte() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kafka_away_one_sentence_says_so_and_a_second_run_doubles_nothing() {
    let Some(lab) = lab_with("replayaway", &malformed(5)).await else { return };
    let away = "[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\nrequest_timeout = \"2s\"";
    let said = replay(&lab, away, &["--all"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.error);
    assert!(said.error.contains("127.0.0.1:1 (kafka.bootstrap_servers)"), "{}", said.error);
    assert_eq!(said.error.lines().count(), 1, "{}", said.error);
    for expected in [
        "5 replayed; 0 left out, 0 refused, 0 failed\n",
        "0 replayed; 5 left out, 0 refused, 0 failed\n",
    ] {
        let said = replay(&lab, "", &["--all"]).await;
        assert!(said.code == Some(0) && said.out.ends_with(expected), "{}{}", said.out, said.error);
    }
    let all = replays(&lab);
    assert!(all.len() == 5 && all.values().all(|numbers| *numbers == ["1"]), "{all:?}");
}

/// Announces the replay of a letter as a command does that is cut short right after.
async fn announce(lab: &Lab, payload: &str) -> String {
    sqlx::query(
        "insert into dead_letter_replays (source_topic, source_partition, source_offset, content, number, replayed_by, reason)
        select source_topic, source_partition, source_offset, content, 1, 'bob', 'bob knows' from dead_letters where payload = $1",
    )
    .bind(payload.as_bytes())
    .execute(&lab.database)
    .await
    .expect("inserted");
    format!("{}/{}", lab.topic("claims"), source_of(lab, payload).await)
}

/// The transactional producer of a command that is cut short.
fn earlier(lab: &Lab) -> BaseProducer {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &lab.kafka)
        .set("transactional.id", format!("claimgate/{}/replay", lab.name));
    let producer: BaseProducer = client.create().expect("a producer");
    producer.init_transactions(Duration::from_secs(10)).expect("started");
    producer
}

fn send(lab: &Lab, producer: &BaseProducer, source: &str, payload: &str) {
    let number = Header { key: "claimgate-replays", value: Some("1") };
    let from = Header { key: "claimgate-replayed-from", value: Some(source) };
    let headers = OwnedHeaders::new().insert(number).insert(from);
    producer.begin_transaction().expect("begun");
    let topic = lab.topic("claims");
    let record = BaseRecord::<str, str>::to(&topic).partition(0).headers(headers).payload(payload);
    producer.send(record).map_err(|(error, _)| error).expect("queued");
    producer.flush(Duration::from_secs(10)).expect("delivered");
}

/// Whatever ended a command between announcement, sending and the record of the place: the next one
/// finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_was_cut_short_is_finished_once() {
    let Some(lab) = lab_with("cutshort", &malformed(4)).await else { return };
    let [unsent, sent, open] = [0, 1, 2].map(|number| format!("no claim {number}"));
    let unsent_source = announce(&lab, &unsent).await;
    let sent_source = announce(&lab, &sent).await;
    let producer = earlier(&lab);
    send(&lab, &producer, &sent_source, &sent);
    producer.commit_transaction(Duration::from_secs(10)).expect("committed");
    let open_source = announce(&lab, &open).await;
    send(&lab, &producer, &open_source, &open);

    let dry = replay(&lab, "", &["--all", "--dry-run"]).await;
    assert_eq!(
        dry.out.matches("unless the command of bob that was cut short sent it").count(),
        3,
        "{}",
        dry.out
    );
    let listed = dead_letters(&lab, "", &["list"]).await;
    assert_eq!(listed.out.matches("unfinished").count(), 3, "{}", listed.out);
    let said = replay(&lab, "", &["--all"]).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.error);
    assert!(
        said.out.contains(&format!("{sent_source}: left out: replayed already (replay 1 by bob")),
        "{}",
        said.out
    );
    for source in [&unsent_source, &open_source] {
        assert!(said.out.contains(&format!("{source}: replayed as")), "{}", said.out);
    }
    producer
        .commit_transaction(Duration::from_secs(10))
        .expect_err("the earlier command is fenced");
    let again = replay(&lab, "", &["--all"]).await;
    assert!(again.out.ends_with("0 replayed; 4 left out, 0 refused, 0 failed\n"), "{}", again.out);
    let all = replays(&lab);
    assert!(all.len() == 4 && all.values().all(|numbers| *numbers == ["1"]), "{all:?}");
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select replayed_by, recorded_by, count(*) from dead_letter_replays
        join dead_letter_replay_places using (source_topic, source_partition, source_offset, content, number) group by 1, 2 order by 1, 2",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    assert_eq!(
        rows,
        [("ann".to_owned(), "ann".to_owned(), 1), ("bob".to_owned(), "ann".to_owned(), 3)]
    );
    let places: Vec<(i32, i64, String)> = sqlx::query_as(
        "select place_partition, place_offset, concat_ws('/', source_topic, source_partition, source_offset) || '@' || content from dead_letter_replay_places",
    )
    .fetch_all(&lab.database)
    .await
    .expect("rows");
    let topic = lab.read("claims");
    for (partition, offset, source) in places {
        let seen = topic
            .iter()
            .find(|seen| (seen.partition, seen.offset) == (partition, offset))
            .expect("it is there");
        assert_eq!(header(seen, "claimgate-replayed-from"), Some(source));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_at_once_send_no_letter_twice() {
    let Some(lab) = lab_with("twoops", &malformed(1_200)).await else { return };
    let (one, two) =
        tokio::join!(replay(&lab, "", &["--all"]), replay(&lab, "", &["--error", "not_json"]));
    for said in [&one, &two] {
        let fine =
            said.code == Some(0) || said.error.contains("another replay was started and took over");
        assert!(fine && said.error.lines().count() <= 1, "{}", said.error);
    }
    let last = replay(&lab, "", &["--all"]).await;
    assert_eq!(last.code, Some(0), "{}", last.error);
    let all = replays(&lab);
    assert_eq!(all.len(), 1_200);
    assert!(all.values().all(|numbers| *numbers == ["1"]));
    assert_eq!(count(&lab, "dead_letter_replays").await, 1_200);
    assert_eq!(count(&lab, "dead_letter_replay_places").await, 1_200);
}

/// A replay that took place may stand behind somebody else's open transaction, where no
/// `read_committed` consumer sees it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_behind_an_open_transaction_is_waited_for() {
    let Some(lab) = lab_with("opentransaction", &[Event::of("no claim").on(0)]).await else {
        return;
    };
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &lab.kafka)
        .set("transactional.id", format!("{}-somebody", lab.name));
    let somebody: BaseProducer = client.create().expect("a producer");
    somebody.init_transactions(Duration::from_secs(10)).expect("started");
    let source = announce(&lab, "no claim").await;
    send(&lab, &somebody, "somebody/0/0", "no claim either");
    let producer = earlier(&lab);
    send(&lab, &producer, &source, "no claim");
    producer.commit_transaction(Duration::from_secs(10)).expect("committed");
    assert_eq!(replays(&lab).len(), 0, "hidden");
    let commit = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        somebody.commit_transaction(Duration::from_secs(10)).expect("committed");
    };
    let (said, ()) = tokio::join!(replay(&lab, "", &["--all"]), commit);
    assert!(
        said.out.ends_with("0 replayed; 1 left out, 0 refused, 0 failed\n"),
        "{}{}",
        said.out,
        said.error
    );
    assert_eq!(replays(&lab)[&source], ["1"]);
}

/// SIGKILL at moments of no choice, until a replay comes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_again_and_again_sends_each_letter_once() {
    let Some(lab) = lab_with("replaykill", &malformed(3_000)).await else { return };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut kills, mut cut_short) = (0, 0);
    loop {
        let before = count(&lab, "dead_letter_replays").await;
        // Dropped with its future, the command is killed. Later and later, so that it ends.
        let patience = Duration::from_millis(random.u64(100..1_500) + 50 * kills);
        match tokio::time::timeout(patience, replay(&lab, "", &["--all"])).await {
            Ok(said) => {
                assert_eq!(said.code, Some(0), "seed {seed}: {}", said.error);
                break;
            }
            Err(_) => {
                kills += 1;
                let announced = count(&lab, "dead_letter_replays").await;
                cut_short += u64::from(announced > count(&lab, "dead_letter_replay_places").await);
                println!(
                    "seed {seed}: killed after {patience:?}, {} announced",
                    announced - before
                );
            }
        }
        assert!(kills < 100, "seed {seed}: it does not come to its end");
    }
    println!("seed {seed}: {kills} kills, {cut_short} of them with replays unfinished");
    let all = replays(&lab);
    assert_eq!(all.len(), 3_000, "seed {seed}");
    assert!(all.values().all(|numbers| *numbers == ["1"]), "seed {seed}");
    assert_eq!(count(&lab, "dead_letter_replay_places").await, 3_000, "seed {seed}");
}

/// An event at the broker's own limit has no room left for the headers of its replay.
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

/// A producer gone wrong must not drain its topic into dead letters.
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
        "[dead_letters]\nmax_run = 100\nprobe_every = \"50ms\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n[breaker]\nmin_calls = 1000000\n\
         [retry]\ninitial_interval = \"50ms\"\nmax_interval = \"100ms\"\nin_process_for = \"300ms\"\ndefer_interval = \"1s\"\n\
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
    assert_eq!(
        get("/readyz").await.map(|(status, _)| status),
        Some(200),
        "a restart would not mend it"
    );
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

/// A topic that was made anew, or another cluster, counts from 0 again: an older event stood where
/// this one stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_p04_events_that_stood_at_one_place_are_told_apart() {
    let Some(lab) = Lab::new("usedplace").await else { return };
    assert_eq!(lab.claimgate("", &["migrate"]).await.status.code(), Some(0));
    let place = format!("{}/0/0", lab.topic("claims"));
    sqlx::query(
        "insert into dead_letters values
            ($1, 0, 0, 'not_json', null, 'x', null, 'the old event', '[]', now() - interval '1 year', '0', '00000000000000aa')",
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
