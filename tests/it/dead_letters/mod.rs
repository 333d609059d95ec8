//! Dead letters: shown safely, and replayed exactly as often as requested.

mod bounds;
mod cut_short;
mod places;
mod shown;

use std::collections::BTreeMap;
use std::time::Duration;

use super::lab::{Event, Lab, Seen};

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

async fn source_of(lab: &Lab, payload: &str) -> String {
    sqlx::query_scalar(
        "select source_partition || '/' || source_offset || '@' || content from dead_letters where \
         payload = $1 order by recorded_at limit 1",
    )
    .bind(payload.as_bytes())
    .fetch_one(&lab.database)
    .await
    .expect("the letter")
}
