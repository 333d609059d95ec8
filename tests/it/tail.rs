//! Decisions as they come: what a `read_committed` consumer saw, and when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::message::Message as _;
use serde_json::Value;
use tokio::time::Instant;

use super::lab::Lab;

/// Follows the decisions of a lab until it is dropped.
pub(crate) struct Tail {
    seen: Arc<Mutex<Vec<Decided>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One decision.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) claim_id: String,
    pub(crate) api: String,
    pub(crate) at: Instant,
}

impl Tail {
    /// Follows the decisions from the first one on.
    pub(crate) fn of(lab: &Lab) -> Self {
        let consumer = lab.decisions(&format!("{}-tail", lab.name));
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                // A broker that is away is what some tests are about.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
                let payload = message.payload().expect("a decision has a payload");
                let decision: Value = serde_json::from_slice(payload).expect("JSON");
                let text = |name: &str| decision[name].as_str().expect("text").to_owned();
                let decided =
                    Decided { claim_id: text("claim_id"), api: text("api"), at: Instant::now() };
                into.lock().unwrap_or_else(PoisonError::into_inner).push(decided);
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Every decision so far.
    pub(crate) fn seen(&self) -> Vec<Decided> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many decisions came so far.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// When the first decision after a moment came, of the claims that `counts` knows.
    pub(crate) fn first_after(
        &self,
        moment: Instant,
        counts: impl Fn(&str) -> bool,
    ) -> Option<Instant> {
        self.seen()
            .into_iter()
            .find(|seen| seen.at > moment && counts(&seen.claim_id))
            .map(|seen| seen.at)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
