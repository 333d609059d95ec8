//! A [`Store`] in memory that can be made to fail.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use crate::claim::{Claim, DeadLetterReason, EventError};
use crate::decision::ShadowRuling;
use crate::outbox::{
    Call, Closed, Completed, Received, RecordOutcome, Recording, Store, StoreError, TokenExchange,
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
    /// Nothing was done, and it fails for good.
    Fatal,
}

/// What is wrong with the rows of one claim, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFault {
    /// Its verdict is refused: each of its records becomes a dead letter.
    Verdict,
    /// Its attempts are refused: what is decided on one becomes a dead letter.
    Attempts,
    /// Its event was hashed otherwise, as by an older version: every other event seems to have
    /// other content, until the two are compared.
    Fingerprint,
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
    row_faults: HashMap<String, RowFault>,
    /// Claims with an attempt that was refused.
    unkept: HashSet<String>,
}

impl FakeStore {
    /// Makes the next operation fail. If called more than once, the operations after it fail in
    /// turn.
    pub fn fail_next(&self, fault: StoreFault) {
        self.state().faults.push_back(fault);
    }

    /// Makes every operation fail from now on, or none.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// From now on something is wrong with the rows of this claim.
    pub fn spoil(&self, claim_id: &str, fault: RowFault) {
        self.state().row_faults.insert(claim_id.to_owned(), fault);
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

    /// The different decisions of the policy in shadow, by claim id.
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
        // Answers first: an outcome that rests on one that is not kept is not kept either.
        batch.calls().iter().for_each(|call| self.keep_call(call));
        let mut overruled = Vec::new();
        for (index, completed) in batch.completed().iter().enumerate() {
            let end = self.end(completed, seal);
            if let RecordOutcome::DeadLettered(reason) = &end {
                self.add_dead_letter(&completed.received, reason);
            }
            if end != completed.outcome {
                overruled.push((index, end));
            }
        }
        for exchange in batch.token_exchanges() {
            self.token_exchanges.entry(exchange.id).or_insert_with(|| exchange.clone());
        }
        Recording { overruled, seal: Some(seal) }
    }

    fn keep_call(&mut self, call: &Call) {
        if self.row_faults.get(&call.claim_id) == Some(&RowFault::Attempts) {
            self.unkept.insert(call.claim_id.clone());
        } else {
            self.calls.entry(call.id).or_insert_with(|| call.clone());
        }
    }

    /// Whether an attempt of the claim was refused, and it has no verdict from this very record.
    fn is_unkept(&self, claim_id: &str, received: &Received) -> bool {
        let verdict = self.verdicts.get(claim_id);
        let is_decided = verdict.is_some_and(|verdict| verdict.source == received.source);
        self.unkept.contains(claim_id) && !is_decided
    }

    /// How a record ends, by what the tables say.
    fn end(&mut self, completed: &Completed, seal: Seal) -> RecordOutcome {
        let Completed { received, claim_id, outcome, .. } = completed;
        let may_rest_on_an_answer =
            matches!(outcome, RecordOutcome::Decided(_) | RecordOutcome::Deferred(_));
        if may_rest_on_an_answer
            && claim_id.as_ref().is_some_and(|claim_id| self.is_unkept(claim_id, received))
        {
            return unrecordable();
        }
        match outcome {
            RecordOutcome::Decided(verdict) => self.decide(verdict, received, seal),
            RecordOutcome::DeadLettered(_) => self.compare(outcome.clone(), received),
            RecordOutcome::Recalled(_)
            | RecordOutcome::Duplicate(_)
            | RecordOutcome::Deferred(_) => outcome.clone(),
        }
    }

    /// Keeps a verdict, unless the claim has one or its row is refused.
    fn decide(&mut self, verdict: &Verdict, received: &Received, seal: Seal) -> RecordOutcome {
        let Verdict { claim_id, fingerprint, .. } = verdict;
        if let Some(known) = self.verdicts.get(claim_id) {
            let end = RecordOutcome::of_known(known.clone(), &received.source, fingerprint);
            return self.compare(end, received);
        }
        let fault = self.row_faults.get(claim_id);
        if fault == Some(&RowFault::Verdict) {
            return unrecordable();
        }
        let mut kept = Verdict { seal: Some(seal), ..verdict.clone() };
        if fault == Some(&RowFault::Fingerprint) {
            kept.fingerprint = [0; 32];
        }
        if let Some(shadow) = kept.shadow.take() {
            self.shadows.insert(claim_id.clone(), *shadow);
        }
        self.verdicts.insert(claim_id.clone(), kept);
        self.events.push(received.clone());
        RecordOutcome::Decided(Box::new(verdict.clone()))
    }

    /// Compares the two events of a conflict, and says which fields differ. Where none does, there
    /// is no conflict.
    fn compare(&self, mut end: RecordOutcome, received: &Received) -> RecordOutcome {
        let RecordOutcome::DeadLettered(reason) = &mut end else { return end };
        let claim = |event: &Received| Claim::parse(event.payload.as_deref(), usize::MAX).ok();
        let claimed = claim(received).filter(|_| reason.error == EventError::ClaimIdConflict);
        let Some(claimed) = claimed else { return end };
        let Some(verdict) = self.verdicts.get(&claimed.claim_id) else { return end };
        let is_first = |first: &Claim| first.claim_id == claimed.claim_id;
        let Some(first) = self.events.iter().filter_map(claim).find(is_first) else { return end };
        let fields = first.differences(&claimed);
        if fields.is_empty() {
            return RecordOutcome::of_same(verdict.clone(), &received.source);
        }
        reason.detail = format!("{}; they differ in {}", reason.detail, fields.join(", "));
        end
    }

    fn add_dead_letter(&mut self, received: &Received, reason: &DeadLetterReason) {
        let source = &received.source;
        let letter = || DeadLetter { received: received.clone(), reason: reason.clone() };
        self.dead_letters
            .entry((source.topic.clone(), source.partition, source.offset, received.content()))
            .or_insert_with(letter);
    }
}

fn unrecordable() -> RecordOutcome {
    let reason = DeadLetterReason::event(EventError::Unrecordable, "the fake store refuses a row");
    RecordOutcome::DeadLettered(reason)
}
