//! The load: streams of claims, each at its own steady rate.

use std::time::Duration;

use tokio::time::Instant;

use crate::lab::{Event, Lab, PARTITIONS};

/// How often the producer checks what is due.
const TICK: Duration = Duration::from_millis(20);

/// How long Kafka may take for the last events.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// Claims of one kind, at a rate per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// Of its claims: their ids begin with it.
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) account: Account,
}

/// Whose claims they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Account {
    /// Each of an account of its own, in all partitions.
    Each,
    /// All of one account, and in its partition, because the account is their key.
    OneByKey,
    /// All of one account, in all partitions.
    OneEverywhere,
}

/// When the claims of a stream were sent, by their number.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) stream: Stream,
    pub(super) at: Vec<Instant>,
}

impl Stream {
    pub(super) fn id(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// The number of a claim of this stream.
    pub(super) fn number(&self, claim_id: &str) -> Option<usize> {
        claim_id.strip_prefix(self.name)?.strip_prefix('-')?.parse().ok()
    }

    fn event(&self, number: usize) -> Event {
        let id = self.id(number);
        let account = match self.account {
            Account::Each => format!("user-{id}"),
            Account::OneByKey | Account::OneEverywhere => format!("hot-{}", self.name),
        };
        let claim = serde_json::json!({
            "claim_id": id, "kind": self.kind, "claimed_at": 1_632_994_480,
            "account": { "type": "wechat", "id": account, "app_id": "wx0000000000000001", "registered_at": 1_436_673_889 },
            "client": { "ip": "121.14.96.121" },
            "login": { "token": format!("session-{id}") },
            "reward": { "goods": if self.kind == "mini_program" { "12" } else { "red packet" }, "code_hash": id },
        });
        let event = Event::of(claim.to_string());
        match self.account {
            Account::OneByKey => Event { key: Some(account.into_bytes()), ..event },
            Account::Each | Account::OneEverywhere => event.on(number as i32 % PARTITIONS),
        }
    }
}

/// Sends every stream at this rate for this long.
pub(super) async fn send(
    lab: &Lab,
    streams: &[Stream],
    rate: usize,
    length: Duration,
) -> Vec<Sent> {
    let mut all: Vec<Sent> =
        streams.iter().map(|stream| Sent { stream: *stream, at: Vec::new() }).collect();
    let began = Instant::now();
    loop {
        let elapsed = began.elapsed().min(length);
        let due = (elapsed.as_secs_f64() * rate as f64) as usize;
        for sent in &mut all {
            for number in sent.at.len()..due {
                lab.enqueue(&sent.stream.event(number));
                sent.at.push(Instant::now());
            }
        }
        if elapsed == length {
            lab.flush(FLUSH_WITHIN);
            return all;
        }
        tokio::time::sleep(TICK).await;
    }
}
