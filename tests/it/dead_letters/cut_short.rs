//! Replays that are cut short or run at the same time: each letter is sent once.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{count, dead_letters, header, lab_with, malformed, replay, replays, source_of};
use crate::lab::{Event, Lab};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_kafka_a_replay_fails_and_a_second_run_repeats_nothing() {
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
        "insert into dead_letter_replays (source_topic, source_partition, source_offset, content, \
        number, replayed_by, reason)
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

/// If a command ended between announcement, sending and the record of the place, the next one finds
/// out.
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
    let unless = "unless the command of bob that was cut short sent it";
    assert_eq!(dry.out.matches(unless).count(), 3, "{}", dry.out);
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
        "select place_partition, place_offset, concat_ws('/', source_topic, source_partition, \
        source_offset) || '@' || content from dead_letter_replay_places",
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

/// A replayed event may be behind another producer's open transaction, where no `read_committed`
/// consumer sees it yet.
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

/// SIGKILL at arbitrary times, until a replay finishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeatedly_killed_replay_sends_each_letter_once() {
    let Some(lab) = lab_with("replaykill", &malformed(3_000)).await else { return };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut kills, mut cut_short) = (0, 0);
    loop {
        let before = count(&lab, "dead_letter_replays").await;
        // The command is killed when its future is dropped. That happens later each time, so that
        // it finishes.
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
