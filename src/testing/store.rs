//! A [`Store`] in memory, which fails when it is told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use crate::claim::DeadLetterReason;
use crate::decision::ShadowRuling;
use crate::outbox::{
    Call, Closed, Received, RecordOutcome, Recording, Store, StoreError, TokenExchange,
};
use crate::schema::{Seal, Verdict};

/// A store in memory. Clones share their content, as two workers share a database.
#[derive(Debug, Default, Clone)]
pub struct FakeStore {
    state: Arc<Mutex<State>>,
}

/// How an operation of the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing was done.
    Refused,
    /// Everything was done, and the answer was lost.
    AnswerLost,
    /// Nothing was done, and nothing ever will be.
    Fatal,
}

/// A row of `dead_letters`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The event.
    pub received: Received,
    /// What is wrong with it.
    pub reason: DeadLetterReason,
}

#[derive(Debug, Default)]
struct State {
    verdicts: HashMap<String, Verdict>,
    events: Vec<Received>,
    calls: BTreeMap<Uuid, Call>,
    token_exchanges: BTreeMap<Uuid, TokenExchange>,
    dead_letters: BTreeMap<(String, i32, i64, String), DeadLetter>,
    shadows: BTreeMap<String, ShadowRuling>,
    seals: i64,
    faults: VecDeque<StoreFault>,
    away: bool,
}

impl FakeStore {
    /// Lets the next operation fail; more than once, the ones after it in turn.
    pub fn fail_next(&self, fault: StoreFault) {
        self.state().faults.push_back(fault);
    }

    /// Lets every operation fail from now on, or none.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Every verdict.
    pub fn verdicts(&self) -> HashMap<String, Verdict> {
        self.state().verdicts.clone()
    }

    /// The events behind the verdicts, in the order of recording.
    pub fn events(&self) -> Vec<Received> {
        self.state().events.clone()
    }

    /// Every attempt, in the order of its id.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.values().cloned().collect()
    }

    /// Every exchange of an access token, in the order of its id.
    pub fn token_exchanges(&self) -> Vec<TokenExchange> {
        self.state().token_exchanges.values().cloned().collect()
    }

    /// What the policy in shadow would have decided otherwise, by claim id.
    pub fn shadows(&self) -> BTreeMap<String, ShadowRuling> {
        self.state().shadows.clone()
    }

    /// Every dead letter, in the order of its source.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.state().dead_letters.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    fn operate<T>(&self, operation: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state();
        let fault = if state.away { Some(StoreFault::Refused) } else { state.faults.pop_front() };
        match fault {
            None => Ok(operation(&mut state)),
            Some(StoreFault::Refused) => {
                Err(StoreError::Transient("the fake store is away".to_owned()))
            }
            Some(StoreFault::Fatal) => {
                Err(StoreError::Fatal("the fake store has ended".to_owned()))
            }
            Some(StoreFault::AnswerLost) => {
                operation(&mut state);
                Err(StoreError::Transient("the fake store's answer was lost".to_owned()))
            }
        }
    }
}

impl Store for FakeStore {
    async fn recall(&self, claim_ids: Vec<String>) -> Result<HashMap<String, Verdict>, StoreError> {
        self.operate(|state| {
            let known = |id: String| state.verdicts.get(&id).cloned().map(|verdict| (id, verdict));
            claim_ids.into_iter().filter_map(known).collect()
        })
    }

    async fn record(&self, batch: &Closed) -> Result<Recording, StoreError> {
        self.operate(|state| state.record(batch))
    }
}

impl State {
    fn record(&mut self, batch: &Closed) -> Recording {
        self.seals += 1;
        let seal = Seal { id: self.seals, head: [0; 32] };
        let mut overruled = Vec::new();
        for (index, completed) in batch.completed().iter().enumerate() {
            match &completed.outcome {
                RecordOutcome::Decided(verdict) => {
                    if let Some(end) = self.decide(verdict, &completed.received, seal) {
                        if let RecordOutcome::DeadLettered(reason) = &end {
                            self.bury(&completed.received, reason);
                        }
                        overruled.push((index, end));
                    }
                }
                RecordOutcome::DeadLettered(reason) => self.bury(&completed.received, reason),
                RecordOutcome::Recalled(_)
                | RecordOutcome::Duplicate(_)
                | RecordOutcome::Deferred(_) => {}
            }
        }
        for call in batch.calls() {
            self.calls.entry(call.id).or_insert_with(|| call.clone());
        }
        for exchange in batch.token_exchanges() {
            self.token_exchanges.entry(exchange.id).or_insert_with(|| exchange.clone());
        }
        Recording { overruled, seal: Some(seal) }
    }

    /// Keeps a verdict, unless the claim has one; then says how the record ends.
    fn decide(
        &mut self,
        verdict: &Verdict,
        received: &Received,
        seal: Seal,
    ) -> Option<RecordOutcome> {
        if let Some(known) = self.verdicts.get(&verdict.claim_id) {
            return Some(RecordOutcome::of_known(
                known.clone(),
                &received.source,
                &verdict.fingerprint,
            ));
        }
        let mut sealed = Verdict { seal: Some(seal), ..verdict.clone() };
        if let Some(shadow) = sealed.shadow.take() {
            self.shadows.insert(verdict.claim_id.clone(), *shadow);
        }
        self.verdicts.insert(verdict.claim_id.clone(), sealed);
        self.events.push(received.clone());
        None
    }

    fn bury(&mut self, received: &Received, reason: &DeadLetterReason) {
        let source = &received.source;
        let letter = || DeadLetter { received: received.clone(), reason: reason.clone() };
        self.dead_letters
            .entry((source.topic.clone(), source.partition, source.offset, received.content()))
            .or_insert_with(letter);
    }
}
