//! What was seen while a run went on, for the oracle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

/// A life of a worker, from its start to its end: small numbers from 0.
pub(super) type Life = usize;

/// Shared by everything that sees something.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Every call of an API.
    pub(super) calls: Vec<CallSeen>,
    /// When the store had each claim's verdict.
    pub(super) recorded: HashMap<String, Instant>,
    /// When each life last looked a claim up.
    recalled: HashMap<(Life, String), Instant>,
    /// When each life knew that a claim's verdict is recorded.
    knows: HashMap<(Life, String), Instant>,
    /// What must not happen and did.
    pub(super) faults: Vec<String>,
}

/// A call that an API saw.
#[derive(Debug)]
pub(super) struct CallSeen {
    pub(super) life: Life,
    pub(super) claim_id: String,
    pub(super) subject: String,
    /// `None` while it is under way, or where the worker died meanwhile.
    pub(super) ended: Option<Instant>,
}

impl Journal {
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nothing panics while it holds the notes")
    }
}

impl Notes {
    pub(super) fn recall(&mut self, life: Life, claim_ids: &[String]) {
        let now = Instant::now();
        self.recalled.extend(claim_ids.iter().map(|id| ((life, id.clone()), now)));
    }

    pub(super) fn record(&mut self, claim_id: &str) {
        self.recorded.entry(claim_id.to_owned()).or_insert_with(Instant::now);
    }

    pub(super) fn know(&mut self, life: Life, claim_id: &str) {
        self.knows.entry((life, claim_id.to_owned())).or_insert_with(Instant::now);
    }

    /// A call begins; its number.
    pub(super) fn call(&mut self, life: Life, claim_id: &str, subject: &str) -> usize {
        let key = (life, claim_id.to_owned());
        match (self.recalled.get(&key), self.recorded.get(claim_id)) {
            (None, _) => {
                self.faults.push(format!("{claim_id}: asked about without having been looked up"))
            }
            (Some(looked), Some(recorded)) if recorded < looked => {
                self.faults.push(format!("{claim_id}: asked about although its verdict was found"));
            }
            _ => {}
        }
        if self.knows.contains_key(&key) {
            self.faults.push(format!(
                "{claim_id}: asked about by the worker that had recorded its verdict"
            ));
        }
        let beside =
            |call: &&CallSeen| call.life == life && call.subject == subject && call.ended.is_none();
        if let Some(call) = self.calls.iter().find(beside) {
            self.faults
                .push(format!("{subject}: asked about {} and {claim_id} at once", call.claim_id));
        }
        let (claim_id, subject) = (claim_id.to_owned(), subject.to_owned());
        self.calls.push(CallSeen { life, claim_id, subject, ended: None });
        self.calls.len() - 1
    }

    pub(super) fn call_ended(&mut self, number: usize) {
        self.calls[number].ended = Some(Instant::now());
    }
}
