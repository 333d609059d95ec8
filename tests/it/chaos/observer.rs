//! The observer: a `read_committed` consumer that follows the decisions during the run. It paces
//! the producer and measures how long there was no decision. The oracle reads the topic itself
//! afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use serde::Deserialize;

use super::super::lab::Lab;
use super::journal::{self, Story};
use super::traffic;

/// A thread that reads.
pub(super) struct Observer {
    decided: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    seen: mpsc::Receiver<Vec<i64>>,
    thread: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Decision {
    claim_id: String,
}

impl Observer {
    pub(super) fn start(lab: &Lab) -> Self {
        let (decided, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (sender, seen) = mpsc::sync_channel(1);
        let consumer = lab.consumer(&format!("{}-observer", lab.name));
        lab.assign_all(&consumer, "decisions");
        let (count, end) = (Arc::clone(&decided), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            sender.send(follow(&consumer, &count, &end)).expect("somebody waits for it");
        });
        Self { decided, stop, seen, thread }
    }

    /// How many claims have a decision.
    pub(super) fn decided(&self) -> usize {
        self.decided.load(Ordering::Relaxed)
    }

    /// When a decision was seen, each time, UNIX milliseconds.
    pub(super) fn stop(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.seen.recv().expect("the thread's last word");
        self.thread.join().expect("the thread ends");
        seen
    }
}

fn follow(consumer: &BaseConsumer, decided: &AtomicUsize, stop: &AtomicBool) -> Vec<i64> {
    let (mut times, mut claims) = (Vec::new(), Vec::<bool>::new());
    while !stop.load(Ordering::Relaxed) {
        // The end of a partition, or an unreachable broker: both are temporary.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        times.push(journal::now());
        let decision: Result<Decision, _> =
            serde_json::from_slice(message.payload().unwrap_or_default());
        let Some(number) = decision.ok().and_then(|decision| traffic::number(&decision.claim_id))
        else {
            continue;
        };
        if claims.len() <= number {
            claims.resize(number + 1, false);
        }
        if !std::mem::replace(&mut claims[number], true) {
            decided.fetch_add(1, Ordering::Relaxed);
        }
    }
    times
}

/// The longest time from a fault's end to the next decision, and the fault. If broker or database
/// went away in between, the time counts from their return.
pub(super) fn longest_wait(seen: &[i64], story: &Story) -> Option<(Duration, String)> {
    let waits = story.recoveries.iter().filter_map(|(at, what)| {
        let next = seen.get(seen.partition_point(|time| time < at))?;
        let is_overtaken =
            story.outages.iter().any(|outage| outage.begin < *next && outage.end > *at);
        (!is_overtaken).then(|| (Duration::from_millis((next - at).unsigned_abs()), what.clone()))
    });
    waits.max_by_key(|(wait, _)| *wait)
}
