//! Exactly once, on Apache Kafka and PostgreSQL, with workers that are killed.

use std::collections::BTreeMap;
use std::time::Duration;

use claimgate_simulator::{Latency, SimulatorOptions};

use super::lab::{Event, Lab, Worker, claim};
use super::oracle::{Expected, outcome};
use crate::lab::answers_after;

const LONG: Duration = Duration::from_secs(120);

/// Claims, malformed events and duplicates, in an order that mixes them.
fn mixture(count: usize) -> (Vec<Event>, Expected) {
    let (mut events, mut expected) = (Vec::new(), Expected::default());
    for number in 0..count {
        let id = format!("clm-{number:05}");
        let words = match number % 40 {
            3 => "-transient-2",
            7 => "-level-4",
            11 => "-transient-1-http-503",
            _ => "",
        };
        let event = claim(&id, &format!("user-{}{words}", number % 500));
        if number % 50 == 9 {
            let malformed = format!("{{\"claim_id\": \"{id}\", \"kind\": \"qr_code\"");
            expected.dead.push((malformed.clone().into_bytes(), "not_json"));
            events.push(Event::of(malformed));
        }
        events.push(Event {
            key: Some(format!("key-{}", number % 97).into_bytes()),
            ..Event::of(event.clone())
        });
        if number % 25 == 5 {
            // The same claim again, perhaps in another partition.
            events.push(Event::of(event));
        }
        if number % 100 == 17 {
            let other = claim(&id, "somebody-else");
            expected.dead.push((other.clone().into_bytes(), "claim_id_conflict"));
            // Behind the first one, so that it is known which of the two is the claim.
            events.push(Event {
                key: Some(format!("key-{}", number % 97).into_bytes()),
                ..Event::of(other)
            });
        }
        expected.claims.insert(id);
    }
    (events, expected)
}

/// Evidence is encrypted.
const ENCRYPTED: &str = "[audit]\nsubject_key = \"a key of our own\"\n[postgres]\n\
    evidence_keys = \"\
    000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"";

pub(crate) fn simulator() -> SimulatorOptions {
    answers_after(Latency::Uniform(5.0, 40.0))
}

/// No account was asked about more than once.
pub(crate) fn assert_asked_once(lab: &Lab) {
    for ((_, account), calls) in lab.simulator.calls().counts() {
        assert_eq!(calls, 1, "{account} was asked about {calls} times");
    }
}

/// Without the key, no account can be read in the tables.
async fn assert_encrypted(lab: &Lab) {
    let query = "select
        (select count(*) from risk_calls where request not like 'encrypted:%'
            or get_byte(response, 0) <> 193),
        (select count(*) from claim_events where get_byte(payload, 0) <> 193),
        (select count(*) from dead_letters where get_byte(payload, 0) <> 193)";
    let in_clear: (i64, i64, i64) =
        sqlx::query_as(query).fetch_one(&lab.database).await.expect("rows");
    assert_eq!(in_clear, (0, 0, 0), "attempts, events, dead letters in clear");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_killed_at_random_lose_and_double_nothing() {
    let Some(lab) = Lab::with("kills", simulator()).await else { return };
    let lab = lab.everywhere(ENCRYPTED);
    let (events, expected) = mixture(6_000);
    let more = "[worker]\nmax_in_flight = 200\n[retry]\ninitial_interval = \"50ms\"";
    let mut workers: BTreeMap<&str, Worker> =
        ["w1", "w2", "w3"].into_iter().map(|name| (name, lab.worker(name, more))).collect();
    let seed = std::env::var("CLAIMGATE_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("CLAIMGATE_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    for chunk in events.chunks(events.len() / 12 + 1) {
        lab.produce(chunk);
        tokio::time::sleep(Duration::from_millis(random.u64(300..1500))).await;
        let name = ["w1", "w2", "w3"][random.usize(..3)];
        workers.get_mut(name).expect("started").kill();
        kills += 1;
        tokio::time::sleep(Duration::from_millis(random.u64(0..500))).await;
        workers.insert(name, lab.worker(name, more));
    }
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    for worker in workers.values_mut() {
        assert_eq!(worker.stop().await, Some(0));
    }
    expected.verify(&lab).await;
    assert_encrypted(&lab).await;
    assert!(kills >= 10, "{kills} kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_repeats_no_call() {
    let Some(lab) = Lab::with("rolling", simulator()).await else { return };
    let mut expected = Expected::default();
    let mut workers = [lab.worker("w1", ""), lab.worker("w2", "")];
    for round in 0..6 {
        expected.produce(&lab, (0..300).map(|number| format!("clm-{round}-{number}")));
        tokio::time::sleep(Duration::from_millis(700)).await;
        let index = round % 2;
        assert_eq!(workers[index].stop().await, Some(0));
        workers[index] = lab.worker(["w1", "w2"][index], "");
    }
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    for worker in &mut workers {
        assert_eq!(worker.stop().await, Some(0));
    }
    expected.verify(&lab).await;
    assert_asked_once(&lab);
}

/// Two workers under one name: one of them ends with a sentence, and nothing is repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_with_one_name_one_gives_up() {
    let Some(lab) = Lab::with("twins", simulator()).await else { return };
    let mut expected = Expected::default();
    let mut twins = [lab.worker("w1", ""), lab.worker("w1", "")];
    expected.produce(&lab, (0..1_000).map(|number| format!("clm-{number}")));
    let mut ended = None;
    lab.wait("one of them to end", LONG, async || {
        ended = twins.iter_mut().position(|twin| twin.has_ended());
        ended.is_some()
    })
    .await;
    let (one, other) = twins.split_at_mut(1);
    let (loser, winner) =
        if ended == Some(0) { (&mut one[0], &mut other[0]) } else { (&mut other[0], &mut one[0]) };
    assert_eq!(loser.end(Duration::from_secs(1)).await, Some(1));
    let log = std::fs::read_to_string(lab.log("w1")).expect("the log");
    assert!(log.contains("claimgate: ") && log.contains("kafka.instance_id"), "{log}");
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    expected.verify(&lab).await;
    assert_eq!(winner.stop().await, Some(0));
}
