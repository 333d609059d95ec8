//! Messages that a topic does not accept.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lab::{Event, Lab, PARTITIONS, claim};
use crate::oracle::{Expected, outcome};

const LONG: Duration = Duration::from_secs(60);

/// A captcha API whose scripts are as large as the account's name says. Returns its address.
async fn verbose_vendor() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    let length = client.read(&mut buffer).await.unwrap_or(0);
                    if length == 0 {
                        return;
                    }
                    request.extend_from_slice(&buffer[..length]);
                }
                let request = String::from_utf8_lossy(&request);
                let size = if request.contains("uid=huge") { 2 << 20 } else { 1_048_000 };
                let script = "x".repeat(size);
                let body =
                    format!("{{\"code\":0,\"message\":\"No Error\",\"script\":\"{script}\"}}");
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has read enough hangs up.
                drop(client.write_all(format!("{head}{body}").as_bytes()).await);
            });
        }
    });
    format!("http://{address}")
}

fn captcha(id: &str, account: &str) -> String {
    serde_json::json!({
        "claim_id": id, "kind": "captcha", "claimed_at": 1_632_994_480,
        "account": { "type": "phone", "id": account, "registered_at": 1_436_673_889 },
        "client": { "ip": "121.14.96.121" },
        "captcha": { "type": 1, "business_id": 1, "scene_id": 2 }
    })
    .to_string()
}

/// Answers that are too large for Kafka, or for the worker, among others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_any_size_blocks_nothing() {
    let Some(lab) = Lab::new("verbose").await else { return };
    let url = verbose_vendor().await;
    let mut expected = Expected::default();
    let mut events = Vec::new();
    for number in 0..100 {
        let id = format!("clm-{number}");
        let event = match number {
            10 => captcha(&id, "large"),
            20 => captcha(&id, "huge"),
            _ => claim(&id, &format!("user-{number}")),
        };
        events.push(Event::of(event).on(number % PARTITIONS));
        expected.claims.insert(id);
    }
    lab.produce(&events);
    let more = format!(
        "[risk.captcha_query]\nbase_url = \"{url}\"\n\
        [retry]\nin_process_for = \"500ms\"\ngive_up_after = \"1s\"\ndefer_interval = \"1s\"\n\
        initial_interval = \"50ms\""
    );
    let mut worker = lab.worker("w1", &more);
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
    let outcome = outcome(&lab);
    let large = &outcome.decisions["clm-10"][0];
    assert_eq!(
        (&large["decision"], &large["truncated"]),
        (&"challenge".into(), &true.into()),
        "{large}"
    );
    let kept: i32 =
        sqlx::query_scalar("select length(challenge) from verdicts where claim_id = 'clm-10'")
            .fetch_one(&lab.database)
            .await
            .expect("a row");
    assert_eq!(kept, 1_048_000, "Postgres has it whole");
    let huge = &outcome.decisions["clm-20"][0];
    assert_eq!(
        (&huge["decision"], &huge["reasons"][0]["code"]),
        (&"review".into(), &"unassessed".into())
    );
}

/// The topic of dead letters accepts only tiny messages: they are cut, and Postgres has the whole
/// events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_topic_with_a_small_limit_blocks_nothing() {
    let Some(lab) = Lab::new("small").await else { return };
    let dead = lab.topic("dead");
    let small = AlterConfig::new(ResourceSpecifier::Topic(&dead)).set("max.message.bytes", "1000");
    lab.admin().alter_configs([&small], &AdminOptions::new()).await.expect("Kafka answers")[0]
        .as_ref()
        .expect("it is set");
    let mut expected = Expected::default();
    let mut events = Vec::new();
    for number in 0..300 {
        let id = format!("clm-{number}");
        events.push(Event::of(claim(&id, &format!("user-{number}"))));
        expected.claims.insert(id);
        // A few bytes, or some thousand.
        events.push(Event::of(format!(
            "garbage {number} {}",
            "x".repeat(if number % 3 == 0 { 5_000 } else { 5 })
        )));
    }
    let garbage = events.len() - expected.claims.len();
    lab.produce(&events);
    let mut worker = lab.worker("w1", "");
    let complete = async || {
        let outcome = outcome(&lab);
        expected.is_complete(&outcome) && outcome.dead.len() >= garbage
    };
    lab.wait("every event decided or dead", LONG, complete).await;
    assert_eq!(worker.stop().await, Some(0));
    let outcome = outcome(&lab);
    assert_eq!(outcome.dead.len(), garbage);
    for letter in &outcome.dead {
        let cut = letter.headers.contains_key("claimgate-truncated");
        assert_eq!(cut, letter.payload.is_none());
        assert!(letter.headers.contains_key("claimgate-source"));
        assert!(letter.payload.as_ref().is_none_or(|payload| payload.starts_with(b"garbage")));
    }
    assert!(outcome.decisions.values().all(|decisions| decisions[0].get("truncated").is_none()));
    let whole: i64 =
        sqlx::query_scalar("select count(*) from dead_letters where length(payload) > 5000")
            .fetch_one(&lab.database)
            .await
            .expect("a number");
    assert_eq!(whole, 100, "Postgres has them whole");
}

/// The topic of decisions is deleted while the worker runs: the worker waits, names it, and goes on
/// when it was created again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_output_topic_is_waited_for() {
    let Some(lab) = Lab::new("missing").await else { return };
    let mut expected = Expected::default();
    let mut worker = lab.worker("w1", "");
    lab.produce(&[Event::of(claim("first", "user-first"))]);
    lab.wait("the first decision", LONG, async || !lab.read("decisions").is_empty()).await;
    let (admin, decisions) = (lab.admin(), lab.topic("decisions"));
    admin.delete_topics(&[&decisions], &AdminOptions::new()).await.expect("Kafka answers");
    expected.claims.extend((0..300).map(|number| format!("clm-{number}")));
    let event = |id: &String| Event::of(claim(id, &format!("user-{id}")));
    lab.produce(&expected.claims.iter().map(event).collect::<Vec<_>>());
    let named = async || {
        let log = std::fs::read_to_string(lab.log("w1")).unwrap_or_default();
        log.contains(&format!("topic \"{decisions}\" rejects messages"))
    };
    lab.wait("the topic to be named", LONG, named).await;
    let again = NewTopic::new(&decisions, PARTITIONS, TopicReplication::Fixed(1));
    admin.create_topics(&[again], &AdminOptions::new()).await.expect("Kafka answers")[0]
        .as_ref()
        .expect("it is made");
    lab.wait("every claim decided", LONG, async || expected.is_complete(&outcome(&lab))).await;
    assert_eq!(worker.stop().await, Some(0));
    let decided = outcome(&lab).decisions;
    assert!(decided.values().all(|decisions| decisions.len() == 1));
    assert!(lab.simulator.calls().counts().values().all(|calls| *calls == 1), "asked about again");
}
