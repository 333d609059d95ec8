//! Claims at a steady rate, and how long each partition goes without a decision that a
//! `read_committed` consumer sees.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::message::Message as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::lab::{Event, Lab, PARTITIONS, claim};

/// Claims a second.
const RATE: u64 = 100;
/// After this time without a decision there are no more: a frozen worker pauses before it makes
/// calls.
const IDLE: Duration = Duration::from_secs(8);

/// Claims are sent, and decisions read, until this is ended.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    /// When each claim was sent.
    sent: Arc<Mutex<BTreeMap<String, Instant>>>,
    producer: tokio::task::JoinHandle<()>,
    observer: JoinHandle<Vec<Decided>>,
}

/// A decision that was seen.
struct Decided {
    at: Instant,
    partition: i64,
    claim_id: String,
}

/// The decisions that were seen from a moment on.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The longest time in which a partition had no decision.
    pub(crate) silent: Duration,
    /// The longest time from a claim to its decision.
    pub(crate) waited: Duration,
}

impl Traffic {
    /// Begins. `label` distinguishes its claims from others in the lab. The lab's topics have
    /// [`PARTITIONS`] partitions.
    pub(crate) fn start(lab: &Arc<Lab>, label: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let sent = Arc::<Mutex<BTreeMap<String, Instant>>>::default();
        let observer = {
            let (lab, stop) = (Arc::clone(lab), Arc::clone(&stop));
            std::thread::spawn(move || observe(&lab, &stop))
        };
        let producer = {
            let (lab, stop, sent, label) =
                (Arc::clone(lab), Arc::clone(&stop), Arc::clone(&sent), label.to_owned());
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(1_000 / RATE));
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let id = format!("{label}-{number}");
                    lab.enqueue(
                        &Event::of(claim(&id, &format!("user-{id}"))).on(number % PARTITIONS),
                    );
                    sent.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
                    number += 1;
                }
            })
        };
        Self { stop, sent, producer, observer }
    }

    /// Ends it, and waits for every claim's decision. What was seen after `since` counts.
    pub(crate) async fn end(self, since: Instant) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.producer.await.expect("the producer lives");
        let until = Instant::now();
        let observer = self.observer;
        let decided =
            tokio::task::spawn_blocking(move || observer.join().expect("the observer lives"));
        let decided = decided.await.expect("it ends");
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut silent = Duration::ZERO;
        for partition in 0..i64::from(PARTITIONS) {
            let mut last = since;
            let seen = decided
                .iter()
                .filter(|decided| decided.partition == partition)
                .map(|decided| decided.at);
            for at in seen.filter(|at| *at > since).chain([until]) {
                silent = silent.max(at.saturating_duration_since(last));
                last = last.max(at);
            }
        }
        let mut waited = Duration::ZERO;
        for (id, sent) in sent.iter().filter(|(_, sent)| **sent < until - Duration::from_secs(1)) {
            let seen = decided.iter().find(|decided| decided.claim_id == *id);
            let at = seen.unwrap_or_else(|| panic!("{id} was not decided")).at;
            if at > since {
                waited = waited.max(at - *sent);
            }
        }
        Seen { silent, waited }
    }
}

/// Reads decisions from now on, until the traffic has ended and nothing more has come for a moment.
fn observe(lab: &Lab, stop: &AtomicBool) -> Vec<Decided> {
    let consumer = lab.decisions(&format!("{}-observer", lab.name));
    let mut decided = Vec::new();
    let mut idle_since = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let decision: Value =
                    serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
                idle_since = Instant::now();
                decided.push(Decided {
                    at: idle_since,
                    partition: decision["source"]["partition"].as_i64().expect("a number"),
                    claim_id: decision["claim_id"].as_str().expect("a claim id").to_owned(),
                });
            }
            Some(Err(error)) => panic!("reading decisions: {error}"),
            None if stop.load(Ordering::Relaxed) && idle_since.elapsed() > IDLE => {
                return decided;
            }
            None => {}
        }
    }
}
